/* forest.c - the learners "tree" and "forest".
 *
 * A tree is grown for all outputs together on the squared error, of classes: of one number per
 * class, 1 for the row's own.  That is the Gini impurity, and a leaf's mean is the share of each
 * class.  As each tree is one Newton step from the same base, a forest's trees are grown one by one,
 * so that it can be cancelled, watched and resumed between any two of them.  Each tree has random
 * numbers of its own, and rows that are drawn with replacement.
 */
#include "services/trainer/learners/team.h"
#include "services/trainer/learners/trees.h"
#include "services/trainer/random.h"

#include <math.h>
#include <stdlib.h>

/* Of a node's histograms.  A tree with larger ones has fewer features, but so many for each one that
 * a split chooses from. */
#define FEW_BYTES  (1 << 20)
#define FEW_SPLITS 4

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
        { "min_rows", PARAM_REAL, FIELD(min_rows), 0, 1e9, 0, NULL },         \
        { "min_gain", PARAM_REAL, FIELD(min_gain), 0, 1e9, 0, NULL },         \
        { "l2", PARAM_REAL, FIELD(l2), 0, 1e9, 0, NULL },                     \
    {                                                                         \
        "bins", PARAM_U32, FIELD(bins), 2, TREE_BINS_MAX, 0, NULL             \
    }

static const struct param tree_rows[] = { TREE_ROWS };
static const struct param forest_rows[] = {
    { "trees", PARAM_U32, FIELD(trees), 1, TREES_MAX, 0, NULL },
    { "columns", PARAM_REAL, FIELD(columns), 1e-6, 1, 0, NULL },
    { "rows", PARAM_REAL, FIELD(rows), 1e-6, 1, 0, NULL },
    TREE_ROWS,
};

