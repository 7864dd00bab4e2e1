/* run.c - read, split, standardise, train, evaluate, export. */
#include "services/trainer/run.h"

#include "common/base/clock.h"
#include "services/trainer/evaluate.h"
#include "services/trainer/onnx_export.h"
#include "services/trainer/random.h"

#include <math.h>
#include <stdlib.h>

#define HISTORY_MAX (MAX_JSON - 512) /* bytes; later epochs are then left out */

void run_init(struct run *r)
{
    *r = (struct run){ .seed = 0 };
    uv_mutex_init(&r->lock);
}

void run_finish(struct run *r)
{
    for (size_t i = 0; i < r->files_count; i++)
        free(r->files[i].path);
    buf_finish(&r->params_json);
    buf_finish(&r->progress.history);
    buf_finish(&r->onnx);
    buf_finish(&r->metrics);
    buf_finish(&r->predictions);
    uv_mutex_destroy(&r->lock);
}

/* ---- data --------------------------------------------------------------------------------------- */

/* The file of that name, plain or compressed. */
static const char *find_file(const struct run *r, const char *name)
{
    for (size_t i = 0; i < r->files_count; i++) {
        size_t len = strlen(name);
        if (strncmp(r->files[i].name, name, len) == 0 &&
            (!r->files[i].name[len] || strcmp(r->files[i].name + len, ".gz") == 0))
            return r->files[i].path;
    }
    return NULL;
}

/* What is to be learnt from, and what is held out. */
struct data {
    struct table train;
    struct table test; /* rows 0: the held-out rows are taken from train */
    bool images;
};

static enum status read_images(const struct run *r, struct data *d, struct error *err)
{
    static const char *const names[] = { "train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                         "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte" };
    const char *path[4];
    for (int i = 0; i < 4; i++) {
        path[i] = find_file(r, names[i]);
        if (!path[i])
            return error_set(err, STATUS_INVALID, "the data set lacks the file %s (or %s.gz)",
                             names[i], names[i]);
    }
    enum status st = idx_read(path[0], path[1], &d->train, err);
    if (!st)
        st = idx_read(path[2], path[3], &d->test, err);
    if (!st && d->train.classes_count < 2)
        st = error_set(err, STATUS_INVALID, "the training labels have only one class");
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
    *d = (struct data){ .images = find_file(r, "train-images-idx3-ubyte") != NULL };
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
    return csv_read(r->files[0].path, r->target, &d->train, err);
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
    if (r->progress.history.len < HISTORY_MAX)
        buf_printf(&r->progress.history,
                   "%s{\"epoch\":%u,\"train_loss\":%.6f,\"validation_loss\":%.6f,"
                   "\"validation_accuracy\":%.6f}",
                   r->progress.history.len ? "," : "", e->number, e->train_loss, e->validation_loss,
                   e->validation_accuracy);
    uv_mutex_unlock(&r->lock);
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

static enum status fit(struct run *r, struct data *d, const struct params *p, struct mlp *m)
{
    static const struct mlp_events events = { go_on, on_epoch };
    struct random random = { .state = p->seed };
    size_t rows = d->train.rows, test = 0;
    uint32_t *order = mem_alloc(rows * sizeof *order);
    for (size_t i = 0; i < rows; i++)
        order[i] = (uint32_t)i;
    random_shuffle(&random, order, rows);
    if (!d->test.rows) {
        test = (size_t)lround((double)rows * p->test);
        test = test < 1 ? 1 : test;
        if (test + 2 > rows) {
            free(order);
            return error_set(&r->error, STATUS_INVALID, "%zu rows are too few to learn from", rows);
        }
        take_test(&d->train, order, test, &d->test);
    }
    size_t validation = (size_t)((double)(rows - test) * p->validation);
    size_t train = rows - test - validation;
    mlp_init(m, d->train.features, d->train.classes_count, p);
    mlp_standardise(m, &d->train, order + test, train, !d->images);
    enum status st =
        mlp_train(m, &d->train, order + test, train, validation, p, &events, r, &r->error);
    free(order);
    return st;
}

static void export_model(struct run *r, const struct data *d, const struct mlp *m)
{
    size_t size = d->test.rows * mlp_classes(m) * sizeof(float);
    buf_reserve(&r->predictions, size);
    mlp_predict(m, d->test.x, d->test.rows, (float *)(void *)r->predictions.data);
    r->predictions.len = size;
    evaluate_json(&d->test, (const float *)(const void *)r->predictions.data, &r->metrics);
    onnx_export(m, d->train.classes, r->description, &r->onnx);
}

void run_execute(struct run *r)
{
    struct data d = { 0 };
    struct mlp m = { 0 };
    struct params p;
    uint64_t begin = clock_ms();
    r->error = (struct error){ .status = STATUS_OK };
    enum status st = read_data(r, &d, &r->error);
    params_default(&p, d.images);
    p.seed = r->seed;
    if (!st)
        st = params_parse(buf_bytes(&r->params_json), &p, &r->error);
    uv_mutex_lock(&r->lock);
    r->progress.epochs = p.epochs;
    uv_mutex_unlock(&r->lock);
    if (!st)
        st = fit(r, &d, &p, &m);
    if (!st)
        export_model(r, &d, &m);
    r->error.status = st;
    r->seconds = (double)(clock_ms() - begin) / 1000;
    table_finish(&d.train);
    table_finish(&d.test);
    mlp_finish(&m);
}
