/* forest.c - the learners "tree" and "forest".
 *
 * A tree is grown for all outputs together on the squared error, of classes: of one number per
 * class, 1 for the row's own.  That is the Gini impurity, and a leaf's mean is the share of each
 * class.  As each tree is one Newton step from the same base, a forest's trees are grown one by one,
 * so that it can be cancelled, watched and resumed between any two of them.  Each tree has random
 * numbers of its own, and rows that are drawn with replacement.
 */
#include "services/trainer/learners/trees.h"
#include "services/trainer/random.h"

#include <math.h>
#include <stdlib.h>

#define LEAST_PROBABILITY 1e-7 /* in a logarithm */

struct forest_params {
    uint32_t trees;
    uint32_t max_depth; /* 0: as deep as the rows go */
    double min_rows;    /* of a leaf; with class weights: the sum of their weights */
    double min_gain;    /* of a split */
    double columns;     /* share of the features that a split chooses from */
    double rows;        /* share of the rows that a tree sees, drawn with replacement */
    double l2;          /* pulls leaves to the base: so many rows like the mean of all */
    uint32_t bins;      /* values of a feature that can be told apart */
};

#define FIELD(name) offsetof(struct forest_params, name)
#define TREE_ROWS                                                             \
    { "max_depth", PARAM_U32, FIELD(max_depth), 0, TREE_DEPTH_MAX, 0, NULL }, \
    { "min_rows", PARAM_REAL, FIELD(min_rows), 0, 1e9, 0, NULL },             \
    { "min_gain", PARAM_REAL, FIELD(min_gain), 0, 1e9, 0, NULL },             \
    { "l2", PARAM_REAL, FIELD(l2), 0, 1e9, 0, NULL },                         \
    { "bins", PARAM_U32, FIELD(bins), 2, TREE_BINS_MAX, 0, NULL }

static const struct param tree_rows[] = { TREE_ROWS };
static const struct param forest_rows[] = {
    { "trees", PARAM_U32, FIELD(trees), 1, TREES_MAX, 0, NULL },
    { "columns", PARAM_REAL, FIELD(columns), 1e-6, 1, 0, NULL },
    { "rows", PARAM_REAL, FIELD(rows), 1e-6, 1, 0, NULL },
    TREE_ROWS,
};

static void tree_defaults(void *params, const struct table *t)
{
    *(struct forest_params *)params = (struct forest_params){ .trees = 1,
                                                              .max_depth = 8,
                                                              .min_rows = 5,
                                                              .columns = 1,
                                                              .rows = 1,
                                                              .l2 = 1,
                                                              .bins = t->image.channels ? 32 : 256 };
}

/* The square root of the features for classes, a third of them for values: Breiman's. */
static void forest_defaults(void *params, const struct table *t)
{
    double features = (double)t->features;
    struct forest_params p = { .trees = 100,
                               .max_depth = t->image.channels ? 16 : 0,
                               .min_rows = t->outputs ? 2 : 1,
                               .columns = t->outputs ? 1.0 / 3 : sqrt(features) / features,
                               .rows = 1,
                               .bins = t->image.channels ? 32 : 256 };
    *(struct forest_params *)params = p;
}

static uint32_t epochs(const void *params)
{
    return ((const struct forest_params *)params)->trees;
}

/* ---- growing ------------------------------------------------------------------------------------ */

/* How good the trees are so far on some rows. */
struct watched {
    const uint32_t *rows;
    size_t count;
    float *targets; /* count x outputs */
    float *sums;    /* the same, of all trees so far */
    double loss;
    double accuracy;
};

struct forest {
    struct tree_lesson t;
    const struct forest_params *params;
    struct ensemble *e;
    struct xgb_matrix *matrix;
    struct watched train, validation;
    float *gradients, *hessians;
    uint16_t *drawn; /* how often a tree sees a row */
};

/* The share of each class, by weight: what is known of a row before any question is asked. */
static void fit_base(const struct lesson *l, struct ensemble *e)
{
    double all = 0, *sum = mem_zalloc(e->sums * sizeof *sum);
    for (size_t i = 0; i < l->train; i++) {
        double weight = tree_weight(l, l->rows[i]);
        sum[l->table->y[l->rows[i]]] += weight;
        all += weight;
    }
    for (size_t k = 0; k < e->sums && all > 0; k++)
        e->base[k] = (float)(sum[k] / all);
    free(sum);
}

static float *class_targets(const struct table *t, const uint32_t *rows, size_t count)
{
    float *out = mem_zalloc((count * t->classes_count + 1) * sizeof *out);
    for (size_t i = 0; i < count; i++)
        out[i * t->classes_count + t->y[rows[i]]] = 1;
    return out;
}

static void watch(struct forest *f, struct watched *w, const uint32_t *rows, size_t count)
{
    const struct lesson *l = f->t.lesson;
    w->rows = rows;
    w->count = count;
    w->targets = l->table->outputs ? tree_values(l, f->e, rows, count)
                                   : class_targets(l->table, rows, count);
    w->sums = mem_zalloc((count * f->t.outputs + 1) * sizeof *w->sums);
}

