/* boosted.c - the learner "boosted": gradient boosting, each tree for what those before it left.
 *
 * Squared error for values, logistic loss for two classes, softmax for more, where each round has
 * a tree per class.  The validation rows say when to stop; the trees up to the best round are kept.
 */
#include "services/trainer/learners/trees.h"
#include "services/trainer/random.h"

#include <math.h>
#include <stdlib.h>

#define LEAST_HESSIAN 1e-16f

struct boosted_params {
    uint32_t rounds;
    double lr; /* what a tree adds is multiplied by it */
    uint32_t max_depth;
    double min_weight; /* of a leaf: the sum of its second derivatives; of values: rows */
    double min_gain;   /* of a split */
    double rows;       /* share of the rows that a round sees */
    double columns;    /* share of the features that a tree sees */
    double l1, l2;     /* of the leaves' weights */
    uint32_t bins;     /* values of a feature that can be told apart */
    uint32_t patience; /* rounds without a better validation loss; 0: never stop early */
};

#define FIELD(name) offsetof(struct boosted_params, name)

static const struct param rows[] = {
    { "rounds", PARAM_U32, FIELD(rounds), 1, TREES_MAX, 0, NULL },
    { "lr", PARAM_REAL, FIELD(lr), 1e-6, 1, 0, NULL },
    { "max_depth", PARAM_U32, FIELD(max_depth), 1, BOOSTED_DEPTH_MAX, 0, NULL },
    { "min_weight", PARAM_REAL, FIELD(min_weight), 0, 1e9, 0, NULL },
    { "min_gain", PARAM_REAL, FIELD(min_gain), 0, 1e9, 0, NULL },
    { "rows", PARAM_REAL, FIELD(rows), 1e-3, 1, 0, NULL },
    { "columns", PARAM_REAL, FIELD(columns), 1e-6, 1, 0, NULL },
    { "l1", PARAM_REAL, FIELD(l1), 0, 1e9, 0, NULL },
    { "l2", PARAM_REAL, FIELD(l2), 0, 1e9, 0, NULL },
    { "bins", PARAM_U32, FIELD(bins), 2, TREE_BINS_MAX, 0, NULL },
    { "patience", PARAM_U32, FIELD(patience), 0, TREES_MAX, 0, NULL },
};

static void defaults(void *params, const struct table *t)
{
    bool images = t->image.channels > 0;
    *(struct boosted_params *)params = (struct boosted_params){ .rounds = images ? 150 : 200,
                                                                .lr = images ? 0.3 : 0.1,
                                                                .max_depth = images ? 6 : 5,
                                                                .min_weight = 1,
                                                                .rows = 1,
                                                                .columns = images ? 0.5 : 1,
                                                                .l2 = 1,
                                                                .bins = images ? 32 : 256,
                                                                .patience = 20 };
}

static uint32_t epochs(const void *params)
{
    return ((const struct boosted_params *)params)->rounds;
}

/* ---- growing ------------------------------------------------------------------------------------ */

struct boosted {
    struct growth g;
    const struct boosted_params *params;
    struct best {
        double loss;
        uint32_t rounds; /* after which it was */
        uint32_t zero;
    } best;
};

/* The probabilities of a row's classes; one sum is that of the second of two. */
static void probabilities(const struct boosted *b, const float *sums, float *p)
{
    size_t n = b->g.e->sums;
    float top = n == 1 ? 0 : sums[0], all = 0;
    if (n == 1) {
        p[1] = 1 / (1 + expf(-sums[0]));
        p[0] = 1 - p[1];
        return;
    }
    for (size_t k = 1; k < n; k++)
        top = fmaxf(top, sums[k]);
    for (size_t k = 0; k < n; k++)
        all += p[k] = expf(sums[k] - top);
    for (size_t k = 0; k < n; k++)
        p[k] /= all;
}

