/* test_descent.c - networks learn what they should: small problems with known answers, and the
 * rules of the training loop. */
#include "services/trainer/learners/descent.h"
#include "tests/unit/trainer/fixture.h"

#include <criterion/parameterized.h>
#include <math.h>

static struct table t;
static struct descent_model *m;
static struct descent_params p;
static uint64_t seed;
static uint32_t threads;
static struct error err;
static uint32_t *rows;

static void init(void)
{
    learner_mlp.defaults(&p, &(struct table){ 0 });
    seed = 1;
    threads = 1;
}

static void finish(void)
{
    table_finish(&t);
    descent_destroy(m);
    m = NULL;
    free(rows);
    rows = NULL;
}

TestSuite(descent, .init = init, .fini = finish);

/* What the training told. */
static struct {
    struct epoch epochs[2000];
    size_t count;
    size_t calls;
    double fraction;
    size_t stop_at; /* call that says no; 0: none */
} told;

static bool go_on(void *arg, double fraction)
{
    (void)arg;
    cr_assert(fraction >= told.fraction && fraction <= 1 + 1e-9, "%g after %g", fraction,
              told.fraction);
    told.fraction = fraction;
    return ++told.calls != told.stop_at;
}

static void on_epoch(void *arg, const struct epoch *e)
{
    (void)arg;
    told.epochs[told.count++] = *e;
    cr_assert_eq(e->number, told.count);
}

static const struct learner_events events = { .go_on = go_on, .epoch = on_epoch };

static void set_hidden(size_t count, uint32_t units)
{
    p.hidden_count = count;
    for (size_t i = 0; i < count; i++)
        p.hidden[i] = units;
}

/* The rows of t in order; the last `validation` are for that. */
static enum status train(size_t validation)
{
    void *model = NULL;
    rows = mem_resize(rows, t.rows * sizeof *rows);
    for (size_t i = 0; i < t.rows; i++)
        rows[i] = (uint32_t)i;
    memset(&told, 0, offsetof(__typeof__(told), stop_at));
    const struct lesson lesson = { .table = &t,
                                   .rows = rows,
                                   .train = t.rows - validation,
                                   .validation = validation,
                                   .threads = threads,
                                   .seed = seed,
                                   .events = &events };
    descent_destroy(m);
    enum status st = learner_mlp.fit(&p, &lesson, &model, &err);
    m = model;
    return st;
}

static double accuracy(void)
{
    float *out = mem_alloc(t.rows * t.classes_count * sizeof *out);
    size_t right = 0;
    descent_predict(m, t.x, t.rows, out);
    for (size_t i = 0; i < t.rows; i++) {
        const float *row = out + i * t.classes_count;
        size_t best = 0;
        double sum = row[0];
        for (size_t c = 1; c < t.classes_count; c++) {
            best = row[c] > row[best] ? c : best;
            sum += row[c];
        }
        cr_assert_float_eq(sum, 1, 1e-5);
        right += best == t.y[i];
    }
    free(out);
    return (double)right / (double)t.rows;
}

/* ---- learning --------------------------------------------------------------------------- */

Test(descent, learns_xor)
{
    static const float corners[] = { 0, 0, 0, 1, 1, 0, 1, 1 };
    static const uint32_t labels[] = { 0, 1, 1, 0 };
    fixture_table(&t, 400, 2, 2);
    for (size_t i = 0; i < t.rows; i++) {
        memcpy(t.x + 2 * i, corners + 2 * (i % 4), 2 * sizeof *t.x);
        t.y[i] = labels[i % 4];
    }
    set_hidden(1, 8);
    cr_assert_eq(train(80), STATUS_OK, "%s", err.text);
    cr_assert_eq(accuracy(), 1.0);
}

