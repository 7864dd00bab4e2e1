/* test_lbfgs.c - linear models at the minimum of their loss. */
#include "services/trainer/learners/descent.h"
#include "tests/unit/trainer/fixture.h"

#include <criterion/parameterized.h>
#include <math.h>

#define ROWS     6000 /* enough for checkpoints */
#define FEATURES 5
#define KNOWNS   (FEATURES + 1)

static struct table t;
static struct error err;
static uint32_t rows[ROWS], threads;
static struct buf state; /* the last checkpoint */
static uint32_t heard, stop_after;
static double before; /* the loss of the epoch before */

static void init(void)
{
    for (uint32_t i = 0; i < ROWS; i++)
        rows[i] = i;
    stop_after = UINT32_MAX;
    threads = 1;
}

static void finish(void)
{
    table_finish(&t);
    buf_finish(&state);
}

TestSuite(lbfgs, .init = init, .fini = finish);

static bool go_on(void *arg, double fraction)
{
    (void)arg;
    (void)fraction;
    return heard < stop_after;
}

static void on_epoch(void *arg, const struct epoch *e)
{
    (void)arg;
    heard = e->number;
    before = e->train_loss;
}

static void on_checkpoint(void *arg, struct bytes now)
{
    (void)arg;
    state.len = 0;
    buf_append_bytes(&state, now);
}

static enum status fit(const struct learner *l, const char *json, struct bytes resume,
                       struct descent_model **out)
{
    static const struct learner_events events = { go_on, on_epoch, on_checkpoint };
    struct descent_params p;
    struct param_set set = { l->params, l->params_count, &p };
    const struct lesson lesson = { .table = &t,
                                   .rows = rows,
                                   .train = t.rows,
                                   .threads = threads,
                                   .seed = 1,
                                   .resume = resume,
                                   .events = &events };
    void *model = NULL;
    l->defaults(&p, &t);
    enum status st = params_parse(bytes_str(json), &set, 1, &err);
    heard = 0;
    st = st ? st : l->fit(&p, &lesson, &model, &err);
    *out = model;
    return st;
}

static struct descent_model *must_fit(const struct learner *l, const char *json)
{
    struct descent_model *m;
    cr_assert_eq(fit(l, json, bytes_of(NULL, 0), &m), STATUS_OK, "%s", err.text);
    return m;
}

/* Columns of different size, one of them nearly the sum of two others. */
static void make_values(void)
{
    struct random r = { .state = 3 };
    fixture_table(&t, ROWS, FEATURES, 0);
    t.outputs = 1;
    t.values = mem_alloc(ROWS * sizeof *t.values);
    for (size_t i = 0; i < ROWS; i++) {
        float *x = t.x + i * FEATURES;
        for (size_t k = 0; k < FEATURES; k++)
            x[k] = (float)((1 + 10.0 * (double)k) * random_normal(&r) + 3);
        x[2] = x[0] + x[1] + 0.1f * (float)random_normal(&r);
        t.values[i] = 2 * x[0] - x[1] + 4 * x[2] + x[3] + 30 * (float)random_normal(&r) + 100;
    }
}

/* The least sum of squares that any weights have: the normal equations, in double. */
static double least_squares(void)
{
    double a[KNOWNS][KNOWNS + 1] = { 0 }, w[KNOWNS], sum = 0;
    for (size_t i = 0; i < ROWS; i++) {
        double x[KNOWNS + 1] = { 1 };
        for (size_t k = 0; k < FEATURES; k++)
            x[k + 1] = (double)t.x[i * FEATURES + k];
        x[KNOWNS] = (double)t.values[i];
        for (size_t j = 0; j < KNOWNS; j++)
            for (size_t k = 0; k <= KNOWNS; k++)
                a[j][k] += x[j] * x[k];
    }
    for (size_t j = 0; j < KNOWNS; j++)
        for (size_t i = 0; i < KNOWNS; i++) {
            double f = i == j ? 0 : a[i][j] / a[j][j];
            for (size_t k = 0; k <= KNOWNS; k++)
                a[i][k] -= f * a[j][k];
        }
    for (size_t j = 0; j < KNOWNS; j++)
        w[j] = a[j][KNOWNS] / a[j][j];
    for (size_t i = 0; i < ROWS; i++) {
        double d = w[0] - (double)t.values[i];
        for (size_t k = 0; k < FEATURES; k++)
            d += w[k + 1] * (double)t.x[i * FEATURES + k];
        sum += d * d;
    }
    return sum;
}

static double squares_of(const struct descent_model *m)
{
    double sum = 0;
    for (size_t i = 0; i < ROWS; i++) {
        float y;
        descent_predict(m, t.x + i * FEATURES, 1, &y);
        sum += ((double)y - (double)t.values[i]) * ((double)y - (double)t.values[i]);
    }
    return sum;
}

Test(lbfgs, is_least_squares)
{
    make_values();
    for (threads = 1; threads <= 2; threads++) {
        struct descent_model *m =
            must_fit(&learner_linear, "{\"optimizer\": \"lbfgs\", \"weight_decay\": 0}");
        double least = least_squares(), ours = squares_of(m);
        cr_expect(ours >= least * (1 - 1e-6) && ours <= least * (1 + 1e-5), "%g, least %g", ours,
                  least);
        cr_expect_lt(heard, 60, "%u epochs", heard);
        descent_destroy(m);
    }
}

