/* run.c - read, split, standardise, train, evaluate, export. */
#include "services/trainer/run.h"

#include "common/base/clock.h"
#include "services/trainer/evaluate.h"

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
    buf_finish(&r->report);
    buf_finish(&r->predictions);
    uv_mutex_destroy(&r->lock);
}

/* ---- data --------------------------------------------------------------------------------------- */

/* The file of that name, plain or compressed. */
static bool find_file(const struct run *r, const char *name, struct source_file *out)
{
    for (size_t i = 0; i < r->files_count; i++) {
        size_t len = strlen(name);
        if (strncmp(r->files[i].name, name, len) != 0 ||
            (r->files[i].name[len] && strcmp(r->files[i].name + len, ".gz") != 0))
            continue;
        *out = (struct source_file){ r->files[i].name, r->files[i].path, &r->cancel };
        return true;
    }
    return false;
}

/* What is to be learnt from, and what is held out. */
struct data {
    struct table train;
    struct table test; /* rows 0: the held-out rows are taken from train */
    bool images;
};

static bool one_class(const struct table *t)
{
    for (size_t i = 1; i < t->rows; i++)
        if (t->y[i] != t->y[0])
            return false;
    return true;
}

static enum status read_images(const struct run *r, struct data *d, struct error *err)
{
    static const char *const names[] = { "train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                         "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte" };
    struct source_file files[4];
    for (int i = 0; i < 4; i++)
        if (!find_file(r, names[i], &files[i]))
            return error_set(err, STATUS_INVALID, "the data set lacks the file %s (or %s.gz)",
                             names[i], names[i]);
    enum status st = idx_read(&files[0], &files[1], &d->train, err);
    if (!st)
        st = idx_read(&files[2], &files[3], &d->test, err);
    if (!st && one_class(&d->train))
        st = error_set(err, STATUS_INVALID,
                       "%s: there is only one class: there is nothing to learn", files[1].name);
    if (!st &&
        (d->test.features != d->train.features || d->test.classes_count > d->train.classes_count))
        st = error_set(err, STATUS_INVALID,
                       "the test images have another size, or labels that the "
                       "training images have not");
    if (!st)
        while (d->test.classes_count < d->train.classes_count) { /* rare classes may be missing */
            size_t n = d->test.classes_count;
            d->test.classes = mem_resize(d->test.classes, (n + 1) * sizeof *d->test.classes);
            d->test.classes[d->test.classes_count++] = mem_str(bytes_str(d->train.classes[n]));
        }
    return st;
}

static enum status read_data(const struct run *r, struct data *d, struct error *err)
{
    struct source_file file;
    *d = (struct data){ .images = find_file(r, "train-images-idx3-ubyte", &file) };
    if (d->images)
        return read_images(r, d, err);
    if (r->files_count != 1)
        return error_set(
            err, STATUS_INVALID,
            "a data set has one CSV file or the four IDX files; this one has %zu files",
            r->files_count);
    if (!r->target[0])
        return error_set(err, STATUS_INVALID,
                         "a table needs \"target\": the name of its label column");
    file = (struct source_file){ r->files[0].name, r->files[0].path, &r->cancel };
    return csv_read(&file, r->target, &d->train, err);
}

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

/* ---- progress ----------------------------------------------------------------------------------- */

static bool go_on(void *arg, double fraction)
{
    struct run *r = arg;
    uv_mutex_lock(&r->lock);
    r->progress.fraction = fraction;
    uv_mutex_unlock(&r->lock);
    return !atomic_load(&r->cancel);
}

static void on_epoch(void *arg, const struct epoch *e)
{
    struct run *r = arg;
    uv_mutex_lock(&r->lock);
    r->progress.last = *e;
    if (r->progress.history_count < RUN_HISTORY_MAX)
        r->progress.history[r->progress.history_count++] = *e;
    uv_mutex_unlock(&r->lock);
}

/* Six digits are enough for a curve. */
static double rounded(double loss)
{
    return fabs(loss) < 1e9 ? round(loss * 1e6) / 1e6 : loss;
}

void run_history(const struct run_progress *p, struct buf *out)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *list = yyjson_mut_arr(doc);
    size_t len = 0;
    yyjson_mut_doc_set_root(doc, list);
    for (size_t i = 0; i < p->history_count; i++) {
        const struct epoch *e = &p->history[i];
        yyjson_mut_val *line = yyjson_mut_arr_add_obj(doc, list);
        yyjson_mut_obj_add_uint(doc, line, "epoch", e->number);
        yyjson_mut_obj_add_real(doc, line, "train_loss", rounded(e->train_loss));
        yyjson_mut_obj_add_real(doc, line, "validation_loss", rounded(e->validation_loss));
        yyjson_mut_obj_add_real(doc, line, "validation_accuracy", rounded(e->validation_accuracy));
    }
    char *text = yyjson_mut_write(doc, 0, &len);
    buf_append(out, text, len);
    free(text);
    yyjson_mut_doc_free(doc);
}