Test(descent, without_hidden_layers_xor_is_beyond_it)
{
    static const float corners[] = { 0, 0, 0, 1, 1, 0, 1, 1 };
    static const uint32_t labels[] = { 0, 1, 1, 0 };
    fixture_table(&t, 400, 2, 2);
    for (size_t i = 0; i < t.rows; i++) {
        memcpy(t.x + 2 * i, corners + 2 * (i % 4), 2 * sizeof *t.x);
        t.y[i] = labels[i % 4];
    }
    set_hidden(0, 0);
    cr_assert_eq(train(80), STATUS_OK, "%s", err.text);
    cr_assert_leq(accuracy(), 0.75);
}

Test(descent, learns_clouds_with_the_defaults)
{
    fixture_clouds(&t, 150, 4, 3, 0.3);
    cr_assert_eq(train(15), STATUS_OK, "%s", err.text);
    cr_assert_geq(accuracy(), 0.97);
}

Test(descent, softmax_regression_separates_clouds)
{
    fixture_clouds(&t, 300, 4, 3, 0.3);
    set_hidden(0, 0);
    cr_assert_eq(train(30), STATUS_OK, "%s", err.text);
    cr_assert_geq(accuracy(), 0.97);
}

/* Columns in very different units: a micrometre beside a kilometre. */
Test(descent, standardisation_brings_units_together)
{
    static const float unit[] = { 1e-3f, 1, 1e4f, 1e6f };
    fixture_clouds(&t, 300, 4, 3, 0.3);
    for (size_t i = 0; i < t.rows * 4; i++)
        t.x[i] = t.x[i] * unit[i % 4] + 3 * unit[i % 4];
    cr_assert_eq(train(30), STATUS_OK, "%s", err.text);
    cr_assert_geq(accuracy(), 0.97);
}

Test(descent, a_constant_feature_does_no_harm)
{
    fixture_clouds(&t, 300, 4, 3, 0.3);
    for (size_t i = 0; i < t.rows; i++)
        t.x[4 * i + 2] = 1234.5f;
    cr_assert_eq(train(30), STATUS_OK, "%s", err.text);
    cr_assert_geq(accuracy(), 0.97);
    for (size_t k = 0; k < 4; k++)
        cr_assert(isfinite(m->net.scale[k]) && isfinite(m->net.mean[k]));
}

Test(descent, one_scale_for_all_pixels)
{
    fixture_clouds(&t, 50, 4, 2, 1);
    t.image = (struct image_shape){ 1, 2, 2 };
    p.epochs = 1;
    cr_assert_eq(train(0), STATUS_OK, "%s", err.text);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < t.rows * 4; i++)
        sum += t.x[i];
    for (size_t i = 0; i < t.rows * 4; i++)
        squares += pow(t.x[i] - sum / 200, 2);
    for (size_t k = 0; k < 4; k++) {
        cr_assert_float_eq(m->net.mean[k], sum / 200, 1e-5);
        cr_assert_float_eq(m->net.scale[k], 1 / sqrt(squares / 200), 1e-5);
    }
}

Test(descent, only_training_rows_make_the_scale)
{
    fixture_clouds(&t, 40, 2, 2, 1);
    for (size_t i = 30 * 2; i < 40 * 2; i++)
        t.x[i] = 1e6f;
    p.epochs = 1;
    cr_assert_eq(train(10), STATUS_OK, "%s", err.text);
    cr_assert_lt(fabsf(m->net.mean[0]), 2);
}

Test(descent, the_loss_falls)
{
    fixture_clouds(&t, 300, 4, 3, 0.5);
    p.epochs = 10;
    p.patience = 0;
    cr_assert_eq(train(30), STATUS_OK, "%s", err.text);
    cr_assert_eq(told.count, 10);
    cr_assert_lt(told.epochs[9].train_loss, 0.5 * told.epochs[0].train_loss);
    cr_assert_lt(told.epochs[9].validation_loss, told.epochs[0].validation_loss);
}

