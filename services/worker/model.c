/* model.c - see model.h. */
#include "services/worker/model.h"

#include "common/base/clock.h"
#include "common/base/digest.h"
#include "common/base/log.h"
#include "services/worker/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define TRY_AGAIN_US    100000      /* of a first run: part of that may be what is done only once */
#define SHORT_BYTES_MAX (32u << 20) /* a larger artifact is not loaded twice to find out */

/* ---- jobs against the signature ------------------------------------------------------------ */

static const char *text_of(struct bytes name, char out[MAX_NAME + 1])
{
    return bytes_copy_str(name, out, MAX_NAME + 1) ? "?" : out;
}

static enum status wrong_shape(const struct msg_tensor *is, const struct msg_tensor *want,
                               const char *name, struct error *err)
{
    struct buf got = { 0 }, takes = { 0 };
    shape_text(is->shape.at, is->shape.count, &got);
    shape_text(want->shape.at, want->shape.count, &takes);
    error_set(err, STATUS_INVALID, "input '%s' has the shape %s; the model takes %s", name,
              buf_cstr(&got), buf_cstr(&takes));
    buf_finish(&got);
    buf_finish(&takes);
    return STATUS_INVALID;
}

static bool shape_fits(const struct msg_tensor *is, const struct msg_tensor *want)
{
    if (is->shape.count != want->shape.count)
        return false;
    for (size_t k = 0; k < want->shape.count; k++)
        if (want->shape.at[k] >= 0 && want->shape.at[k] != is->shape.at[k])
            return false;
    return true;
}

static enum status check_input(const struct msg_tensor *is, const struct msg_tensor *want,
                               struct bytes data, struct tensor_in *in, struct error *err)
{
    char name[MAX_NAME + 1], other[MAX_NAME + 1];
    enum datatype type = datatype_from_wire(is->datatype);
    struct error why;
    text_of(want->name, name);
    if (!bytes_equal(is->name, want->name))
        return error_set(err, STATUS_INVALID, "an input is called '%s'; the model takes '%s' here",
                         text_of(is->name, other), name);
    if (is->datatype != want->datatype)
        return error_set(err, STATUS_INVALID, "input '%s' is %s; the model takes %s", name,
                         datatype_name(type), datatype_name(datatype_from_wire(want->datatype)));
    if (!shape_fits(is, want))
        return wrong_shape(is, want, name, err);
    if (tensor_check(type, is->shape.at, is->shape.count, data, &why))
        return error_set(err, STATUS_INVALID, "input '%s': %.300s", name, why.text);
    *in = (struct tensor_in){ type, is->shape.at, is->shape.count, data };
    return STATUS_OK;
}

enum status model_check(const struct model *m, const struct msg_job *job,
                        const struct frames *frames, struct tensor_in *in, struct error *err)
{
    const struct signature *s = &m->signature;
    if (job->inputs_count != s->inputs_count || frames->count != job->inputs_count + 1)
        return error_set(err, STATUS_INVALID, "the model takes %zu input%s; %zu came in %zu frames",
                         s->inputs_count, s->inputs_count == 1 ? "" : "s", job->inputs_count,
                         frames->count - 1);
    for (size_t i = 0; i < s->inputs_count; i++) {
        enum status st = check_input(&job->inputs[i], &s->inputs[i],
                                     frame_bytes(&frames->at[i + 1]), &in[i], err);
        if (st)
            return st;
    }
    return STATUS_OK;
}

enum status model_run(const struct model *m, const struct tensor_in *in, size_t in_count,
                      struct tensor_out *out, size_t *out_count, struct error *err)
{
    return m->runtime->run(m->context, in, in_count, out, out_count, err);
}

void model_interrupt(const struct model *m, bool on)
{
    m->runtime->interrupt(m->context, on);
}

/* ---- load ---------------------------------------------------------------------------------- */

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

/* Runs with zeros, so that the first request does not pay for what the runtime does once; and the
 * time of one row from then on, UINT64_MAX: not known. */
static uint64_t warm_up(const struct model *m)
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
    if (took < TRY_AGAIN_US) /* what is done once is done: now the time is the model's */
        took = try_run(m, in, made);
    for (size_t i = 0; i < MAX_TENSORS; i++)
        buf_finish(&zeros[i]);
    return took;
}