/* ---- every loss is flat where it ends -------------------------------------------------------------- */

struct way {
    const struct learner *learner;
    const char *params;
    uint32_t loss;
    size_t classes; /* 0: values */
};

static const struct way ways[] = {
    { &learner_logistic, "{\"optimizer\": \"lbfgs\"}", LOSS_SOFTMAX, 3 },
    { &learner_logistic, "{\"optimizer\": \"lbfgs\", \"weight_decay\": 0.1}", LOSS_BINARY, 2 },
    { &learner_linear, "{\"optimizer\": \"lbfgs\", \"weight_decay\": 0.3}", LOSS_SQUARED, 0 },
    { &learner_linear, "{\"optimizer\": \"lbfgs\", \"loss\": \"huber\", \"huber\": 0.3}",
      LOSS_HUBER, 0 },
};
#define WAYS (sizeof ways / sizeof *ways)

ParameterizedTestParameters(lbfgs, ends_where_the_loss_is_flat)
{
    static size_t numbers[WAYS];
    for (size_t i = 0; i < WAYS; i++)
        numbers[i] = i;
    return cr_make_param_array(size_t, numbers, WAYS);
}

ParameterizedTest(size_t *number, lbfgs, ends_where_the_loss_is_flat)
{
    const struct way *way = &ways[*number];
    struct descent_params p;
    float *gradient;
    if (way->classes)
        fixture_clouds(&t, ROWS, FEATURES, way->classes, 2);
    else
        make_values();
    struct descent_model *m = must_fit(way->learner, way->params);
    struct param_set set = { way->learner->params, way->learner->params_count, &p };
    way->learner->defaults(&p, &t);
    cr_assert_eq(params_parse(bytes_str(way->params), &set, 1, &err), STATUS_OK);
    cr_assert_eq(m->net.loss, way->loss);
    gradient = network_floats(m->net.count);
    descent_loss(&m->net, &p, &t, rows, t.rows, gradient);
    const struct layer *l = &m->net.layers[0];
    for (size_t i = 0; i < l->in * l->stride; i++)
        gradient[l->w - m->net.theta + (ptrdiff_t)i] += (float)p.weight_decay * l->w[i];
    for (size_t i = 0; i < m->net.count; i++)
        cr_expect_lt(fabsf(gradient[i]), 1e-3f, "%zu: %g", i, (double)gradient[i]);
    free(gradient);
    descent_destroy(m);
}

/* ---- as every learner ------------------------------------------------------------------------------ */

Test(lbfgs, goes_on_from_a_checkpoint_to_the_same_model)
{
    fixture_clouds(&t, ROWS, FEATURES, 3, 2);
    struct descent_model *whole = must_fit(&learner_logistic, "{\"optimizer\": \"lbfgs\"}"), *m;
    cr_assert_gt(heard, 8, "%u: choose data that take longer", heard);
    stop_after = heard / 2;
    cr_assert_eq(fit(&learner_logistic, "{\"optimizer\": \"lbfgs\"}", bytes_of(NULL, 0), &m),
                 STATUS_CANCELLED);
    struct buf from = state;
    state = (struct buf){ 0 };
    stop_after = UINT32_MAX;
    cr_assert_gt(from.len, 0);
    cr_assert_eq(fit(&learner_logistic, "{\"optimizer\": \"lbfgs\"}", buf_bytes(&from), &m),
                 STATUS_OK, "%s", err.text);
    cr_expect_arr_eq(m->net.theta, whole->net.theta, m->net.count * sizeof(float));
    buf_finish(&from);
    descent_destroy(whole);
    descent_destroy(m);
}

Test(lbfgs, is_for_linear_models_without_l1)
{
    struct descent_model *m;
    fixture_clouds(&t, ROWS, FEATURES, 3, 2);
    cr_expect_eq(
        fit(&learner_logistic, "{\"optimizer\": \"lbfgs\", \"l1\": 0.1}", bytes_of(NULL, 0), &m),
        STATUS_INVALID);
    cr_expect_not_null(strstr(err.text, "l1"), "%s", err.text);
    cr_expect_eq(fit(&learner_mlp, "{\"optimizer\": \"lbfgs\"}", bytes_of(NULL, 0), &m),
                 STATUS_INVALID);
    cr_expect_not_null(strstr(err.text, "optimizer"), "%s", err.text);
}

/* One class is far away: weights grow without end, and no step may be taken for a better one. */
Test(lbfgs, ends_where_classes_are_apart)
{
    fixture_clouds(&t, ROWS, FEATURES, 2, 0.01);
    struct descent_model *m =
        must_fit(&learner_logistic, "{\"optimizer\": \"lbfgs\", \"weight_decay\": 0}");
    cr_expect_lt(before, 1e-4);
    for (size_t i = 0; i < m->net.count; i++)
        cr_expect(isfinite(m->net.theta[i]));
    descent_destroy(m);
}
