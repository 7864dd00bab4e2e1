/* test_gradients.c - every loss with every activation: gradients against finite differences. */
#include "services/trainer/learners/descent.h"
#include "tests/unit/trainer/fixture.h"

#include <criterion/parameterized.h>
#include <math.h>

#define ROWS      12
#define STEP      2e-3 /* of a weight; float32 leaves about 1e-4 of noise in the slope */
#define TOLERANCE 5e-3

struct way {
    enum loss loss;
    enum activation activation;
    uint32_t hidden_count;
    double dropout;
};

static struct table t;
static struct network n;
static struct descent_params p;
static uint32_t rows[ROWS];

/* Rows with classes, or with two values each, some of them far off. */
static void make_table(enum loss loss)
{
    fixture_clouds(&t, ROWS, 5, loss == LOSS_SOFTMAX ? 3 : 2, 0.5);
    if (loss == LOSS_SOFTMAX || loss == LOSS_BINARY)
        return;
    struct random r = { .state = 4 };
    t.outputs = 2;
    t.values = mem_alloc(ROWS * 2 * sizeof *t.values);
    for (size_t i = 0; i < ROWS * 2; i++)
        t.values[i] = (float)(random_normal(&r) * (i % 5 ? 10 : 60) + 100);
}

static void make(const struct way *way)
{
    static const uint32_t hidden[] = { 7, 18, 5 };
    make_table(way->loss);
    const struct network_shape shape = { .features = 5,
                                         .outputs = way->loss == LOSS_BINARY ? 1 : table_width(&t),
                                         .hidden = hidden,
                                         .hidden_count = way->hidden_count,
                                         .activation = way->activation,
                                         .loss = way->loss };
    for (uint32_t i = 0; i < ROWS; i++)
        rows[i] = i;
    p = (struct descent_params){ .huber = 0.7, .dropout = way->dropout };
    network_init(&n, &shape, false);
    network_randomise(&n, 1);
    cr_assert(
        network_standardise(&n, &(struct lesson){ .table = &t, .rows = rows, .train = ROWS }));
}

static double loss_with(float *weight, double value)
{
    float keep = *weight;
    *weight = (float)value;
    double loss = descent_loss(&n, &p, &t, rows, ROWS, NULL);
    *weight = keep;
    return loss;
}

/* Compares with the slope between two losses.  Where the slopes to both sides differ, a ReLU or
 * Huber's loss has its kink in between: those are left out, but they must be few. */
static void check(const float *gradient)
{
    double here = descent_loss(&n, &p, &t, rows, ROWS, NULL);
    size_t checked = 0, kinks = 0;
    for (size_t i = 0; i < n.count; i++) {
        double up = (loss_with(&n.theta[i], n.theta[i] + STEP) - here) / STEP;
        double down = (here - loss_with(&n.theta[i], n.theta[i] - STEP)) / STEP;
        double slope = (up + down) / 2;
        if (fabs(up - down) > TOLERANCE + 0.02 * fabs(slope)) {
            kinks++;
            continue;
        }
        checked++;
        cr_expect_float_eq(gradient[i], slope, TOLERANCE + 0.02 * fabs(slope),
                           "%zu: %g, but by differences %g", i, (double)gradient[i], slope);
    }
    cr_assert_gt(checked, 3 * kinks, "%zu kinks in %zu", kinks, n.count);
}

static void check_way(const struct way *way)
{
    make(way);
    float *gradient = mem_alloc(n.count * sizeof *gradient);
    descent_loss(&n, &p, &t, rows, ROWS, gradient);
    check(gradient);
    free(gradient);
    network_finish(&n);
    table_finish(&t);
}

#define LOSSES      4
#define ACTIVATIONS 3

ParameterizedTestParameters(gradients, are_those_of_differences)
{
    static struct way ways[LOSSES * ACTIVATIONS * 2 + 4];
    size_t count = 0;
    for (enum loss loss = LOSS_SOFTMAX; loss <= LOSS_HUBER; loss++) {
        ways[count++] = (struct way){ loss, ACTIVATION_RELU, 0, 0 };
        for (enum activation a = ACTIVATION_RELU; a <= ACTIVATION_TANH; a++) {
            ways[count++] = (struct way){ loss, a, 2, 0 };
            ways[count++] = (struct way){ loss, a, 3, 0.3 };
        }
    }
    return cr_make_param_array(struct way, ways, count);
}

ParameterizedTest(struct way *way, gradients, are_those_of_differences)
{
    check_way(way);
}

Test(gradients, untrained_loss_is_about_the_logarithm_of_the_classes)
{
    make(&(struct way){ .loss = LOSS_SOFTMAX });
    memset(n.theta, 0, n.count * sizeof(float));
    cr_assert_float_eq(descent_loss(&n, &p, &t, rows, 1, NULL), log(3), 1e-6);
    network_finish(&n);
    table_finish(&t);
}
