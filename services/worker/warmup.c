/* warmup.c - see warmup.h. */
#include "services/worker/warmup.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/tensor_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <yyjson.h>

#define TRY_AGAIN_US 100000 /* of a first run: part of that may be what is done only once */
#define PLACE_MAX    64     /* "samples[3].outputs[1]" */
#define RTOL_DEFAULT 1e-3
#define ATOL_DEFAULT 1e-5

/* ---- reading --------------------------------------------------------------------------------- */

static enum status refuse_others(yyjson_val *object, const char *const *known, const char *where,
                                 struct error *err)
{
    yyjson_val *key, *value;
    size_t i, max;
    yyjson_obj_foreach(object, i, max, key, value)
    {
        const char *const *k = known;
        while (*k && !yyjson_equals_str(key, *k))
            k++;
        if (!*k)
            return error_set(err, STATUS_INVALID, "%s has \"%.64s\", which is not known", where,
                             yyjson_get_str(key));
    }
    return STATUS_OK;
}

static enum status read_tolerance(yyjson_val *root, const char *name, double otherwise, double *out,
                                  struct error *err)
{
    yyjson_val *v = yyjson_obj_get(root, name);
    *out = v ? yyjson_get_num(v) : otherwise;
    if (v && (!yyjson_is_num(v) || *out < 0))
        return error_set(err, STATUS_INVALID, "%s: \"%s\" must be a number that is not negative",
                         WARMUP_FILE, name);
    return STATUS_OK;
}

static enum status check_tensors(yyjson_val *list, const char *where, struct error *err)
{
    static const char *const known[] = { "name", "datatype", "shape", "data", NULL };
    yyjson_val *tensor;
    size_t i, max;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) > MAX_TENSORS)
        return error_set(err, STATUS_INVALID, "%s must be a list of at most %d tensors", where,
                         MAX_TENSORS);
    yyjson_arr_foreach(list, i, max, tensor)
    {
        if (!yyjson_is_str(yyjson_obj_get(tensor, "name")))
            return error_set(err, STATUS_INVALID, "%s[%zu] has no name", where, i);
        if (refuse_others(tensor, known, where, err))
            return err->status;
    }
    return STATUS_OK;
}

static enum status check_samples(yyjson_val *root, struct error *err)
{
    static const char *const known[] = { "inputs", "outputs", NULL };
    yyjson_val *list = yyjson_obj_get(root, "samples"), *sample;
    size_t i, max;
    if (!yyjson_arr_size(list) || yyjson_arr_size(list) > MAX_WARMUP_SAMPLES)
        return error_set(err, STATUS_INVALID, "%s: \"samples\" must be a list of 1 to %d",
                         WARMUP_FILE, MAX_WARMUP_SAMPLES);
    yyjson_arr_foreach(list, i, max, sample)
    {
        char where[PLACE_MAX];
        yyjson_val *outputs = yyjson_obj_get(sample, "outputs");
        snprintf(where, sizeof where, "samples[%zu]", i);
        enum status st = refuse_others(sample, known, where, err);
        snprintf(where, sizeof where, "samples[%zu].inputs", i);
        if (!st)
            st = check_tensors(yyjson_obj_get(sample, "inputs"), where, err);
        snprintf(where, sizeof where, "samples[%zu].outputs", i);
        if (!st && outputs)
            st = check_tensors(outputs, where, err);
        if (st)
            return st;
    }
    return STATUS_OK;
}

static enum status check_doc(struct warmup *w, struct error *err)
{
    static const char *const known[] = { "samples", "rtol", "atol", NULL };
    yyjson_val *root = yyjson_doc_get_root(w->doc);
    if (!yyjson_is_obj(root))
        return error_set(err, STATUS_INVALID, "%s is no JSON object", WARMUP_FILE);
    enum status st = refuse_others(root, known, WARMUP_FILE, err);
    if (!st)
        st = read_tolerance(root, "rtol", RTOL_DEFAULT, &w->tolerance.rtol, err);
    if (!st)
        st = read_tolerance(root, "atol", ATOL_DEFAULT, &w->tolerance.atol, err);
    return st ? st : check_samples(root, err);
}

enum status warmup_read(const char *path, struct warmup *out, struct error *err)
{
    struct stat about;
    yyjson_read_err why;
    *out = (struct warmup){ .doc = NULL };
    if (!path)
        return STATUS_OK;
    if (stat(path, &about) != 0)
        return error_set(err, STATUS_CORRUPT, "cannot read %s", path);
    if (about.st_size > MAX_WARMUP_BYTES)
        return error_set(err, STATUS_INVALID, "%s has more than %u bytes", WARMUP_FILE,
                         MAX_WARMUP_BYTES);
    out->doc = yyjson_read_file(path, 0, NULL, &why);
    if (!out->doc)
        return error_set(err, STATUS_INVALID, "%s is no JSON: %s at byte %zu", WARMUP_FILE, why.msg,
                         why.pos);
    enum status st = check_doc(out, err);
    if (st)
        warmup_finish(out);
    return st;
}

void warmup_finish(struct warmup *w)
{
    yyjson_doc_free(w->doc);
    w->doc = NULL;
}