Test(descent, weight_decay_keeps_weights_small)
{
    double squares[2] = { 0 };
    fixture_clouds(&t, 150, 4, 3, 0.3);
    p.patience = 0;
    for (int decay = 0; decay < 2; decay++) {
        p.weight_decay = decay ? 0.05 : 0;
        cr_assert_eq(train(15), STATUS_OK, "%s", err.text);
        for (size_t i = 0; i < m->net.layers[0].in * m->net.layers[0].out; i++)
            squares[decay] += pow(m->net.layers[0].w[i], 2);
    }
    cr_assert_lt(squares[1], 0.5 * squares[0]);
}

/* ---- the training loop ------------------------------------------------------------------ */

static float *predictions(void)
{
    float *out = mem_alloc(t.rows * t.classes_count * sizeof *out);
    descent_predict(m, t.x, t.rows, out);
    return out;
}

Test(descent, the_same_seed_gives_the_same_model)
{
    size_t bytes = 200 * 3 * sizeof(float);
    float *runs[3];
    fixture_clouds(&t, 200, 6, 3, 1);
    p.epochs = 5;
    for (int i = 0; i < 3; i++) {
        seed = i < 2 ? 42 : 43;
        cr_assert_eq(train(20), STATUS_OK, "%s", err.text);
        runs[i] = predictions();
    }
    cr_assert_arr_eq(runs[0], runs[1], bytes);
    cr_assert_arr_neq(runs[0], runs[2], bytes);
    for (int i = 0; i < 3; i++)
        free(runs[i]);
}

/* Labels that the features say nothing about: all that can be learnt is by heart, and the
 * validation loss soon rises. */
static void make_noise(void)
{
    struct random r = { .state = 9 };
    fixture_clouds(&t, 200, 8, 2, 1);
    for (size_t i = 0; i < t.rows; i++)
        t.y[i] = (uint32_t)(random_u64(&r) >> 63);
}

Test(descent, stops_early_and_keeps_the_best)
{
    make_noise();
    p.epochs = 500;
    p.patience = 6;
    p.weight_decay = 0;
    cr_assert_eq(train(60), STATUS_OK, "%s", err.text);
    cr_assert_lt(told.count, 500);
    size_t best = 0;
    for (size_t i = 1; i < told.count; i++)
        best = told.epochs[i].validation_loss < told.epochs[best].validation_loss ? i : best;
    cr_assert_eq(told.count, best + 1 + p.patience);
    double kept = descent_loss(&m->net, &p, &t, rows + 140, 60, NULL);
    cr_assert_float_eq(kept, told.epochs[best].validation_loss, 1e-5);
}

Test(descent, without_patience_all_epochs_run_and_the_best_is_kept)
{
    make_noise();
    p.epochs = 40;
    p.patience = 0;
    p.weight_decay = 0;
    cr_assert_eq(train(60), STATUS_OK, "%s", err.text);
    cr_assert_eq(told.count, 40);
    double least = INFINITY;
    for (size_t i = 0; i < told.count; i++)
        least = fmin(least, told.epochs[i].validation_loss);
    cr_assert_float_eq(descent_loss(&m->net, &p, &t, rows + 140, 60, NULL), least, 1e-5);
}

Test(descent, works_without_validation_rows)
{
    fixture_clouds(&t, 100, 4, 2, 0.3);
    cr_assert_eq(train(0), STATUS_OK, "%s", err.text);
    cr_assert_geq(accuracy(), 0.97);
}

Test(descent, a_batch_may_be_larger_than_the_table)
{
    fixture_clouds(&t, 50, 4, 2, 0.3);
    p.batch = 5000;
    p.epochs = 200;
    cr_assert_eq(train(10), STATUS_OK, "%s", err.text);
    cr_assert_geq(accuracy(), 0.95);
}

Test(descent, the_last_batch_may_be_short)
{
    fixture_clouds(&t, 97, 4, 2, 0.3);
    p.batch = 32;
    p.epochs = 3;
    cr_assert_eq(train(10), STATUS_OK, "%s", err.text);
    cr_assert_geq(told.calls, 3);
    cr_assert_float_eq(told.fraction, 1, 1e-9);
}

