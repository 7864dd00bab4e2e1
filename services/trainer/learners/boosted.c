/* boosted.c - the learner "boosted": gradient boosting, each tree for what those before it left.
 *
 * Squared error for values, logistic loss for two classes, softmax for more, where each round has
 * a tree per class.  The validation rows say when to stop; the trees up to the best round are kept.
 */
#include "services/trainer/learners/trees.h"

#include <math.h>
#include <stdlib.h>

#define METRICS 4 /* loss and error of the training rows, then of the validation's */

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
    struct tree_lesson t;
    const struct boosted_params *params;
    struct ensemble *e;
    struct xgb_matrix *matrices[2]; /* training, validation */
    size_t matrices_count;
    struct xgb_booster *booster;
    uint32_t round; /* that comes next */
    struct best {
        double loss;
        uint32_t rounds; /* after which it was */
        uint32_t zero;
    } best;
    double variance; /* of the validation's values */
};

static enum status add_labels(struct boosted *b, struct xgb_matrix *m, const uint32_t *of,
                              size_t count, struct error *err)
{
    const struct lesson *l = b->t.lesson;
    if (l->table->outputs) {
        float *values = tree_values(l, b->e, of, count);
        enum status st = xgb_matrix_labels(m, values, count, l->table->outputs, err);
        free(values);
        return st;
    }
    float *numbers = mem_alloc(count * sizeof *numbers);
    for (size_t i = 0; i < count; i++)
        numbers[i] = (float)l->table->y[of[i]];
    enum status st = xgb_matrix_labels(m, numbers, count, 1, err);
    for (size_t i = 0; i < count; i++)
        numbers[i] = (float)tree_weight(l, of[i]);
    if (!st && l->class_weights)
        st = xgb_matrix_weights(m, numbers, count, err);
    free(numbers);
    return st;
}

static enum status make_matrix(struct boosted *b, const uint32_t *of, size_t count,
                               struct error *err)
{
    const struct xgb_rows from = { .lesson = b->t.lesson,
                                   .rows = of,
                                   .count = count,
                                   .bins = b->t.bins,
                                   .threads = b->t.threads,
                                   .like = b->matrices[0] };
    struct xgb_matrix **m = &b->matrices[b->matrices_count];
    enum status st = xgb_matrix_create(&from, m, err);
    if (st)
        return st;
    b->matrices_count++;
    return add_labels(b, *m, of, count, err);
}

static enum status make_matrices(struct boosted *b, struct error *err)
{
    const struct lesson *l = b->t.lesson;
    enum status st = make_matrix(b, l->rows, l->train, err);
    return st || !l->validation ? st : make_matrix(b, l->rows + l->train, l->validation, err);
}

/* The objective, and two metrics of it: a loss, and how many rows are wrong. */
static void say_objective(const struct boosted *b, struct xgb_settings *s)
{
    if (b->e->end == ENSEMBLE_VALUES) {
        xgb_say(s, "objective", "reg:squarederror");
        xgb_say(s, "base_score", "0");
        xgb_say(s, "eval_metric", "rmse");
        xgb_say(s, "eval_metric", "mae"); /* so that there are two */
    } else if (b->e->end == ENSEMBLE_SIGMOID) {
        xgb_say(s, "objective", "binary:logistic");
        xgb_say(s, "base_score", "0.5");
        xgb_say(s, "eval_metric", "logloss");
        xgb_say(s, "eval_metric", "error");
    } else {
        xgb_say(s, "objective", "multi:softprob");
        xgb_say(s, "num_class", "%zu", b->e->sums);
        xgb_say(s, "base_score", "0.5"); /* the same for all classes: of no effect */
        xgb_say(s, "eval_metric", "mlogloss");
        xgb_say(s, "eval_metric", "merror");
    }
}

static enum status make_booster(struct boosted *b, struct bytes state, struct error *err)
{
    const struct boosted_params *p = b->params;
    struct xgb_settings s = { 0 };
    tree_settings(&b->t, 1, b->t.lesson->seed * 0x9e3779b97f4a7c15u, &s);
    say_objective(b, &s);
    xgb_say(&s, "eta", "%.9g", p->lr);
    xgb_say(&s, "max_depth", "%u", p->max_depth);
    xgb_say(&s, "min_child_weight", "%.9g", p->min_weight);
    xgb_say(&s, "gamma", "%.9g", p->min_gain);
    xgb_say(&s, "subsample", "%.9g", p->rows);
    xgb_say(&s, "colsample_bytree", "%.9g", p->columns);
    xgb_say(&s, "alpha", "%.9g", p->l1);
    xgb_say(&s, "lambda", "%.9g", p->l2);
    return xgb_booster_create(&s, b->matrices, b->matrices_count, state, &b->booster, err);
}

/* The validation's values are standardised by the training rows' mean and deviation. */
static void fit_variance(struct boosted *b)
{
    const struct lesson *l = b->t.lesson;
    size_t count = l->validation * l->table->outputs;
    float *values = tree_values(l, b->e, l->rows + l->train, l->validation);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    if (count)
        b->variance = squares / (double)count - sum / (double)count * (sum / (double)count);
    free(values);
}