/* ---- tensors of a sample --------------------------------------------------------------------- */

struct sample_tensor {
    enum datatype type;
    int64_t shape[MAX_RANK];
    size_t rank;
    struct frame data;
};

/* OK: the frame is the caller's. */
static enum status read_tensor(yyjson_val *v, const char *where, struct sample_tensor *out,
                               struct error *err)
{
    yyjson_val *type = yyjson_obj_get(v, "datatype");
    char data[PLACE_MAX + 8];
    out->type = datatype_parse(bytes_of(yyjson_get_str(type), yyjson_get_len(type)));
    if (out->type == DT_NONE)
        return error_set(err, STATUS_INVALID, "%s.datatype is missing, or unknown", where);
    enum status st =
        tensor_json_dimensions(yyjson_obj_get(v, "shape"), where, out->shape, &out->rank, err);
    snprintf(data, sizeof data, "%s.data", where);
    return st ? st
              : tensor_from_json(yyjson_obj_get(v, "data"), out->type, out->shape, out->rank, data,
                                 &out->data, err);
}

/* NULL: there is none of that name.  *index: where in the list. */
static yyjson_val *find_tensor(yyjson_val *list, struct bytes name, size_t *index)
{
    size_t i, max;
    yyjson_val *v;
    yyjson_arr_foreach(list, i, max, v)
    {
        yyjson_val *is = yyjson_obj_get(v, "name");
        *index = i;
        if (bytes_equal(bytes_of(yyjson_get_str(is), yyjson_get_len(is)), name))
            return v;
    }
    return NULL;
}

/* A sample's inputs as a job has them, in the order of the signature. */
struct sample {
    size_t number;
    struct sample_tensor inputs[MAX_TENSORS];
    struct msg_tensor described[MAX_TENSORS];
    struct frames frames;
};

static enum status take_inputs(yyjson_val *list, const struct signature *s, struct sample *out,
                               struct error *err)
{
    frame_init_empty(frames_add(&out->frames)); /* in the place of the envelope */
    if (yyjson_arr_size(list) != s->inputs_count)
        return error_set(err, STATUS_INVALID, "samples[%zu] has %zu inputs; the model takes %zu",
                         out->number, yyjson_arr_size(list), s->inputs_count);
    for (size_t i = 0; i < s->inputs_count; i++) {
        struct sample_tensor *t = &out->inputs[i];
        struct frame *f = frames_add(&out->frames);
        char where[PLACE_MAX];
        size_t at;
        frame_init_empty(f);
        yyjson_val *v = find_tensor(list, s->inputs[i].name, &at);
        if (!v)
            return error_set(err, STATUS_INVALID, "samples[%zu] lacks the input '%.*s'",
                             out->number, (int)s->inputs[i].name.len,
                             (const char *)s->inputs[i].name.data);
        snprintf(where, sizeof where, "samples[%zu].inputs[%zu]", out->number, at);
        if (read_tensor(v, where, t, err))
            return err->status;
        frame_move(f, &t->data);
        frame_finish(&t->data);
        out->described[i] =
            (struct msg_tensor){ s->inputs[i].name, t->type, { t->shape, t->rank } };
    }
    return STATUS_OK;
}

/* ---- outputs --------------------------------------------------------------------------------- */

static enum status compare_output(const struct sample *s, size_t index, yyjson_val *v,
                                  const char *name, const struct tensor_out *got,
                                  const struct tolerance *tolerance, struct error *err)
{
    struct sample_tensor want;
    struct error why;
    char where[PLACE_MAX];
    snprintf(where, sizeof where, "samples[%zu].outputs[%zu]", s->number, index);
    enum status st = read_tensor(v, where, &want, err);
    if (st)
        return st;
    const struct compared is = { got->type, got->shape, got->rank, frame_bytes(&got->data) };
    const struct compared wanted = { want.type, want.shape, want.rank, frame_bytes(&want.data) };
    if (compare_tensors(name, &is, &wanted, tolerance, &why))
        st = error_set(err, STATUS_INVALID, "samples[%zu]: %s", s->number, why.text);
    frame_finish(&want.data);
    return st;
}

static enum status compare_outputs(const struct sample *s, yyjson_val *list,
                                   const struct signature *signature, const struct tensor_out *out,
                                   size_t count, const struct tolerance *tolerance,
                                   struct error *err)
{
    size_t i, max;
    yyjson_val *v;
    enum status st = STATUS_OK;
    yyjson_arr_foreach(list, i, max, v)
    {
        const char *name = yyjson_get_str(yyjson_obj_get(v, "name"));
        size_t k = 0;
        while (k < count && !bytes_equal_str(signature->outputs[k].name, name))
            k++;
        if (k == count)
            return error_set(err, STATUS_INVALID,
                             "samples[%zu].outputs[%zu]: the model has no output '%s'", s->number,
                             i, name);
        st = compare_output(s, i, v, name, &out[k], tolerance, err);
        if (st)
            return st;
    }
    return STATUS_OK;
}

/* ---- running ----------------------------------------------------------------------------------- */