/* The whole table is one batch of 100 rows, of which at most 64 are computed at once: the step
 * is that of the whole batch. */
Test(descent, a_large_batch_is_computed_in_blocks)
{
    const uint32_t hidden[] = { 2040, 2040 };
    const struct network_shape shape = { 4, 2, hidden, 2, ACTIVATION_RELU, LOSS_SOFTMAX };
    struct network n;
    fixture_clouds(&t, 100, 4, 2, 0.3);
    set_hidden(2, 2040);
    p.batch = 100;
    p.epochs = p.patience = 1;
    p.momentum = p.weight_decay = 0;
    for (threads = 1; threads <= 2; threads++) {
        cr_assert_eq(train(0), STATUS_OK, "%s", err.text);
        cr_assert_gt(told.calls, 1);
        network_init(&n, &shape, false);
        network_randomise(&n, seed);
        cr_assert(network_standardise(
            &n, &(struct lesson){ .table = &t, .rows = rows, .train = t.rows }));
        float *gradient = mem_alloc(n.count * sizeof *gradient);
        descent_loss(&n, &p, &t, rows, t.rows, gradient);
        for (size_t i = 0; i < n.count; i++) {
            float theta = n.theta[i] - (float)p.lr * gradient[i];
            cr_assert_float_eq(m->net.theta[i], theta, 1e-5);
        }
        free(gradient);
        network_finish(&n);
    }
}

Test(descent, can_be_cancelled_at_any_question)
{
    fixture_clouds(&t, 100, 4, 2, 0.3);
    for (size_t at = 1; at <= 9; at++) { /* the first ones come before the first epoch */
        told.calls = 0;
        told.stop_at = at;
        cr_assert_eq(train(10), STATUS_CANCELLED);
        cr_assert_eq(told.calls, at);
    }
}

Test(descent, one_training_row_is_enough_to_run)
{
    fixture_clouds(&t, 1, 4, 2, 0.3);
    p.epochs = 2;
    cr_assert_eq(train(0), STATUS_OK, "%s", err.text);
}

Test(descent, divergence_is_an_error)
{
    fixture_clouds(&t, 300, 4, 3, 0.3);
    p.lr = 100;
    p.epochs = 50;
    cr_assert_eq(train(30), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "diverged"));
}

Test(descent, small_units_are_standardised_too)
{
    fixture_clouds(&t, 300, 4, 3, 0.3);
    for (size_t i = 0; i < t.rows * 4; i++)
        t.x[i] *= 1e-7f;
    cr_assert_eq(train(30), STATUS_OK, "%s", err.text);
    cr_assert_geq(accuracy(), 0.97);
}

/* What was the same in every training row must not decide anything when it is served. */
Test(descent, a_constant_feature_has_no_say)
{
    float before[3], after[3];
    fixture_clouds(&t, 300, 4, 3, 0.3);
    for (size_t i = 0; i < t.rows; i++)
        t.x[4 * i + 2] = 1234.5f;
    cr_assert_eq(train(30), STATUS_OK, "%s", err.text);
    descent_predict(m, t.x, 1, before);
    t.x[2] = -5;
    descent_predict(m, t.x, 1, after);
    cr_assert_arr_eq(before, after, sizeof before);
}

static enum status check_size(size_t features)
{
    const struct network_shape shape = { features,        10,          p.hidden, p.hidden_count,
                                         ACTIVATION_RELU, LOSS_SOFTMAX };
    return network_check(&shape, p.batch, &err);
}

Test(descent, sizes_have_bounds)
{
    set_hidden(MAX_HIDDEN, MAX_HIDDEN_UNITS);
    cr_assert_eq(check_size(784), STATUS_TOO_LARGE);
    cr_assert_not_null(strstr(err.text, "weights"));
    set_hidden(1, MAX_HIDDEN_UNITS);
    p.batch = MAX_BATCH;
    cr_assert_eq(check_size(64), STATUS_TOO_LARGE);
    cr_assert_not_null(strstr(err.text, "batch"));
    learner_mlp.defaults(&p, &(struct table){ .image = { 1, 28, 28 } });
    cr_assert_eq(check_size(784), STATUS_OK);
}