static void judge_classes(const struct boosted *b, struct tree_watched *w, float *p)
{
    size_t n = b->g.e->sums, right = 0, classes = b->g.t.outputs;
    double loss = 0;
    for (size_t i = 0; i < w->count; i++) {
        size_t best = 0, y = b->g.t.lesson->table->y[w->rows[i]];
        probabilities(b, w->sums + i * n, p);
        for (size_t k = 1; k < classes; k++)
            best = p[k] > p[best] ? k : best;
        loss -= log(tree_probability(p[y]));
        right += best == y;
    }
    if (!w->count)
        return;
    w->loss = loss / (double)w->count;
    w->accuracy = (double)right / (double)w->count;
}

static void judge(struct boosted *b, struct tree_watched *w, float *p)
{
    if (b->g.t.lesson->table->outputs)
        growth_judge_values(&b->g, w, 1);
    else
        judge_classes(b, w, p);
}

/* First and second derivatives of the loss by the sums of row i.  Those of one sum are together: a
 * tree takes them. */
static void derive(struct boosted *b, size_t i, float weight, float *p)
{
    struct growth *g = &b->g;
    size_t n = g->e->sums, count = g->train.count;
    float *gradients = g->gradients + i, *hessians = g->hessians + i;
    if (g->e->end == ENSEMBLE_VALUES) {
        for (size_t k = 0; k < n; k++) {
            gradients[k * count] =
                weight * (g->train.sums[i * n + k] - g->train.targets[i * n + k]);
            hessians[k * count] = weight;
        }
        return;
    }
    size_t y = g->t.lesson->table->y[g->train.rows[i]];
    probabilities(b, g->train.sums + i * n, p);
    if (n == 1) {
        gradients[0] = weight * (p[1] - (float)y);
        hessians[0] = weight * fmaxf(p[1] * p[0], LEAST_HESSIAN);
        return;
    }
    for (size_t k = 0; k < n; k++) { /* as XGBoost has it */
        gradients[k * count] = weight * (p[k] - (k == y));
        hessians[k * count] = weight * fmaxf(2 * p[k] * (1 - p[k]), LEAST_HESSIAN);
    }
}

/* Rows that the round does not see weigh nothing. */
static void fill_gradients(struct boosted *b, struct random *random, float *p)
{
    for (size_t i = 0; i < b->g.train.count; i++) {
        bool seen = b->params->rows >= 1 || random_uniform(random) < b->params->rows;
        float weight = (float)tree_weight(b->g.t.lesson, b->g.train.rows[i]);
        derive(b, i, seen ? weight : 0, p);
    }
}

static void fill_settings(const struct boosted *b, uint64_t seed, struct xgb_settings *s)
{
    const struct boosted_params *params = b->params;
    tree_settings(&b->g.t, seed, s);
    xgb_say(s, "max_depth", "%u", params->max_depth);
    xgb_say(s, "min_child_weight", "%.9g", params->min_weight);
    xgb_say(s, "gamma", "%.9g", params->min_gain);
    xgb_say(s, "colsample_bytree", "%.9g", params->columns);
    xgb_say(s, "alpha", "%.9g", params->l1);
    xgb_say(s, "lambda", "%.9g", params->l2);
}

/* A tree for each sum, one by one: all of them together could not be interrupted. */
static enum status grow_round(struct boosted *b, float *p, struct error *err)
{
    struct growth *g = &b->g;
    struct random from = { .state = g->t.lesson->seed + g->rounds };
    struct random random = { .state = random_u64(&from) };
    size_t trees = g->e->trees_count;
    enum status st = STATUS_OK;
    fill_gradients(b, &random, p);
    for (size_t k = 0; k < g->e->sums && !st; k++) {
        struct xgb_settings s = { 0 };
        fill_settings(b, random_u64(&random), &s);
        st = growth_tree(g, &s, k, (float)b->params->lr, err);
    }
    return st ? st : growth_end_round(g, trees, err);
}

/* Stopping early needs rows that are not learnt from. */
static bool enough(const struct boosted *b)
{
    bool early = b->params->patience && b->g.validation.count;
    return b->g.rounds == b->params->rounds ||
           (early && b->g.rounds - b->best.rounds >= b->params->patience);
}

