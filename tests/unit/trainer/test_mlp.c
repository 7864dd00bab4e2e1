/* test_mlp.c - the network learns what it should: gradients against finite differences, small
 * problems with known answers, and the rules of the training loop. */
#include "services/trainer/learners/mlp.h"
#include "tests/unit/trainer/fixture.h"

#include <math.h>

static struct table t;
static struct mlp m;
static struct mlp_params p;
static struct error err;
static uint32_t *rows;

static void init(void)
{
    mlp_default(&p, false);
    p.seed = 1;
}

static void finish(void)
{
    table_finish(&t);
    mlp_finish(&m);
    free(rows);
    rows = NULL;
}

TestSuite(mlp, .init = init, .fini = finish);

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

static const struct learner_events events = { go_on, on_epoch };

static void set_hidden(size_t count, uint32_t units)
{
    p.hidden_count = count;
    for (size_t i = 0; i < count; i++)
        p.hidden[i] = units;
}

/* The rows of t in order; the last `validation` are for that. */
static enum status train(size_t validation)
{
    rows = mem_resize(rows, t.rows * sizeof *rows);
    for (size_t i = 0; i < t.rows; i++)
        rows[i] = (uint32_t)i;
    memset(&told, 0, offsetof(__typeof__(told), stop_at));
    mlp_finish(&m);
    mlp_init(&m, t.features, t.classes_count, &p);
    mlp_standardise(&m, &t, rows, t.rows - validation, true);
    return mlp_train(&m, &t, rows, t.rows - validation, validation, &p, &events, NULL, &err);
}