/* ---- the run ------------------------------------------------------------------------------------ */

/* Moves the held-out rows of a table into one of their own. */
static void take_test(const struct table *t, const uint32_t *rows, size_t count, struct table *out)
{
    *out = (struct table){ .rows = count, .features = t->features };
    out->x = mem_alloc(count * t->features * sizeof *out->x);
    out->y = mem_alloc(count * sizeof *out->y);
    out->classes = mem_alloc(t->classes_count * sizeof *out->classes);
    for (size_t i = 0; i < count; i++) {
        memcpy(out->x + i * t->features, t->x + rows[i] * t->features,
               t->features * sizeof *out->x);
        out->y[i] = t->y[rows[i]];
    }
    while (out->classes_count < t->classes_count) {
        out->classes[out->classes_count] = mem_str(bytes_str(t->classes[out->classes_count]));
        out->classes_count++;
    }
}

/* The job's parameters: those of the split, and the learner's own. */
static enum status read_params(struct run *r, const struct table *t, struct error *err)
{
    const struct learner *l = r->learner;
    free(r->params);
    r->params = mem_zalloc(l->params_size);
    l->defaults(r->params, t);
    r->shares = (struct split_shares){ .test = 0.2, .validation = 0.1 };
    struct param_set sets[RUN_PARAM_SETS];
    run_param_sets(r, sets);
    enum status st = params_parse(buf_bytes(&r->params_json), sets, RUN_PARAM_SETS, err);
    if (st)
        return st;
    uv_mutex_lock(&r->lock);
    r->progress.epochs = l->epochs(r->params);
    uv_mutex_unlock(&r->lock);
    return STATUS_OK;
}

static enum status split_data(struct run *r, struct data *d, struct split *s, struct error *err)
{
    if (d->test.rows)
        r->shares.test = 0; /* the data set says what is held out */
    enum status st = split_make(&d->train, &r->shares, r->seed, s, err);
    if (st)
        return st;
    size_t held = d->test.rows ? d->test.rows : s->test;
    if ((uint64_t)held * d->train.classes_count > MAX_CELLS)
        return error_set(err, STATUS_TOO_LARGE,
                         "%zu held-out rows of %zu classes are too many: there would be more than "
                         "%u probabilities",
                         held, d->train.classes_count, MAX_CELLS);
    if (!d->test.rows)
        take_test(&d->train, s->rows, s->test, &d->test);
    r->split = *s;
    r->split.rows = NULL;
    r->split.test = held;
    return STATUS_OK;
}

static enum status fit(struct run *r, const struct data *d, const struct split *s, void **model,
                       struct error *err)
{
    static const struct learner_events events = { go_on, on_epoch, NULL };
    const struct lesson lesson = { .table = &d->train,
                                   .rows = s->rows + s->test,
                                   .train = s->train,
                                   .validation = s->validation,
                                   .threads = r->threads,
                                   .seed = r->seed,
                                   .events = &events,
                                   .arg = r };
    return r->learner->fit(r->params, &lesson, model, err);
}

static enum status predict(struct run *r, const struct table *t, const void *model,
                           struct error *err)
{
    size_t width = table_width(t) * sizeof(float);
    buf_reserve(&r->predictions, t->rows * width);
    for (size_t at = 0; at < t->rows; at += PREDICT_ROWS) {
        size_t n = t->rows - at < PREDICT_ROWS ? t->rows - at : PREDICT_ROWS;
        if (atomic_load(&r->cancel))
            return error_set(err, STATUS_CANCELLED, "cancelled");
        r->learner->predict(model, t->x + at * t->features, n,
                            (float *)(void *)(r->predictions.data + at * width));
    }
    r->predictions.len = t->rows * width;
    evaluate_json(t, (const float *)(const void *)r->predictions.data, &r->metrics);
    return STATUS_OK;
}

void run_execute(struct run *r)
{
    struct data d = { 0 };
    struct split split = { 0 };
    void *model = NULL;
    uint64_t begin = clock_ms();
    r->error = (struct error){ .status = STATUS_OK };
    enum status st = verify(r, &r->error);
    if (!st)
        st = read_data(r, &d, &r->error);
    if (!st)
        st = read_params(r, &d.train, &r->error);
    if (!st)
        st = split_data(r, &d, &split, &r->error);
    if (!st)
        st = fit(r, &d, &split, &model, &r->error);
    if (!st)
        st = predict(r, &d.test, model, &r->error);
    if (!st && r->learner->report)
        r->learner->report(model, &r->report);
    if (!st)
        run_export(r, model, &d.train);
    r->error.status = st;
    r->seconds = (double)(clock_ms() - begin) / 1000;
    r->learner->destroy(model);
    split_finish(&split);
    table_finish(&d.train);
    table_finish(&d.test);
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
