/* run.c - read, split, standardise, train, evaluate, export. */
#include "services/trainer/run.h"

#include "common/base/clock.h"
#include "services/trainer/evaluate.h"
#include "services/trainer/onnx_export.h"
#include "services/trainer/random.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <yyjson.h>

#define DIGEST_STEP 65536            /* bytes between two looks at cancel */
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
static enum status verify(const struct run *r, struct error *err)
{
    for (size_t i = 0; i < r->files_count; i++) {
        const struct run_file *file = &r->files[i];
        struct digest is;
        if (!file->has_digest)
            continue;
        if (digest_file(file->path, &is, &r->cancel, err))
            return err->status;
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

static enum status fit(struct run *r, struct data *d, struct params *p, struct mlp *m)
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
    p->batch = p->batch < train ? p->batch : (uint32_t)train;
    enum status st = mlp_check_size(d->train.features, d->train.classes_count, p, &r->error);
    if (!st) {
        mlp_init(m, d->train.features, d->train.classes_count, p);
        mlp_standardise(m, &d->train, order + test, train, !d->images);
        st = mlp_train(m, &d->train, order + test, train, validation, p, &events, r, &r->error);
    }
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
    enum status st = verify(r, &r->error);
    if (!st)
        st = read_data(r, &d, &r->error);
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

/* ---- lineage ---------------------------------------------------------------------------------- */

static void add_files(const struct run *r, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
    yyjson_mut_val *files = yyjson_mut_obj_add_obj(doc, root, "files");
    for (size_t i = 0; i < r->files_count; i++) {
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&r->files[i].digest, hex);
        yyjson_mut_obj_add(files, yyjson_mut_strcpy(doc, r->files[i].name),
                           yyjson_mut_strcpy(doc, hex));
    }
}

void run_lineage(const struct run *r, const char *job, const char *dataset, struct buf *out)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_doc *params = yyjson_read((const char *)r->params_json.data, r->params_json.len, 0);
    size_t len = 0;
    yyjson_mut_doc_set_root(doc, root);
    yyjson_mut_obj_add_str(doc, root, "training", job);
    yyjson_mut_obj_add_str(doc, root, "dataset", dataset);
    add_files(r, doc, root);
    if (r->target[0])
        yyjson_mut_obj_add_str(doc, root, "target", r->target);
    yyjson_mut_obj_add_str(doc, root, "learner", "mlp");
    yyjson_mut_obj_add_uint(doc, root, "seed", r->seed);
    yyjson_mut_obj_add_val(doc, root, "params",
                           params ? yyjson_val_mut_copy(doc, yyjson_doc_get_root(params))
                                  : yyjson_mut_obj(doc));
    yyjson_mut_obj_add_real(doc, root, "seconds", round(r->seconds * 1000) / 1000);
    char *text = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, &len);
    buf_append(out, text, len);
    free(text);
    yyjson_doc_free(params);
    yyjson_mut_doc_free(doc);
}