static double accuracy(void)
{
    float *out = mem_alloc(t.rows * t.classes_count * sizeof *out);
    size_t right = 0;
    mlp_predict(&m, t.x, t.rows, out);
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

/* ---- gradients -------------------------------------------------------------------------- */

#define STEP      2e-3 /* of a weight; float32 leaves about 1e-4 of noise in the slope */
#define TOLERANCE 5e-3

static double loss_with(float *weight, double value)
{
    float keep = *weight;
    *weight = (float)value;
    double loss = mlp_loss(&m, &t, rows, t.rows, NULL);
    *weight = keep;
    return loss;
}

/* Compares with the slope between two losses.  Where the slopes to both sides differ, a ReLU
 * has its kink in between: those are left out, but they must be few. */
static void check_vector(float *theta, const float *gradient, size_t count, const char *what)
{
    double here = mlp_loss(&m, &t, rows, t.rows, NULL);
    size_t checked = 0, kinks = 0;
    for (size_t i = 0; i < count; i++) {
        double up = (loss_with(&theta[i], theta[i] + STEP) - here) / STEP;
        double down = (here - loss_with(&theta[i], theta[i] - STEP)) / STEP;
        double slope = (up + down) / 2;
        if (fabs(up - down) > TOLERANCE + 0.02 * fabs(slope)) {
            kinks++;
            continue;
        }
        checked++;
        cr_expect_float_eq(gradient[i], slope, TOLERANCE + 0.02 * fabs(slope),
                           "%s[%zu]: %g, but by differences %g", what, i, (double)gradient[i],
                           slope);
    }
    cr_assert_gt(checked, 3 * kinks, "%zu kinks in %zu %s", kinks, count, what);
}

static void check_gradients(size_t hidden)
{
    float *gradients[2 * MAX_LAYERS] = { 0 };
    fixture_clouds(&t, 12, 5, 3, 0.5);
    set_hidden(hidden, 7);
    rows = mem_alloc(t.rows * sizeof *rows);
    for (size_t i = 0; i < t.rows; i++)
        rows[i] = (uint32_t)i;
    mlp_init(&m, t.features, t.classes_count, &p);
    mlp_standardise(&m, &t, rows, t.rows, true);
    for (size_t l = 0; l < m.layers_count; l++) {
        gradients[2 * l] = mem_alloc(m.layers[l].in * m.layers[l].out * sizeof(float));
        gradients[2 * l + 1] = mem_alloc(m.layers[l].out * sizeof(float));
    }
    mlp_loss(&m, &t, rows, t.rows, gradients);
    for (size_t l = 0; l < m.layers_count; l++) {
        check_vector(m.layers[l].w, gradients[2 * l], m.layers[l].in * m.layers[l].out, "weights");
        check_vector(m.layers[l].b, gradients[2 * l + 1], m.layers[l].out, "biases");
        free(gradients[2 * l]);
        free(gradients[2 * l + 1]);
    }
}

Test(mlp, gradients_of_softmax_regression)
{
    check_gradients(0);
}

Test(mlp, gradients_of_one_hidden_layer)
{
    check_gradients(1);
}

Test(mlp, gradients_of_three_hidden_layers)
{
    check_gradients(3);
}

Test(mlp, untrained_loss_is_about_the_logarithm_of_the_classes)
{
    fixture_clouds(&t, 30, 4, 3, 1);
    set_hidden(0, 0);
    mlp_init(&m, t.features, t.classes_count, &p);
    memset(m.layers[0].w, 0, 12 * sizeof(float));
    rows = mem_zalloc(sizeof *rows);
    cr_assert_float_eq(mlp_loss(&m, &t, rows, 1, NULL), log(3), 1e-6);
}

/* ---- learning --------------------------------------------------------------------------- */

Test(mlp, learns_xor)
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

Test(mlp, without_hidden_layers_xor_is_beyond_it)
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

Test(mlp, learns_clouds_with_the_defaults)
{
    fixture_clouds(&t, 150, 4, 3, 0.3);
    cr_assert_eq(train(15), STATUS_OK, "%s", err.text);
    cr_assert_geq(accuracy(), 0.97);
}

Test(mlp, softmax_regression_separates_clouds)
{
    fixture_clouds(&t, 300, 4, 3, 0.3);
    set_hidden(0, 0);
    cr_assert_eq(train(30), STATUS_OK, "%s", err.text);
    cr_assert_geq(accuracy(), 0.97);
}

/* Columns in very different units: a micrometre beside a kilometre. */
Test(mlp, standardisation_brings_units_together)
{
    static const float unit[] = { 1e-3f, 1, 1e4f, 1e6f };
    fixture_clouds(&t, 300, 4, 3, 0.3);
    for (size_t i = 0; i < t.rows * 4; i++)
        t.x[i] = t.x[i] * unit[i % 4] + 3 * unit[i % 4];
    cr_assert_eq(train(30), STATUS_OK, "%s", err.text);
    cr_assert_geq(accuracy(), 0.97);
}

Test(mlp, a_constant_feature_does_no_harm)
{
    fixture_clouds(&t, 300, 4, 3, 0.3);
    for (size_t i = 0; i < t.rows; i++)
        t.x[4 * i + 2] = 1234.5f;
    cr_assert_eq(train(30), STATUS_OK, "%s", err.text);
    cr_assert_geq(accuracy(), 0.97);
    for (size_t k = 0; k < 4; k++)
        cr_assert(isfinite(m.scale[k]) && isfinite(m.mean[k]));
}

Test(mlp, one_scale_for_all_pixels)
{
    fixture_clouds(&t, 50, 4, 2, 1);
    rows = mem_zalloc(t.rows * sizeof *rows);
    for (size_t i = 0; i < t.rows; i++)
        rows[i] = (uint32_t)i;
    mlp_init(&m, t.features, t.classes_count, &p);
    mlp_standardise(&m, &t, rows, t.rows, false);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < t.rows * 4; i++)
        sum += t.x[i];
    for (size_t i = 0; i < t.rows * 4; i++)
        squares += pow(t.x[i] - sum / 200, 2);
    for (size_t k = 0; k < 4; k++) {
        cr_assert_float_eq(m.mean[k], sum / 200, 1e-5);
        cr_assert_float_eq(m.scale[k], 1 / sqrt(squares / 200), 1e-5);
    }
}