static void judge_classes(const struct forest *f, struct watched *w, float factor)
{
    size_t outputs = f->t.outputs, right = 0;
    double loss = 0;
    for (size_t i = 0; i < w->count; i++) {
        size_t best = 0, y = f->t.lesson->table->y[w->rows[i]];
        float top = -INFINITY;
        for (size_t k = 0; k < outputs; k++) {
            float p = f->e->base[k] + w->sums[i * outputs + k] * factor;
            best = p > top ? k : best;
            top = p > top ? p : top;
            if (k == y)
                loss -= log(fmax((double)p, LEAST_PROBABILITY));
        }
        right += best == y;
    }
    w->loss = loss / (double)w->count;
    w->accuracy = (double)right / (double)w->count;
}

static void judge_values(const struct forest *f, struct watched *w, float factor)
{
    size_t count = w->count * f->t.outputs;
    double error = 0, sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)w->targets[i] - (double)(w->sums[i] * factor);
        error += d * d;
        sum += (double)w->targets[i];
        squares += (double)w->targets[i] * (double)w->targets[i];
    }
    double mean = sum / (double)count, variance = squares / (double)count - mean * mean;
    w->loss = error / (double)count;
    w->accuracy = variance > 0 ? 1 - w->loss / variance : 0;
}

/* Takes the trees from number `from` on into account. */
static void judge(struct forest *f, struct watched *w, size_t from)
{
    if (!w->count)
        return;
    float factor = (float)f->params->trees / (float)f->e->trees_count;
    ensemble_add_sums(f->e, from, f->t.lesson->table->x, w->rows, w->count, w->sums);
    if (f->t.lesson->table->outputs)
        judge_values(f, w, factor);
    else
        judge_classes(f, w, factor);
}

/* How often the next tree sees each row; the whole of them where there is one tree. */
static void draw(struct forest *f, struct random *random)
{
    size_t count = f->train.count, draws = (size_t)ceil((double)count * f->params->rows);
    for (size_t i = 0; i < count; i++)
        f->drawn[i] = f->params->trees == 1;
    for (size_t i = 0; i < draws && f->params->trees > 1; i++)
        f->drawn[random_u64(random) % count]++;
}

static void fill_gradients(struct forest *f)
{
    size_t outputs = f->t.outputs;
    for (size_t i = 0; i < f->train.count; i++) {
        float weight = (float)(f->drawn[i] * tree_weight(f->t.lesson, f->train.rows[i]));
        for (size_t k = 0; k < outputs; k++) {
            size_t at = i * outputs + k;
            f->gradients[at] = weight * (f->e->base[k] - f->train.targets[at]);
            f->hessians[at] = weight;
        }
    }
}

static void fill_settings(const struct forest *f, uint64_t seed, struct xgb_settings *s)
{
    const struct forest_params *p = f->params;
    tree_settings(&f->t, f->t.outputs, seed, s);
    xgb_say(s, "objective", "reg:squarederror");
    xgb_say(s, "base_score", "0");
    xgb_say(s, "eta", "1");
    xgb_say(s, "max_depth", "%u", p->max_depth ? p->max_depth : TREE_DEPTH_MAX);
    xgb_say(s, "min_child_weight", "%.9g", p->min_rows);
    xgb_say(s, "gamma", "%.9g", p->min_gain);
    xgb_say(s, "lambda", "%.9g", p->l2);
    xgb_say(s, "colsample_bynode", "%.9g", p->columns);
    if (f->t.outputs > 1)
        xgb_say(s, "multi_strategy", "multi_output_tree");
}

static enum status grow_tree(struct forest *f, size_t number, struct error *err)
{
    struct random from = { .state = f->t.lesson->seed + number };
    struct random random = { .state = random_u64(&from) };
    struct xgb_settings settings = { 0 };
    struct xgb_booster *booster = NULL;
    struct bytes json;
    fill_settings(f, random_u64(&random), &settings);
    draw(f, &random);
    fill_gradients(f);
    enum status st =
        xgb_booster_create(&settings, &f->matrix, 1, bytes_of(NULL, 0), &booster, err);
    if (st)
        return st;
    st = xgb_grow(booster, f->matrix, f->gradients, f->hessians, f->train.count, f->t.outputs,
                  err);
    if (!st)
        st = xgb_json(booster, &json, err);
    if (!st)
        st = ensemble_add_json(f->e, json, 1, 1 / (float)f->params->trees, err);
    xgb_booster_destroy(booster);
    return st;
}