/* A file in the cache may have rotted since it was fetched. */
static enum status verify(const char *path, const struct digest *want, struct error *err)
{
    static unsigned char block[1 << 16];
    struct digest_stream stream;
    struct digest is;
    size_t n;
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set(err, STATUS_CORRUPT, "cannot read %s", path);
    digest_start(&stream);
    do {
        n = fread(block, 1, sizeof block, file);
        digest_update(&stream, bytes_of(block, n));
    } while (n == sizeof block); /* less: the end, or an error that the digest shows */
    digest_end(&stream, &is);
    fclose(file);
    if (!digest_equal(&is, want))
        return error_set(err, STATUS_CORRUPT, "%s does not have its digest", path);
    return STATUS_OK;
}

/* The other files of the version, verified. */
struct others {
    struct version_files list;
    struct runtime_file files[MAX_VERSION_FILES];
    size_t count;
};

static char *beside(const char *list, const char *name)
{
    struct buf path = { 0 };
    buf_printf(&path, "%.*s/%s", (int)(strrchr(list, '/') - list), list, name);
    buf_cstr(&path);
    return buf_take(&path, NULL);
}

static void others_finish(struct others *o)
{
    while (o->count)
        free((char *)(uintptr_t)o->files[--o->count].path);
    files_finish(&o->list);
}

static enum status read_others(const char *list, struct others *o, struct error *err)
{
    if (!list || !strchr(list, '/'))
        return STATUS_OK;
    enum status st = files_read_list(list, &o->list, err);
    for (size_t i = 1; i < o->list.count && !st; i++) { /* the first is the model itself */
        struct runtime_file *f = &o->files[o->count++];
        *f = (struct runtime_file){ o->list.at[i].name, beside(list, o->list.at[i].name) };
        st = verify(f->path, &o->list.at[i].digest, err);
    }
    return st;
}

static uint64_t size_of(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 ? (uint64_t)about.st_size : UINT64_MAX / MAX_VERSION_FILES / 2;
}

static bool may_be_short(const struct model *m, const struct model_source *from,
                         const struct others *others)
{
    uint64_t bytes = size_of(from->path);
    for (size_t i = 0; i < others->count; i++)
        bytes += size_of(others->files[i].path);
    return from->short_run_us && from->threads > 1 && m->runtime->threaded &&
           bytes <= SHORT_BYTES_MAX;
}

/* With one thread; then, unless its runs prove to be short, anew with all. */
static enum status load(struct model *m, const struct model_source *from,
                        const struct others *others, struct error *err)
{
    bool short_runs = may_be_short(m, from, others);
    struct runtime_options options = { short_runs ? 1 : from->threads, others->files,
                                       others->count };
    enum status st = m->runtime->load(from->path, &options, &m->context, &m->signature, err);
    if (st)
        return st;
    uint64_t rows = m->signature.batchable ? from->max_batch : 1, took = warm_up(m);
    if (!short_runs || (took < from->short_run_us && took * rows < from->short_run_us))
        return STATUS_OK;
    model_unload(m);
    m->signature = (struct signature){ 0 };
    options.threads = from->threads;
    st = m->runtime->load(from->path, &options, &m->context, &m->signature, err);
    if (!st)
        warm_up(m);
    return st;
}

enum status model_load(struct model *m, const struct model_source *from, struct error *err)
{
    struct others others = { 0 };
    struct digest want;
    m->runtime = runtime_find(bytes_str(from->format), from->allow_fake);
    if (!m->runtime)
        return error_set(err, STATUS_UNSUPPORTED, "this worker has no runtime for the format '%s'",
                         from->format);
    if (digest_parse(bytes_str(from->digest), &want))
        return error_set(err, STATUS_CORRUPT, "'%s' is no digest", from->digest);
    enum status st = verify(from->path, &want, err);
    if (!st)
        st = read_others(from->files, &others, err);
    if (!st)
        st = load(m, from, &others, err);
    others_finish(&others);
    return st;
}

void model_unload(struct model *m)
{
    if (m->context)
        m->runtime->unload(m->context);
    m->context = NULL;
}