Test(mlp, only_training_rows_make_the_scale)
{
    fixture_clouds(&t, 40, 2, 2, 1);
    for (size_t i = 30 * 2; i < 40 * 2; i++)
        t.x[i] = 1e6f;
    p.epochs = 1;
    cr_assert_eq(train(10), STATUS_OK, "%s", err.text);
    cr_assert_lt(fabsf(m.mean[0]), 2);
}

Test(mlp, the_loss_falls)
{
    fixture_clouds(&t, 300, 4, 3, 0.5);
    p.epochs = 10;
    p.patience = 0;
    cr_assert_eq(train(30), STATUS_OK, "%s", err.text);
    cr_assert_eq(told.count, 10);
    cr_assert_lt(told.epochs[9].train_loss, 0.5 * told.epochs[0].train_loss);
    cr_assert_lt(told.epochs[9].validation_loss, told.epochs[0].validation_loss);
}

Test(mlp, weight_decay_keeps_weights_small)
{
    double squares[2] = { 0 };
    fixture_clouds(&t, 150, 4, 3, 0.3);
    p.patience = 0;
    for (int decay = 0; decay < 2; decay++) {
        p.weight_decay = decay ? 0.05 : 0;
        cr_assert_eq(train(15), STATUS_OK, "%s", err.text);
        for (size_t i = 0; i < m.layers[0].in * m.layers[0].out; i++)
            squares[decay] += pow(m.layers[0].w[i], 2);
    }
    cr_assert_lt(squares[1], 0.5 * squares[0]);
}

/* ---- the training loop ------------------------------------------------------------------ */

static float *predictions(void)
{
    float *out = mem_alloc(t.rows * t.classes_count * sizeof *out);
    mlp_predict(&m, t.x, t.rows, out);
    return out;
}

Test(mlp, the_same_seed_gives_the_same_model)
{
    size_t bytes = 200 * 3 * sizeof(float);
    float *runs[3];
    fixture_clouds(&t, 200, 6, 3, 1);
    p.epochs = 5;
    for (int i = 0; i < 3; i++) {
        p.seed = i < 2 ? 42 : 43;
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

Test(mlp, stops_early_and_keeps_the_best)
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
    double kept = mlp_loss(&m, &t, rows + 140, 60, NULL);
    cr_assert_float_eq(kept, told.epochs[best].validation_loss, 1e-5);
}

Test(mlp, without_patience_all_epochs_run_and_the_best_is_kept)
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
    cr_assert_float_eq(mlp_loss(&m, &t, rows + 140, 60, NULL), least, 1e-5);
}

Test(mlp, works_without_validation_rows)
{
    fixture_clouds(&t, 100, 4, 2, 0.3);
    cr_assert_eq(train(0), STATUS_OK, "%s", err.text);
    cr_assert_geq(accuracy(), 0.97);
}

Test(mlp, a_batch_may_be_larger_than_the_table)
{
    fixture_clouds(&t, 50, 4, 2, 0.3);
    p.batch = 5000;
    p.epochs = 200;
    cr_assert_eq(train(10), STATUS_OK, "%s", err.text);
    cr_assert_geq(accuracy(), 0.95);
}

Test(mlp, the_last_batch_may_be_short)
{
    fixture_clouds(&t, 97, 4, 2, 0.3);
    p.batch = 32;
    p.epochs = 3;
    cr_assert_eq(train(10), STATUS_OK, "%s", err.text);
    cr_assert_eq(told.calls, 3 * 3);
    cr_assert_float_eq(told.fraction, 1, 1e-9);
}

/* The whole table is one batch of 100 rows, of which at most 64 are computed at once: the step
 * is that of the whole batch. */