static void tree_defaults(void *params, const struct table *t)
{
    *(struct forest_params *)params =
        (struct forest_params){ .trees = 1,
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

/* Grows one tree at a time, on a thread of its own. */
struct grower {
    struct ground on;
    uint16_t *drawn;             /* how often the tree sees a row */
    uint32_t *rows;              /* that it sees, */
    uint32_t *features;          /* and its features, where it has a matrix of its own */
    struct xgb_booster *booster; /* the tree; NULL: none was wanted, or it failed */
    enum status st;
    struct error err;
};

struct forest {
    struct growth g;
    const struct forest_params *params;
    struct grower *growers; /* g.t.at_once */
    struct team *team;
};

/* The share of each class, by weight: what is known of a row before any question is asked.  Where
 * nothing pulls leaves to it, the splits are the same without it, and a leaf's number for a class
 * that none of its rows has is zero: such numbers are not in the file. */
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

static void judge_classes(const struct forest *f, struct tree_watched *w, float factor)
{
    const struct ensemble *e = f->g.e;
    size_t right = 0;
    double loss = 0;
    for (size_t i = 0; i < w->count; i++) {
        size_t best = 0, y = f->g.t.lesson->table->y[w->rows[i]];
        float top = -INFINITY;
        for (size_t k = 0; k < e->sums; k++) {
            float p = e->base[k] + w->sums[i * e->sums + k] * factor;
            best = p > top ? k : best;
            top = p > top ? p : top;
            if (k == y)
                loss -= log(tree_probability(p));
        }
        right += best == y;
    }
    if (!w->count)
        return;
    w->loss = loss / (double)w->count;
    w->accuracy = (double)right / (double)w->count;
}

/* Of the trees that there are so far. */
static void judge(const struct forest *f, struct tree_watched *w)
{
    float factor = (float)f->params->trees / (float)f->g.rounds;
    if (f->g.t.lesson->table->outputs)
        growth_judge_values(&f->g, w, factor);
    else
        judge_classes(f, w, factor);
}

/* How often a tree sees each row; the whole of them where there is one tree. */
static void draw(const struct forest *f, struct grower *w, struct random *random)
{
    size_t count = f->g.train.count, draws = (size_t)ceil((double)count * f->params->rows);
    for (size_t i = 0; i < count; i++)
        w->drawn[i] = f->params->trees == 1;
    for (size_t i = 0; count && i < draws && f->params->trees > 1; i++)
        w->drawn[random_u64(random) % count]++;
}

/* Of the rows of the tree's matrix: if it is its own, of those that it sees. */
static void fill_gradients(const struct forest *f, struct grower *w)
{
    const struct growth *g = &f->g;
    size_t sums = g->e->sums;
    w->on.count = 0;
    for (size_t i = 0; i < g->train.count; i++) {
        if (!g->matrix && !w->drawn[i])
            continue;
        size_t at = w->on.count * sums;
        float weight = (float)(w->drawn[i] * tree_weight(g->t.lesson, g->train.rows[i]));
        for (size_t k = 0; k < sums; k++) {
            w->on.gradients[at + k] = weight * (g->e->base[k] - g->train.targets[i * sums + k]);
            w->on.hessians[at + k] = weight;
        }
        w->rows[w->on.count++] = g->train.rows[i];
    }
}

/* Some of the features, each as likely as any other, in rising order. */
static void choose_features(const struct forest *f, struct grower *w, struct random *random)
{
    size_t all = f->g.t.lesson->table->features, left = f->g.t.features;
    uint32_t *to = w->features;
    for (size_t k = 0; k < all; k++)
        if (random_uniform(random) * (double)(all - k) < (double)left) {
            *to++ = (uint32_t)k;
            left--;
        }
    w->on.features = w->features;
}

static enum status make_matrix(const struct forest *f, struct grower *w, bool ask)
{
    const struct growth *g = &f->g;
    const struct xgb_rows from = { .lesson = g->t.lesson,
                                   .ask = ask,
                                   .fraction = g->fraction,
                                   .rows = w->rows,
                                   .count = w->on.count,
                                   .features = w->features,
                                   .features_count = g->t.features,
                                   .bins = g->t.bins,
                                   .threads = g->t.threads };
    enum status st = xgb_matrix_create(&from, &w->on.matrix, &w->err);
    return st ? st
              : xgb_matrix_labels(w->on.matrix, g->gradients, w->on.count, g->t.together, &w->err);
}

/* What each thread does: the trees of a round are the next ones, one for each of them. */
static void grow_tree(void *arg, const struct member *me)
{
    const struct forest *f = arg;
    const struct forest_params *p = f->params;
    struct grower *w = &f->growers[me->index];
    uint32_t number = f->g.rounds + (uint32_t)me->index;
    struct random from = { .state = f->g.t.lesson->seed + number };
    struct random random = { .state = random_u64(&from) };
    struct xgb_settings s = { 0 };
    w->st = STATUS_OK;
    if (number >= p->trees)
        return;
    tree_settings(&f->g.t, random_u64(&random), &s);
    xgb_say(&s, "max_depth", "%u", f->g.t.max_depth);
    xgb_say(&s, "min_child_weight", "%.9g", p->min_rows);
    xgb_say(&s, "gamma", "%.9g", p->min_gain);
    xgb_say(&s, "lambda", "%.9g", p->l2);
    double columns = p->columns * (double)f->g.t.lesson->table->features / (double)f->g.t.features;
    xgb_say(&s, "colsample_bynode", "%.9g", columns);
    draw(f, w, &random);
    fill_gradients(f, w);
    if (!f->g.matrix) {
        choose_features(f, w, &random);
        w->st = make_matrix(f, w, me->index == 0);
    }
    if (!w->st)
        w->st = growth_grow(&f->g, &s, &w->on, &w->booster, &w->err);
}

static enum status take_tree(struct forest *f, struct grower *w, struct error *err)
{
    size_t trees = f->g.e->trees_count;
    enum status st = growth_take(&f->g, w->booster, &w->on, 0, 1 / (float)f->params->trees, err);
    if (!st)
        st = growth_end_round(&f->g, trees, err);
    if (st)
        return st;
    f->g.fraction = (double)f->g.rounds / f->params->trees;
    judge(f, &f->g.train);
    judge(f, &f->g.validation);
    if (!isfinite(f->g.train.loss))
        return error_set(err, STATUS_INVALID, "the loss is no number after tree %u", f->g.rounds);
    growth_tell(&f->g, NULL, 0);
    return STATUS_OK;
}

/* As many trees as there are growers, in the order of their numbers. */
static enum status grow_some(struct forest *f, struct error *err)
{
    enum status st = growth_go_on(&f->g, err);
    if (st)
        return st;
    team_run(f->team);
    for (uint32_t i = 0; i < f->g.t.at_once; i++) {
        struct grower *w = &f->growers[i];
        if (!st && w->st)
            *err = w->err;
        st = st ? st : w->st;
        if (!st && w->booster)
            st = take_tree(f, w, err);
        xgb_booster_destroy(w->booster);
        w->booster = NULL;
        if (!f->g.matrix)
            xgb_matrix_destroy(w->on.matrix);
        w->on.matrix = f->g.matrix;
    }
    return st;
}

static enum status grow_all(struct forest *f, struct error *err)
{
    size_t rows = f->g.train.count, cells = rows * f->g.e->sums;
    enum status st = STATUS_OK;
    f->growers = mem_zalloc(f->g.t.at_once * sizeof *f->growers);
    for (uint32_t i = 0; i < f->g.t.at_once; i++)
        f->growers[i] = (struct grower){
            .on = { .matrix = f->g.matrix,
                    .gradients = mem_alloc(cells * sizeof(float)),
                    .hessians = mem_alloc(cells * sizeof(float)) },
            .drawn = mem_alloc(rows * sizeof(uint16_t)),
            .rows = mem_alloc(rows * sizeof(uint32_t)),
            .features = mem_alloc(f->g.t.features * sizeof(uint32_t)),
        };
    f->team = team_create(f->g.t.at_once, grow_tree, f);
    while (f->g.rounds < f->params->trees && !st)
        st = grow_some(f, err);
    team_destroy(f->team);
    for (uint32_t i = 0; i < f->g.t.at_once; i++) {
        free(f->growers[i].on.gradients);
        free(f->growers[i].on.hessians);
        free(f->growers[i].drawn);
        free(f->growers[i].rows);
        free(f->growers[i].features);
    }
    free(f->growers);
    return st;
}

/* ---- the interface ------------------------------------------------------------------------------ */

/* How many features a tree sees.  XGBoost counts all of them for each node, though a split chooses
 * from a few: where a node's histograms are large, a tree has only so many that they are small, but
 * several times as many as a split chooses from. */
static size_t features_of(const struct forest_params *p, const struct table *t)
{
    double all = (double)t->features, split = p->columns * all;
    double bytes = (double)p->bins * (double)table_width(t) * TREE_BIN_BYTES;
    double most = fmax(ceil(FEW_SPLITS * split), floor(FEW_BYTES / bytes));
    return p->trees > 1 && most < all ? (size_t)most : t->features;
}

static struct tree_lesson lesson_of(const struct forest_params *p, const struct lesson *lesson)
{
    size_t width = table_width(lesson->table);
    return (struct tree_lesson){ .lesson = lesson,
                                 .outputs = width,
                                 .together = width,
                                 .bins = p->bins,
                                 .trees = p->trees,
                                 .max_depth = p->max_depth ? p->max_depth : TREE_DEPTH_MAX,
                                 .features = features_of(p, lesson->table),
                                 .independent = p->trees > 1 };
}

static uint64_t memory(const void *params, const struct table *t, size_t rows, uint32_t threads)
{
    const struct lesson lesson = { .table = t, .train = rows, .threads = threads };
    const struct tree_lesson trees = lesson_of(params, &lesson);
    return tree_lesson_memory(&trees);
}

static enum status fit(const struct learner *learner, const void *params,
                       const struct lesson *lesson, void **model, struct error *err)
{
    const struct table *t = lesson->table;
    struct forest f = { .params = params };
    size_t width = table_width(t);
    f.g.t = lesson_of(params, lesson);
    enum status st = tree_lesson_init(&f.g.t, learner, params, lesson, err);
    if (st)
        return st;
    f.g.e = mem_zalloc(sizeof *f.g.e);
    ensemble_init(f.g.e, t->features, width, t->outputs ? ENSEMBLE_VALUES : ENSEMBLE_SUM);
    if (!t->outputs && f.params->l2 > 0)
        fit_base(lesson, f.g.e);
    st = growth_start(&f.g, err);
    if (!st)
        st = growth_resume(&f.g, NULL, 0, err);
    if (!st)
        st = grow_all(&f, err);
    growth_finish(&f.g);
    if (st)
        trees_destroy(f.g.e);
    else
        *model = f.g.e;
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

const struct learner learner_tree = {
    .name = "tree",
    .tasks = LEARNS_CLASSES | LEARNS_VALUES,
    .params = tree_rows,
    .params_count = sizeof tree_rows / sizeof *tree_rows,
    .params_size = sizeof(struct forest_params),
    .epochs = epochs,
    .memory = memory,
    .defaults = tree_defaults,
    .fit = fit_tree,
    .predict = trees_predict,
    .export = trees_export,
    .destroy = trees_destroy,
};

const struct learner learner_forest = {
    .name = "forest",
    .tasks = LEARNS_CLASSES | LEARNS_VALUES,
    .params = forest_rows,
    .params_count = sizeof forest_rows / sizeof *forest_rows,
    .params_size = sizeof(struct forest_params),
    .epochs = epochs,
    .memory = memory,
    .defaults = forest_defaults,
    .fit = fit_forest,
    .predict = trees_predict,
    .export = trees_export,
    .destroy = trees_destroy,
};