static enum status grow_all(struct boosted *b, float *p, struct error *err)
{
    const struct lesson *l = b->g.t.lesson;
    struct tree_watched *watched = l->validation ? &b->g.validation : &b->g.train;
    while (!enough(b)) {
        b->g.fraction = (double)b->g.rounds / b->params->rounds;
        enum status st = grow_round(b, p, err);
        if (st)
            return st;
        judge(b, &b->g.train, p);
        judge(b, &b->g.validation, p);
        if (!isfinite(b->g.train.loss) || !isfinite(watched->loss))
            return error_set(err, STATUS_INVALID, "the loss is no number after round %u",
                             b->g.rounds);
        if (b->g.rounds == 1 || watched->loss < b->best.loss)
            b->best = (struct best){ .loss = watched->loss, .rounds = b->g.rounds };
        growth_tell(&b->g, &b->best, sizeof b->best);
    }
    if (b->g.validation.count)
        ensemble_cut(b->g.e, b->best.rounds * b->g.e->sums);
    return STATUS_OK;
}

/* ---- the interface ------------------------------------------------------------------------------ */

static enum ensemble_end end_for(const struct table *t)
{
    return t->outputs              ? ENSEMBLE_VALUES
           : t->classes_count == 2 ? ENSEMBLE_SIGMOID
                                   : ENSEMBLE_SOFTMAX;
}

static size_t sums_of(const struct table *t)
{
    return end_for(t) == ENSEMBLE_SIGMOID ? 1 : table_width(t);
}

static struct tree_lesson lesson_of(const struct boosted_params *p, const struct lesson *lesson)
{
    return (struct tree_lesson){ .lesson = lesson,
                                 .outputs = table_width(lesson->table),
                                 .together = 1,
                                 .bins = p->bins,
                                 .trees = p->rounds * (uint32_t)sums_of(lesson->table),
                                 .max_depth = p->max_depth,
                                 .features = lesson->table->features };
}

static uint64_t memory(const void *params, const struct table *t, size_t count, uint32_t threads)
{
    const struct lesson lesson = { .table = t, .train = count, .threads = threads };
    const struct tree_lesson trees = lesson_of(params, &lesson);
    return tree_lesson_memory(&trees);
}

static enum status fit(const void *params, const struct lesson *lesson, void **model,
                       struct error *err)
{
    struct boosted b = { .params = params };
    size_t width = table_width(lesson->table);
    enum ensemble_end end = end_for(lesson->table);
    size_t sums = sums_of(lesson->table), trees = b.params->rounds * sums;
    if (trees > TREES_MAX)
        return error_set(err, STATUS_TOO_LARGE,
                         "%u rounds of %zu outputs are %zu trees; a model has %u at most",
                         b.params->rounds, sums, trees, TREES_MAX);
    b.g.t = lesson_of(params, lesson);
    enum status st = tree_lesson_init(&b.g.t, &learner_boosted, params, lesson, err);
    if (st)
        return st;
    float *p = mem_alloc((width + 1) * sizeof *p);
    b.g.e = mem_zalloc(sizeof *b.g.e);
    ensemble_init(b.g.e, lesson->table->features, sums, end);
    st = growth_start(&b.g, err);
    if (!st)
        st = growth_resume(&b.g, &b.best, sizeof b.best, err);
    if (!st)
        st = grow_all(&b, p, err);
    growth_finish(&b.g);
    free(p);
    if (st)
        trees_destroy(b.g.e);
    else
        *model = b.g.e;
    return st;
}

const struct learner learner_boosted = {
    .name = "boosted",
    .tasks = LEARNS_CLASSES | LEARNS_VALUES,
    .params = rows,
    .params_count = sizeof rows / sizeof *rows,
    .params_size = sizeof(struct boosted_params),
    .epochs = epochs,
    .memory = memory,
    .defaults = defaults,
    .fit = fit,
    .predict = trees_predict,
    .export = trees_export,
    .destroy = trees_destroy,
};