/* Says how the round went, and remembers the best.  INVALID: a loss is no number. */
static enum status judge(struct boosted *b, struct error *err)
{
    double m[METRICS] = { 0 };
    size_t want = METRICS / 2 * b->matrices_count;
    enum status st = xgb_evaluate(b->booster, (int)b->round, b->matrices, b->matrices_count, m,
                                  want, err);
    if (st)
        return st;
    if (b->e->end == ENSEMBLE_VALUES) {
        m[0] *= m[0];
        m[2] *= m[2];
        m[3] = b->variance > 0 ? m[2] / b->variance : 1;
    }
    double watched = b->matrices_count > 1 ? m[2] : m[0];
    if (!isfinite(m[0]) || !isfinite(m[2]))
        return error_set(err, STATUS_INVALID, "the loss is no number after round %u",
                         b->round + 1);
    b->round++;
    if (b->round == 1 || watched < b->best.loss)
        b->best = (struct best){ .loss = watched, .rounds = b->round };
    tree_epoch(b->t.lesson, b->round, m[0], m[2], b->matrices_count > 1 ? 1 - m[3] : 0);
    return STATUS_OK;
}

static enum status keep(struct boosted *b, struct tree_checkpoints *c, struct error *err)
{
    struct bytes state;
    struct buf payload = { 0 };
    if (!tree_checkpoint_due(c, &b->t))
        return STATUS_OK;
    enum status st = xgb_state(b->booster, &state, err);
    if (st)
        return st;
    buf_append(&payload, &b->best, sizeof b->best);
    buf_append_bytes(&payload, state);
    tree_checkpoint(c, &b->t, b->round, &payload);
    buf_finish(&payload);
    return STATUS_OK;
}

/* Stopping early needs rows that are not learnt from. */
static bool enough(const struct boosted *b)
{
    bool early = b->params->patience && b->matrices_count > 1;
    return b->round == b->params->rounds ||
           (early && b->round && b->round - b->best.rounds >= b->params->patience);
}

static enum status grow_all(struct boosted *b, struct error *err)
{
    const struct lesson *l = b->t.lesson;
    struct tree_checkpoints checkpoints = { 0 };
    enum status st = STATUS_OK;
    while (!enough(b) && !st) {
        if (!l->events->go_on(l->arg, (double)b->round / b->params->rounds))
            return error_set(err, STATUS_CANCELLED, "cancelled");
        st = xgb_update(b->booster, (int)b->round, b->matrices[0], err);
        if (!st)
            st = judge(b, err);
        if (!st)
            st = keep(b, &checkpoints, err);
    }
    return st;
}

static enum status take_trees(struct boosted *b, struct error *err)
{
    struct bytes json;
    uint32_t best = b->matrices_count > 1 ? b->best.rounds : b->round;
    enum status st = xgb_json(b->booster, &json, err);
    return st ? st : ensemble_add_json(b->e, json, best * b->e->sums, 1, err);
}

static enum status resume(struct boosted *b, struct error *err)
{
    struct bytes payload;
    enum status st = tree_resume(&b->t, &b->round, &payload, err);
    if (st || !b->round)
        return st ? st : make_booster(b, bytes_of(NULL, 0), err);
    if (payload.len < sizeof b->best)
        return error_set(err, STATUS_INVALID, "the checkpoint is damaged");
    memcpy(&b->best, payload.data, sizeof b->best);
    return make_booster(b,
                        bytes_of((const char *)payload.data + sizeof b->best,
                                 payload.len - sizeof b->best),
                        err);
}

/* ---- the interface ------------------------------------------------------------------------------ */

static void start(struct boosted *b)
{
    const struct table *t = b->t.lesson->table;
    if (t->outputs) {
        ensemble_init(b->e, t->features, t->outputs, ENSEMBLE_VALUES);
        tree_standardise(b->t.lesson, b->e);
        fit_variance(b);
    } else {
        bool two = t->classes_count == 2;
        ensemble_init(b->e, t->features, two ? 1 : t->classes_count,
                      two ? ENSEMBLE_SIGMOID : ENSEMBLE_SOFTMAX);
    }
}

static void destroy(void *model)
{
    if (model)
        ensemble_finish(model);
    free(model);
}

static enum status fit(const void *params, const struct lesson *lesson, void **model,
                       struct error *err)
{
    struct boosted b = { .params = params };
    size_t width = table_width(lesson->table);
    size_t trees = b.params->rounds * (lesson->table->outputs || width > 2 ? width : 1);
    if (trees > TREES_MAX)
        return error_set(err, STATUS_TOO_LARGE,
                         "%u rounds of %zu outputs are %zu trees; a model has %u at most",
                         b.params->rounds, width, trees, TREES_MAX);
    enum status st = tree_lesson_init(&b.t, &learner_boosted, params, lesson, width,
                                      (uint32_t)trees, b.params->bins, err);
    if (st)
        return st;
    b.e = mem_zalloc(sizeof *b.e);
    start(&b);
    st = make_matrices(&b, err);
    if (!st)
        st = resume(&b, err);
    if (!st)
        st = grow_all(&b, err);
    if (!st)
        st = take_trees(&b, err);
    xgb_booster_destroy(b.booster);
    for (size_t i = 0; i < b.matrices_count; i++)
        xgb_matrix_destroy(b.matrices[i]);
    if (st)
        destroy(b.e);
    else
        *model = b.e;
    return st;
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

const struct learner learner_boosted = {
    .name = "boosted",
    .tasks = LEARNS_CLASSES | LEARNS_VALUES,
    .params = rows,
    .params_count = sizeof rows / sizeof *rows,
    .params_size = sizeof(struct boosted_params),
    .epochs = epochs,
    .defaults = defaults,
    .fit = fit,
    .predict = predict,
    .export = export,
    .destroy = destroy,
};
