/* xgb.c - XGBoost's C API, found with dlopen.
 *
 * Rows go in by batches that are gathered into a buffer, so that neither a copy of the table nor
 * XGBoost's own format of floats (8 bytes a cell) is ever in memory: only bins are.
 */
#include "services/trainer/learners/xgb.h"

#include <assert.h>
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>
#include <xgboost/c_api.h>

#define BATCH_CELLS (1u << 18) /* features x rows that are gathered at a time */
#define ARRAY_SIZE  160        /* of the JSON that describes an array */

#define FUNCTIONS(X)                       \
    X(XGBGetLastError)                     \
    X(XGBSetGlobalConfig)                  \
    X(XGProxyDMatrixCreate)                \
    X(XGProxyDMatrixSetDataDense)          \
    X(XGQuantileDMatrixCreateFromCallback) \
    X(XGDMatrixSetInfoFromInterface)       \
    X(XGDMatrixFree)                       \
    X(XGBoosterCreate)                     \
    X(XGBoosterSetParam)                   \
    X(XGBoosterTrainOneIter)               \
    X(XGBoosterSaveModelToBuffer)          \
    X(XGBoosterFree)

/* Filled once, then only read. */
static struct {
#define X(name) __typeof__(&name) name;
    FUNCTIONS(X)
#undef X
    bool whole;
} lib;

static uv_once_t once = UV_ONCE_INIT;

/* libgomp, which comes with XGBoost, reads its environment once, when it is loaded.  Its threads
 * wait for each other in a busy loop unless told otherwise; where other programs have the cores,
 * small tables took a hundred times as long. */