static enum status grow_all(struct forest *f, struct error *err)
{
    const struct lesson *l = f->t.lesson;
    struct tree_checkpoints checkpoints = { 0 };
    enum status st = STATUS_OK;
    for (size_t i = f->e->trees_count; i < f->params->trees && !st; i++) {
        if (!l->events->go_on(l->arg, (double)i / f->params->trees))
            return error_set(err, STATUS_CANCELLED, "cancelled");
        st = grow_tree(f, i, err);
        if (st)
            break;
        judge(f, &f->train, i);
        judge(f, &f->validation, i);
        tree_epoch(l, (uint32_t)i + 1, f->train.loss, f->validation.loss, f->validation.accuracy);
        if (tree_checkpoint_due(&checkpoints, &f->t)) {
            struct buf payload = { 0 };
            ensemble_save(f->e, &payload);
            tree_checkpoint(&checkpoints, &f->t, (uint32_t)i + 1, &payload);
            buf_finish(&payload);
        }
    }
    return st;
}

/* ---- the interface ------------------------------------------------------------------------------ */

static enum status make_matrix(struct forest *f, struct error *err)
{
    const struct lesson *l = f->t.lesson;
    const struct xgb_rows rows = { .lesson = l,
                                   .rows = l->rows,
                                   .count = l->train,
                                   .bins = f->t.bins,
                                   .threads = f->t.threads };
    enum status st = xgb_matrix_create(&rows, &f->matrix, err);
    return st ? st : xgb_matrix_labels(f->matrix, f->train.targets, l->train, f->t.outputs, err);
}

static enum status resume(struct forest *f, struct error *err)
{
    struct bytes payload;
    uint32_t rounds;
    enum status st = tree_resume(&f->t, &rounds, &payload, err);
    if (!st && rounds && (ensemble_load(f->e, payload) || f->e->trees_count != rounds))
        st = error_set(err, STATUS_INVALID, "the checkpoint is damaged");
    if (!st && rounds) {
        judge(f, &f->train, 0);
        judge(f, &f->validation, 0);
    }
    return st;
}

static void start(struct forest *f)
{
    const struct lesson *l = f->t.lesson;
    const struct table *t = l->table;
    size_t cells = l->train * f->t.outputs;
    ensemble_init(f->e, t->features, f->t.outputs, t->outputs ? ENSEMBLE_VALUES : ENSEMBLE_SUM);
    if (t->outputs)
        tree_standardise(l, f->e);
    else
        fit_base(l, f->e);
    watch(f, &f->train, l->rows, l->train);
    watch(f, &f->validation, l->rows + l->train, l->validation);
    f->gradients = mem_alloc(cells * sizeof *f->gradients);
    f->hessians = mem_alloc(cells * sizeof *f->hessians);
    f->drawn = mem_alloc(l->train * sizeof *f->drawn);
}

static void finish(struct forest *f)
{
    xgb_matrix_destroy(f->matrix);
    free(f->train.targets);
    free(f->train.sums);
    free(f->validation.targets);
    free(f->validation.sums);
    free(f->gradients);
    free(f->hessians);
    free(f->drawn);
}

static void destroy(void *model)
{
    if (model)
        ensemble_finish(model);
    free(model);
}

static enum status fit(const struct learner *learner, const void *params,
                       const struct lesson *lesson, void **model, struct error *err)
{
    const struct forest_params *p = params;
    struct forest f = { .params = p };
    enum status st = tree_lesson_init(&f.t, learner, params, lesson, table_width(lesson->table),
                                      p->trees, p->bins, err);
    if (st)
        return st;
    f.e = mem_zalloc(sizeof *f.e);
    start(&f);
    st = make_matrix(&f, err);
    if (!st)
        st = resume(&f, err);
    if (!st)
        st = grow_all(&f, err);
    finish(&f);
    if (st)
        destroy(f.e);
    else
        *model = f.e;
    return st;
}

static enum status fit_tree(const void *params, const struct lesson *lesson, void **model,
                            struct error *err)
{
    return fit(&learner_tree, params, lesson, model, err);
}

static enum status fit_forest(const void *params, const struct lesson *lesson, void **model,
                              struct error *err)
{
    return fit(&learner_forest, params, lesson, model, err);
}

static void predict(const void *model, const float *x, size_t count, float *out)
{
    ensemble_predict(model, x, count, out);
}

static void export(const void *model, struct onnx_graph *graph, const char *input,
                   const char *output)
{
    ensemble_export(model, graph, input, output);
}

const struct learner learner_tree = {
    .name = "tree",
    .tasks = LEARNS_CLASSES | LEARNS_VALUES,
    .params = tree_rows,
    .params_count = sizeof tree_rows / sizeof *tree_rows,
    .params_size = sizeof(struct forest_params),
    .epochs = epochs,
    .defaults = tree_defaults,
    .fit = fit_tree,
    .predict = predict,
    .export = export,
    .destroy = destroy,
};

const struct learner learner_forest = {
    .name = "forest",
    .tasks = LEARNS_CLASSES | LEARNS_VALUES,
    .params = forest_rows,
    .params_count = sizeof forest_rows / sizeof *forest_rows,
    .params_size = sizeof(struct forest_params),
    .epochs = epochs,
    .defaults = forest_defaults,
    .fit = fit_forest,
    .predict = predict,
    .export = export,
    .destroy = destroy,
};