/* ---- optimisers, schedules, regularisation ------------------------------------------------ */

ParameterizedTestParameters(descent, every_optimizer_and_activation_learns)
{
    static uint32_t pairs[15];
    for (uint32_t i = 0; i < 15; i++)
        pairs[i] = i;
    return cr_make_param_array(uint32_t, pairs, 15);
}

ParameterizedTest(uint32_t *pair, descent, every_optimizer_and_activation_learns)
{
    fixture_clouds(&t, 300, 4, 3, 0.3);
    p.optimizer = *pair % 5;
    p.activation = *pair / 5;
    p.schedule = SCHEDULE_COSINE;
    p.warmup = 2;
    p.epochs = 20;
    p.dropout = 0.1;
    p.clip_norm = 5;
    if (p.optimizer >= OPTIMIZER_ADAM)
        p.lr = 0.003;
    cr_assert_eq(train(30), STATUS_OK, "%s", err.text);
    cr_assert_geq(accuracy(), 0.97);
}

Test(descent, l1_makes_useless_weights_small)
{
    double useless[2] = { 0 };
    struct random r = { .state = 3 };
    fixture_clouds(&t, 300, 4, 2, 0.3);
    for (size_t i = 0; i < t.rows; i++)
        t.x[4 * i + 3] = (float)random_normal(&r);
    set_hidden(0, 0);
    p.patience = 0;
    p.schedule = SCHEDULE_COSINE;
    for (int i = 0; i < 2; i++) {
        p.l1 = i ? 0.01 : 0;
        cr_assert_eq(train(0), STATUS_OK, "%s", err.text);
        useless[i] = fabs((double)m->net.layers[0].w[6]) + fabs((double)m->net.layers[0].w[7]);
    }
    cr_assert_lt(useless[1], 0.5 * useless[0], "%g, with L1 %g", useless[0], useless[1]);
}

/* Nine of ten rows are of one class, and the clouds overlap. */
Test(descent, balanced_classes_count_alike)
{
    size_t rare[2] = { 0 };
    fixture_clouds(&t, 400, 2, 2, 1.5);
    for (size_t i = 0; i < t.rows; i++)
        if (i % 20 > 1 && t.y[i]) {
            t.y[i] = 0;
            t.x[2 * i] -= 1;
            t.x[2 * i + 1] += 1;
        }
    set_hidden(0, 0);
    for (int i = 0; i < 2; i++) {
        float out[2];
        p.balanced = i;
        cr_assert_eq(train(0), STATUS_OK, "%s", err.text);
        for (size_t k = 0; k < t.rows; k++) {
            descent_predict(m, t.x + 2 * k, 1, out);
            rare[i] += out[1] > out[0];
        }
    }
    cr_assert_gt(rare[1], 3 * rare[0] + 20);
}

/* ---- the same model ------------------------------------------------------------------------ */

static struct {
    struct buf state;
    uint32_t epoch; /* after which it was kept */
} kept;

static void on_checkpoint(void *arg, struct bytes state)
{
    (void)arg;
    kept.state.len = 0;
    buf_append_bytes(&kept.state, state);
    kept.epoch = (uint32_t)told.count;
}

/* With what makes the state large: dropout, Adam, early stopping, a schedule. */
static enum status fit_resumed(struct bytes resume, size_t stop_at, struct descent_model **out)
{
    static const struct learner_events keeping = { go_on, on_epoch, on_checkpoint };
    void *model = NULL;
    rows = mem_resize(rows, t.rows * sizeof *rows);
    for (size_t i = 0; i < t.rows; i++)
        rows[i] = (uint32_t)(t.rows - 1 - i);
    memset(&told, 0, sizeof told);
    told.stop_at = stop_at;
    const struct lesson lesson = { .table = &t,
                                   .rows = rows,
                                   .train = t.rows - 1000,
                                   .validation = 1000,
                                   .threads = threads,
                                   .seed = seed,
                                   .resume = resume,
                                   .events = &keeping };
    if (resume.len)
        told.count = kept.epoch;
    enum status st = learner_mlp.fit(&p, &lesson, &model, &err);
    *out = model;
    return st;
}