static void open_library(void)
{
    setenv("OMP_WAIT_POLICY", "passive", 0);
    void *at = dlopen("libxgboost.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!at)
        at = dlopen("libxgboost.so", RTLD_NOW | RTLD_LOCAL);
    if (!at)
        return;
    lib.whole = true;
#define X(name)                             \
    *(void **)&lib.name = dlsym(at, #name); \
    lib.whole = lib.whole && lib.name;
    FUNCTIONS(X)
#undef X
}

static enum status need_library(struct error *err)
{
    uv_once(&once, open_library);
    if (!lib.whole)
        return error_set(err, STATUS_UNAVAILABLE,
                         "XGBoost 3 (libxgboost0) is not installed on this trainer");
    lib.XGBSetGlobalConfig("{\"verbosity\": 0}"); /* of this thread */
    return STATUS_OK;
}

/* XGBoost's own sentence, without the place in its source that comes before and the stack that
 * comes after. */
static enum status convert(int failed, struct error *err)
{
    if (!failed)
        return STATUS_OK;
    const char *text = lib.XGBGetLastError(), *sentence = strstr(text, ": ");
    text = sentence ? sentence + 2 : text;
    return error_set(err, STATUS_INVALID, "XGBoost: %.*s", (int)strcspn(text, "\n"), text);
}

static void describe(char out[ARRAY_SIZE], const float *at, size_t rows, size_t columns)
{
    snprintf(out, ARRAY_SIZE,
             "{\"data\": [%zu, true], \"shape\": [%zu, %zu], \"typestr\": \"<f4\", \"version\": 3}",
             (size_t)(uintptr_t)at, rows, columns);
}

void xgb_say(struct xgb_settings *s, const char *name, const char *format, ...)
{
    va_list args;
    assert(s->count < XGB_SETTINGS_MAX);
    s->list[s->count].name = name;
    va_start(args, format);
    int len = vsnprintf(s->list[s->count].value, XGB_VALUE_SIZE, format, args);
    va_end(args);
    assert(len >= 0 && len < XGB_VALUE_SIZE);
    s->count++;
}

/* ---- matrices ----------------------------------------------------------------------------------- */

/* A walk over the rows, which XGBoost takes several times. */
struct walk {
    const struct xgb_rows *from;
    DMatrixHandle proxy;
    float *batch;
    size_t batch_rows;
    size_t next;
    bool cancelled;
};

static void rewind_walk(DataIterHandle walk)
{
    ((struct walk *)walk)->next = 0;
}

/* Leaves of the gathered rows what is wanted; returns how many numbers a row then has. */
static size_t choose_features(const struct xgb_rows *from, float *batch, size_t rows)
{
    size_t all = from->lesson->table->features, n = from->features_count;
    if (!from->features)
        return all;
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < n; k++)
            batch[i * n + k] = batch[i * all + from->features[k]];
    return n;
}

/* 1: the proxy has the next rows; 0: there are no more. */
static int step(DataIterHandle walk)
{
    struct walk *w = walk;
    char array[ARRAY_SIZE];
    const struct lesson *lesson = w->from->lesson;
    const struct table *t = lesson->table;
    size_t left = w->from->count - w->next, n = left < w->batch_rows ? left : w->batch_rows;
    if (w->from->ask && !w->cancelled)
        w->cancelled = !lesson->events->go_on(lesson->arg, w->from->fraction);
    if (!n || w->cancelled)
        return 0;
    table_rows(t, w->from->rows + w->next, n, w->batch);
    w->next += n;
    describe(array, w->batch, n, choose_features(w->from, w->batch, n));
    return lib.XGProxyDMatrixSetDataDense(w->proxy, array) == 0;
}

static DMatrixHandle handle_of(const struct xgb_matrix *m)
{
    return (DMatrixHandle)(uintptr_t)m;
}

enum status xgb_matrix_create(const struct xgb_rows *rows, struct xgb_matrix **out,
                              struct error *err)
{
    const struct table *t = rows->lesson->table;
    char config[ARRAY_SIZE];
    DMatrixHandle matrix = NULL;
    struct walk w = { .from = rows, .batch_rows = 1 + BATCH_CELLS / t->features };
    enum status st = need_library(err);
    if (!st)
        st = convert(lib.XGProxyDMatrixCreate(&w.proxy), err);
    if (st)
        return st;
    w.batch_rows = w.batch_rows < rows->count ? w.batch_rows : rows->count;
    w.batch = mem_alloc(w.batch_rows * t->features * sizeof *w.batch);
    snprintf(config, sizeof config, "{\"missing\": NaN, \"nthread\": %u, \"max_bin\": %u}",
             (unsigned)rows->threads, (unsigned)rows->bins);
    st = convert(lib.XGQuantileDMatrixCreateFromCallback(&w, w.proxy, NULL, rewind_walk, step,
                                                         config, &matrix),
                 err);
    free(w.batch);
    lib.XGDMatrixFree(w.proxy);
    if (w.cancelled) { /* perhaps in the last look, when the matrix was whole already */
        xgb_matrix_destroy((struct xgb_matrix *)matrix);
        *out = NULL;
        return error_set(err, STATUS_CANCELLED, "cancelled");
    }
    *out = matrix;
    return st;
}

enum status xgb_matrix_labels(struct xgb_matrix *m, const float *labels, size_t count,
                              size_t columns, struct error *err)
{
    char array[ARRAY_SIZE];
    describe(array, labels, count, columns);
    return convert(lib.XGDMatrixSetInfoFromInterface(handle_of(m), "label", array), err);
}

void xgb_matrix_destroy(struct xgb_matrix *m)
{
    if (m)
        lib.XGDMatrixFree(handle_of(m));
}

/* ---- boosters ----------------------------------------------------------------------------------- */

static BoosterHandle booster_of(struct xgb_booster *b)
{
    return (BoosterHandle)b;
}

enum status xgb_booster_create(const struct xgb_settings *settings, struct xgb_matrix *matrix,
                               struct xgb_booster **out, struct error *err)
{
    BoosterHandle booster = NULL;
    DMatrixHandle handle = handle_of(matrix);
    enum status st = need_library(err);
    if (!st)
        st = convert(lib.XGBoosterCreate(&handle, 1, &booster), err);
    for (size_t i = 0; i < settings->count && !st; i++)
        st = convert(
            lib.XGBoosterSetParam(booster, settings->list[i].name, settings->list[i].value), err);
    *out = (struct xgb_booster *)booster;
    if (!st)
        return STATUS_OK;
    xgb_booster_destroy(*out);
    return st;
}

enum status xgb_grow(struct xgb_booster *b, struct xgb_matrix *train, const float *gradients,
                     const float *hessians, size_t count, size_t columns, struct error *err)
{
    char first[ARRAY_SIZE], second[ARRAY_SIZE];
    describe(first, gradients, count, columns);
    describe(second, hessians, count, columns);
    return convert(lib.XGBoosterTrainOneIter(booster_of(b), handle_of(train), 0, first, second),
                   err);
}

enum status xgb_json(struct xgb_booster *b, struct bytes *out, struct error *err)
{
    bst_ulong len = 0;
    const char *text = NULL;
    enum status st = convert(
        lib.XGBoosterSaveModelToBuffer(booster_of(b), "{\"format\": \"json\"}", &len, &text), err);
    *out = bytes_of(text, len);
    return st;
}

void xgb_booster_destroy(struct xgb_booster *b)
{
    if (b)
        lib.XGBoosterFree(booster_of(b));
}
