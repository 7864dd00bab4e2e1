/* run.c - read, train, evaluate, export. */
#include "services/trainer/run.h"

#include "common/base/clock.h"
#include "services/trainer/evaluate/evaluate.h"
#include "services/trainer/json.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <yyjson.h>

#define DIGEST_STEP  65536 /* bytes between two looks at cancel */
#define PREDICT_ROWS 32    /* the same, of predictions */

void run_init(struct run *r)
{
    *r = (struct run){ .threads = 1 };
    uv_mutex_init(&r->lock);
}

void run_finish(struct run *r)
{
    for (size_t i = 0; i < r->files_count; i++)
        free(r->files[i].path);
    buf_finish(&r->params_json);
    free(r->params);
    buf_finish(&r->onnx);
    buf_finish(&r->metrics);
    buf_finish(&r->data_report);
    buf_finish(&r->report);
    buf_finish(&r->predictions);
    buf_finish(&r->state);
    buf_finish(&r->resume);
    free(r->resume_path);
    while (r->made_count)
        buf_finish(&r->made[--r->made_count].data);
    uv_mutex_destroy(&r->lock);
}

struct buf *run_make(struct run *r, const char *name)
{
    assert(r->made_count < RUN_MADE_MAX);
    struct run_made *m = &r->made[r->made_count++];
    *m = (struct run_made){ .name = name };
    return &m->data;
}

/* ---- data --------------------------------------------------------------------------------------- */

static enum status digest_file(const char *path, struct digest *out, const atomic_bool *cancel,
                               struct error *err)
{
    char block[DIGEST_STEP];
    struct digest_stream stream;
    size_t n;
    FILE *file = fopen(path, "rbe");
    if (!file && errno == ENOENT)
        return error_set(err, STATUS_CORRUPT, "%s is gone", path);
    if (!file)
        return error_set(err, STATUS_IO, "%s cannot be opened: %s", path, strerror(errno));
    digest_start(&stream);
    do {
        n = fread(block, 1, sizeof block, file);
        digest_update(&stream, bytes_of(block, n));
    } while (n == sizeof block && !atomic_load(cancel));
    digest_end(&stream, out);
    bool failed = ferror(file);
    fclose(file);
    if (atomic_load(cancel))
        return error_set(err, STATUS_CANCELLED, "cancelled");
    return failed ? error_set(err, STATUS_IO, "%s cannot be read: %s", path, strerror(errno))
                  : STATUS_OK;
}

/* The cache names files by digest, but disks forget.  CORRUPT: that file has been removed. */
static enum status verify(struct run *r, struct error *err)
{
    for (size_t i = 0; i < r->files_count; i++) {
        struct run_file *file = &r->files[i];
        struct digest is;
        if (digest_file(file->path, &is, &r->cancel, err))
            return err->status;
        if (!file->has_digest)
            file->digest = is;
        if (digest_equal(&is, &file->digest))
            continue;
        unlink(file->path);
        return error_set(err, STATUS_CORRUPT, "%s was damaged in the cache", file->name);
    }
    return STATUS_OK;
}

/* ---- the run ------------------------------------------------------------------------------------ */

/* The job's parameters: those of the data and the split, and the learner's own.  t: NULL: the data
 * has not been read, so what the learner's are is not known yet. */
static enum status read_params(struct run *r, const struct table *t, struct error *err)
{
    const struct learner *l = r->learner;
    free(r->params);
    r->params = mem_zalloc(l->params_size);
    if (t)
        l->defaults(r->params, t);
    r->shares = (struct split_shares){ .test = 0.2, .validation = 0.1 };
    r->data_params = data_defaults;
    struct param_set sets[RUN_PARAM_SETS];
    run_param_sets(r, sets);
    enum status st = params_parse(buf_bytes(&r->params_json), sets, RUN_PARAM_SETS, err);
    if (st || !t)
        return st;
    uv_mutex_lock(&r->lock);
    r->progress.epochs = l->epochs(r->params);
    uv_mutex_unlock(&r->lock);
    return STATUS_OK;
}

static void report_data(struct run *r, const struct data *d)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    data_json(d, doc, root);
    json_append(doc, &r->data_report);
}

static enum status read_data(struct run *r, struct data *d, struct error *err)
{
    struct source_file files[RUN_FILES_MAX];
    for (size_t i = 0; i < r->files_count; i++)
        files[i] =
            (struct source_file){ r->files[i].name, r->files[i].path, &r->cancel, r->memory_bytes };
    const struct data_request request = { .files = files,
                                          .files_count = r->files_count,
                                          .target = r->target,
                                          .params = &r->data_params,
                                          .shares = r->shares,
                                          .seed = r->seed };
    enum status st = data_load(&request, d, err);
    if (st)
        return st;
    bool values = d->train.outputs > 0;
    if (!(r->learner->tasks & (values ? LEARNS_VALUES : LEARNS_CLASSES)))
        return error_set(err, STATUS_INVALID, "'%s' cannot learn %s", r->learner->name,
                         values ? "values; \"task\":\"classification\" makes each number a class"
                                : "classes");
    if ((uint64_t)d->test.rows * table_width(&d->train) > MAX_CELLS)
        return error_set(err, STATUS_TOO_LARGE,
                         "%zu held-out rows of %zu classes are too many: there would be more than "
                         "%u probabilities",
                         d->test.rows, table_width(&d->train), MAX_CELLS);
    report_data(r, d);
    r->split = d->split;
    r->split.rows = NULL;
    r->split.test = d->test.rows;
    return STATUS_OK;
}