/* How long a row of it took. */
static uint64_t per_row(const struct model *m, const struct sample *s, uint64_t took)
{
    int64_t rows = m->signature.batchable ? s->inputs[0].shape[0] : 1;
    return rows > 1 ? took / (uint64_t)rows : took;
}

static enum status run_sample(const struct warmup *w, const struct model *m, struct sample *s,
                              yyjson_val *v, uint64_t *row_us, struct error *err)
{
    struct tensor_in in[MAX_TENSORS];
    struct tensor_out out[MAX_TENSORS];
    struct error why;
    size_t count = 0;
    enum status st = take_inputs(yyjson_obj_get(v, "inputs"), &m->signature, s, err);
    if (st)
        return st;
    const struct msg_job job = { .inputs = s->described,
                                 .inputs_count = m->signature.inputs_count };
    st = model_check(m, &job, &s->frames, in, &why);
    uint64_t begin = clock_us();
    if (!st)
        st = model_run(m, in, job.inputs_count, out, &count, &why);
    uint64_t took = clock_us() - begin;
    if (st) /* whatever it was: with this sample the version does not get ready */
        return error_set(err, STATUS_INVALID, "samples[%zu]: %.400s", s->number, why.text);
    *row_us = per_row(m, s, took);
    st = compare_outputs(s, yyjson_obj_get(v, "outputs"), &m->signature, out, count, &w->tolerance,
                         err);
    while (count)
        frame_finish(&out[--count].data);
    return st;
}

/* One sample is run twice: see warmup_run. */
static enum status run_samples(const struct warmup *w, const struct model *m, uint64_t *row_us,
                               struct error *err)
{
    yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(w->doc), "samples");
    size_t count = yyjson_arr_size(list);
    struct sample *s = mem_alloc(sizeof *s);
    enum status st = STATUS_OK;
    for (size_t i = 0; (i < count || (i == 1 && *row_us < TRY_AGAIN_US)) && !st; i++) {
        s->number = i < count ? i : 0;
        s->frames.count = 0;
        st = run_sample(w, m, s, yyjson_arr_get(list, s->number), row_us, err);
        frames_finish(&s->frames);
    }
    free(s);
    return st;
}

/* Zeros for one input, dimensions of any size as 1.  false: they would be too large. */
static bool make_zeros(const struct msg_tensor *t, int64_t shape[MAX_RANK], struct buf *zeros,
                       struct tensor_in *in)
{
    enum datatype type = datatype_from_wire(t->datatype);
    uint64_t elements;
    for (size_t k = 0; k < t->shape.count; k++)
        shape[k] = t->shape.at[k] < 0 ? 1 : t->shape.at[k];
    size_t size = datatype_size(type); /* BYTES: an empty string is its length */
    if (shape_elements(shape, t->shape.count, &elements) || elements > MAX_TENSOR_BYTES / 8)
        return false;
    size_t len = (size_t)elements * (size ? size : sizeof(uint32_t));
    buf_reserve(zeros, len + 1);
    memset(zeros->data, 0, len);
    *in = (struct tensor_in){ type, shape, t->shape.count, bytes_of(zeros->data, len) };
    return true;
}

/* One run with zeros; how long it took, UINT64_MAX: it failed.  Some models dislike zeros: that is
 * no reason to fail. */
static uint64_t try_run(const struct model *m, const struct tensor_in *in, size_t in_count)
{
    struct tensor_out out[MAX_TENSORS];
    struct error err;
    size_t count = 0;
    uint64_t begin = clock_us();
    enum status st = model_run(m, in, in_count, out, &count, &err);
    uint64_t took = clock_us() - begin;
    if (st)
        log_info("warm-up failed, the model may still serve", LOG_S("reason", err.text));
    while (count)
        frame_finish(&out[--count].data);
    return st ? UINT64_MAX : took;
}

static uint64_t run_zeros(const struct model *m)
{
    const struct signature *s = &m->signature;
    struct tensor_in in[MAX_TENSORS];
    int64_t shapes[MAX_TENSORS][MAX_RANK];
    struct buf zeros[MAX_TENSORS] = { 0 };
    uint64_t took = UINT64_MAX;
    size_t made = 0;
    while (made < s->inputs_count &&
           make_zeros(&s->inputs[made], shapes[made], &zeros[made], &in[made]))
        made++;
    if (made == s->inputs_count)
        took = try_run(m, in, made);
    if (took < TRY_AGAIN_US)
        took = try_run(m, in, made);
    for (size_t i = 0; i < MAX_TENSORS; i++)
        buf_finish(&zeros[i]);
    return took;
}

/* So that the first request does not pay for what the runtime does once.  That takes two runs: ONNX
 * Runtime plans its memory in the first one and takes what it has planned in the second, which shall
 * be before the engine says that it is ready, for then the host counts its memory.  And the time of
 * the second run is the model's.  Only where one run is slow, so that it hides nothing, it is one. */
enum status warmup_run(const struct warmup *w, const struct model *m, uint64_t *row_us,
                       struct error *err)
{
    *row_us = UINT64_MAX;
    if (w->doc)
        return run_samples(w, m, row_us, err);
    *row_us = run_zeros(m);
    return STATUS_OK;
}