Test(mlp, a_large_batch_is_computed_in_blocks)
{
    fixture_clouds(&t, 100, 4, 2, 0.3);
    set_hidden(2, 2040);
    p.batch = 100;
    p.epochs = p.patience = 1;
    p.momentum = p.weight_decay = 0;
    cr_assert_eq(train(0), STATUS_OK, "%s", err.text);
    cr_assert_gt(told.calls, 1);
    struct mlp trained = m;
    float *gradients[6];
    mlp_init(&m, 4, 2, &p);
    mlp_standardise(&m, &t, rows, t.rows, true);
    for (size_t l = 0; l < 3; l++) {
        gradients[2 * l] = mem_alloc(m.layers[l].in * m.layers[l].out * sizeof(float));
        gradients[2 * l + 1] = mem_alloc(m.layers[l].out * sizeof(float));
    }
    mlp_loss(&m, &t, rows, t.rows, gradients);
    for (size_t l = 0; l < 3; l++)
        for (size_t i = 0; i < m.layers[l].out; i++) {
            float w = m.layers[l].w[i] - (float)p.lr * gradients[2 * l][i];
            float b = m.layers[l].b[i] - (float)p.lr * gradients[2 * l + 1][i];
            cr_assert_float_eq(trained.layers[l].w[i], w, 1e-5);
            cr_assert_float_eq(trained.layers[l].b[i], b, 1e-5);
        }
    for (size_t i = 0; i < 6; i++)
        free(gradients[i]);
    mlp_finish(&trained);
}

Test(mlp, can_be_cancelled_after_any_batch)
{
    fixture_clouds(&t, 100, 4, 2, 0.3);
    told.stop_at = 7;
    cr_assert_eq(train(10), STATUS_CANCELLED);
    cr_assert_eq(told.calls, 7);
}

Test(mlp, one_training_row_is_enough_to_run)
{
    fixture_clouds(&t, 1, 4, 2, 0.3);
    p.epochs = 2;
    cr_assert_eq(train(0), STATUS_OK, "%s", err.text);
}

Test(mlp, divergence_is_an_error)
{
    fixture_clouds(&t, 300, 4, 3, 0.3);
    p.lr = 100;
    p.epochs = 50;
    cr_assert_eq(train(30), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "diverged"));
}

Test(mlp, small_units_are_standardised_too)
{
    fixture_clouds(&t, 300, 4, 3, 0.3);
    for (size_t i = 0; i < t.rows * 4; i++)
        t.x[i] *= 1e-7f;
    cr_assert_eq(train(30), STATUS_OK, "%s", err.text);
    cr_assert_geq(accuracy(), 0.97);
}

/* What was the same in every training row must not decide anything when it is served. */
Test(mlp, a_constant_feature_has_no_say)
{
    float before[3], after[3];
    fixture_clouds(&t, 300, 4, 3, 0.3);
    for (size_t i = 0; i < t.rows; i++)
        t.x[4 * i + 2] = 1234.5f;
    cr_assert_eq(train(30), STATUS_OK, "%s", err.text);
    mlp_predict(&m, t.x, 1, before);
    t.x[2] = -5;
    mlp_predict(&m, t.x, 1, after);
    cr_assert_arr_eq(before, after, sizeof before);
}

Test(mlp, sizes_have_bounds)
{
    set_hidden(MAX_HIDDEN, MAX_HIDDEN_UNITS);
    cr_assert_eq(mlp_check_size(784, 10, &p, &err), STATUS_TOO_LARGE);
    cr_assert_not_null(strstr(err.text, "weights"));
    set_hidden(1, MAX_HIDDEN_UNITS);
    p.batch = MAX_BATCH;
    cr_assert_eq(mlp_check_size(64, 10, &p, &err), STATUS_TOO_LARGE);
    cr_assert_not_null(strstr(err.text, "batch"));
    mlp_default(&p, true);
    cr_assert_eq(mlp_check_size(784, 10, &p, &err), STATUS_OK);
}