#define MIB(bytes) ((unsigned long long)((bytes) >> 20))

/* What the learner needs is known when its parameters and the data are. */
static enum status check_memory(struct run *r, const struct data *d, struct error *err)
{
    const struct table *t = &d->train;
    uint64_t rows = d->split.train + d->split.validation, data = data_memory(d);
    uint64_t more = r->learner->memory(r->params, t, rows, r->threads);
    if (!r->memory_bytes || data + more <= r->memory_bytes)
        return STATUS_OK;
    return error_set(
        err, STATUS_TOO_LARGE,
        "%zu rows of %zu features take %llu MiB of memory, and '%s' about %llu MiB more; "
        "this trainer has %llu MiB for a training (--memory-bytes)",
        t->rows, t->features, MIB(data), r->learner->name, MIB(more), MIB(r->memory_bytes));
}

static enum status fit(struct run *r, const struct data *d, void **model, struct error *err)
{
    struct lesson lesson = { .table = &d->train,
                             .rows = d->split.rows + d->split.test,
                             .train = d->split.train,
                             .validation = d->split.validation,
                             .threads = r->threads,
                             .seed = r->seed,
                             .resume = buf_bytes(&r->resume),
                             .events = &run_events,
                             .arg = r };
    enum status st = r->learner->fit(r->params, &lesson, model, err);
    if (st != STATUS_INVALID || !lesson.resume.len)
        return st;
    run_drop_resume(r, err->text); /* of another release, perhaps: from the start, then */
    lesson.resume = bytes_of(NULL, 0);
    return r->learner->fit(r->params, &lesson, model, err);
}

static enum status predict(struct run *r, const struct table *t, const void *model,
                           struct error *err)
{
    size_t width = table_width(t) * sizeof(float);
    float *x = mem_alloc(PREDICT_ROWS * t->features * sizeof *x);
    buf_reserve(&r->predictions, t->rows * width);
    for (size_t at = 0; at < t->rows && !atomic_load(&r->cancel); at += PREDICT_ROWS) {
        uint32_t rows[PREDICT_ROWS];
        size_t n = 0;
        for (; n < PREDICT_ROWS && at + n < t->rows; n++)
            rows[n] = (uint32_t)(at + n);
        table_rows(t, rows, n, x);
        r->learner->predict(model, x, n, (float *)(void *)(r->predictions.data + at * width));
    }
    free(x);
    if (atomic_load(&r->cancel))
        return error_set(err, STATUS_CANCELLED, "cancelled");
    r->predictions.len = t->rows * width;
    evaluate_json(t, (const float *)(const void *)r->predictions.data, &r->cancel, &r->metrics);
    return atomic_load(&r->cancel) ? error_set(err, STATUS_CANCELLED, "cancelled") : STATUS_OK;
}

void run_execute(struct run *r)
{
    struct data d = { 0 };
    void *model = NULL;
    uint64_t begin = clock_ms();
    r->error = (struct error){ .status = STATUS_OK };
    enum status st = verify(r, &r->error);
    if (!st)
        st = read_params(r, NULL, &r->error);
    if (!st)
        st = read_data(r, &d, &r->error);
    if (!st)
        st = read_params(r, &d.train, &r->error);
    if (!st)
        st = check_memory(r, &d, &r->error);
    if (!st && d.own_test)
        r->shares.test = 0;
    if (!st) {
        run_read_resume(r);
        st = fit(r, &d, &model, &r->error);
    }
    if (!st)
        st = predict(r, &d.test, model, &r->error);
    if (!st && r->learner->report)
        r->learner->report(model, &r->report);
    if (!st)
        run_export(r, model, &d);
    if (!st)
        run_warmup(r, &d);
    r->seconds = (double)(clock_ms() - begin) / 1000;
    if (!st)
        st = run_tell(r, model, &d, &r->error);
    r->error.status = st;
    r->learner->destroy(model);
    data_finish(&d);
}

enum status run_keep_predictions(const struct run *r, const char *folder, const char *job)
{
    struct buf path = { 0 };
    if (!*folder)
        return STATUS_OK;
    buf_printf(&path, "%s/%s.f32", folder, job);
    FILE *file = fopen(buf_cstr(&path), "wbe");
    buf_finish(&path);
    if (!file)
        return STATUS_IO;
    size_t written = fwrite(r->predictions.data, 1, r->predictions.len, file);
    return fclose(file) == 0 && written == r->predictions.len ? STATUS_OK : STATUS_IO;
}