static void prepare_large(void)
{
    fixture_clouds(&t, 6000, 12, 3, 2);
    set_hidden(2, 72);
    p.batch = 128; /* enough work for a team */
    p.dropout = 0.2;
    p.optimizer = OPTIMIZER_ADAM;
    p.lr = 0.002;
    p.schedule = SCHEDULE_COSINE;
    p.clip_norm = 1;
    p.epochs = 12;
}

static void assert_same(const struct descent_model *a, const struct descent_model *b)
{
    cr_assert_eq(a->net.count, b->net.count);
    cr_assert_arr_eq(a->net.theta, b->net.theta, a->net.count * sizeof(float));
}

Test(descent, goes_on_from_a_checkpoint_to_the_same_model)
{
    struct descent_model *whole, *none, *resumed;
    prepare_large();
    for (threads = 1; threads <= 2; threads++) {
        cr_assert_eq(fit_resumed(bytes_of(NULL, 0), 0, &whole), STATUS_OK, "%s", err.text);
        size_t calls = told.calls;
        cr_assert_eq(fit_resumed(bytes_of(NULL, 0), calls / 2 + 1, &none), STATUS_CANCELLED);
        cr_assert_null(none);
        cr_assert(kept.epoch > 0 && kept.epoch < p.epochs, "%u", kept.epoch);
        struct buf state = kept.state;
        kept.state = (struct buf){ 0 };
        cr_assert_eq(fit_resumed(buf_bytes(&state), 0, &resumed), STATUS_OK, "%s", err.text);
        cr_assert_lt(told.calls, calls);
        assert_same(whole, resumed);
        buf_finish(&state);
        descent_destroy(whole);
        descent_destroy(resumed);
    }
    buf_finish(&kept.state);
}

Test(descent, is_the_same_with_the_same_threads)
{
    struct descent_model *once, *again;
    prepare_large();
    p.epochs = 3;
    for (threads = 1; threads <= 3; threads++) {
        cr_assert_eq(fit_resumed(bytes_of(NULL, 0), 0, &once), STATUS_OK, "%s", err.text);
        cr_assert_eq(fit_resumed(bytes_of(NULL, 0), 0, &again), STATUS_OK, "%s", err.text);
        assert_same(once, again);
        descent_destroy(once);
        descent_destroy(again);
    }
    buf_finish(&kept.state);
}

Test(descent, refuses_a_checkpoint_that_is_not_its_own)
{
    struct descent_model *model;
    prepare_large();
    cr_assert_eq(fit_resumed(bytes_of(NULL, 0), 0, &model), STATUS_OK, "%s", err.text);
    descent_destroy(model);
    struct buf state = kept.state;
    kept.state = (struct buf){ 0 };
    state.data[state.len / 2] ^= 1;
    cr_assert_eq(fit_resumed(buf_bytes(&state), 0, &model), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "damaged"));
    state.data[state.len / 2] ^= 1;
    cr_assert_eq(fit_resumed(bytes_of(state.data, 20), 0, &model), STATUS_INVALID);
    cr_assert_eq(fit_resumed(bytes_of(state.data, state.len - 1), 0, &model), STATUS_INVALID);
    p.lr *= 2;
    cr_assert_eq(fit_resumed(buf_bytes(&state), 0, &model), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "another"));
    p.lr /= 2;
    t.x[12 * 3000] += 1;
    cr_assert_eq(fit_resumed(buf_bytes(&state), 0, &model), STATUS_INVALID);
    buf_finish(&state);
    buf_finish(&kept.state);
}
