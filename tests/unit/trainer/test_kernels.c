/* test_kernels.c - the innermost loops, of each level that this processor has, against plain ones. */
#include "services/trainer/learners/kernels.h"
#include "services/trainer/random.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static float *random_floats(size_t count)
{
    struct random r = { .state = count };
    float *x = malloc(count * sizeof *x);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)random_normal(&r);
    return x;
}

#define EACH_LEVEL(k)                                        \
    for (unsigned level = 0; level < KERNEL_LEVELS; level++) \
        for (const struct kernels *k = kernels_level(level); k; k = NULL)

static void check_product(const struct kernels *k, size_t rows, size_t width, size_t depth,
                          bool turned, bool add, bool bias)
{
    float *a = random_floats(rows * depth), *b = random_floats(depth * width);
    float *c = random_floats(rows * width), *before = random_floats(rows * width);
    float *biases = random_floats(width);
    k->multiply(&(struct product){ .rows = rows,
                                   .width = width,
                                   .depth = depth,
                                   .a = a,
                                   .a_row = turned ? 1 : depth,
                                   .a_depth = turned ? rows : 1,
                                   .b = b,
                                   .b_stride = width,
                                   .bias = bias ? biases : NULL,
                                   .c = c,
                                   .c_stride = width,
                                   .add = add });
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < width; j++) {
            double sum = add ? (double)before[i * width + j] : bias ? (double)biases[j] : 0;
            for (size_t d = 0; d < depth; d++)
                sum += (double)a[turned ? d * rows + i : i * depth + d] * (double)b[d * width + j];
            cr_assert_float_eq(c[i * width + j], sum, 1e-4, "%s: %zu x %zu x %zu", k->name, rows,
                               width, depth);
        }
    free(a);
    free(b);
    free(c);
    free(before);
    free(biases);
}

Test(kernels, products_are_those_of_plain_loops)
{
    static const size_t sizes[][3] = { { 1, 16, 1 },   { 2, 16, 5 },  { 3, 48, 7 },
                                       { 10, 64, 10 }, { 13, 80, 3 }, { 17, 144, 300 },
                                       { 9, 16, 128 }, { 5, 32, 129 } };
    EACH_LEVEL(k)
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int way = 0; way < 6; way++)
            check_product(k, sizes[i][0], sizes[i][1], sizes[i][2], way % 2, way / 2 == 1,
                          way / 2 == 2);
}

Test(kernels, activations_and_slopes)
{
    EACH_LEVEL(k)
    for (double x = -12; x < 12; x += 0.0625) {
        float v[16], slope[16];
        double phi = exp(-x * x / 2) / sqrt(2 * M_PI), below = 0.5 * erfc(-x / sqrt(2));
        for (enum activation f = ACTIVATION_RELU; f <= ACTIVATION_TANH; f++) {
            for (int i = 0; i < 16; i++)
                v[i] = (float)x;
            k->activate(f, v, slope, 16);
            double value = f == ACTIVATION_RELU   ? fmax(x, 0)
                           : f == ACTIVATION_GELU ? x * below
                                                  : tanh(x);
            double rise = f == ACTIVATION_RELU   ? x > 0
                          : f == ACTIVATION_GELU ? below + x * phi
                                                 : 1 - tanh(x) * tanh(x);
            cr_assert_float_eq(v[15], value, 1e-6, "%s: %g", k->name, x);
            cr_assert_float_eq(slope[0], rise, 1e-6, "%s: %g", k->name, x);
        }
    }
}

Test(kernels, not_a_number_stays_one)
{
    EACH_LEVEL(k)
    for (enum activation f = ACTIVATION_RELU; f <= ACTIVATION_TANH; f++) {
        float v[16] = { [3] = NAN };
        k->activate(f, v, NULL, 16);
        cr_assert(isnan(v[3]) && v[2] == 0);
        float row[16] = { [3] = NAN };
        cr_assert(isnan(k->softmax(row, 10, 16)));
    }
}

Test(kernels, softmax_of_rows_far_out)
{
    EACH_LEVEL(k)
    for (double shift = -1000; shift <= 1000; shift += 500) {
        float row[32];
        double sum = 0;
        for (int i = 0; i < 32; i++)
            row[i] = (float)(shift + 0.25 * i);
        double all = k->softmax(row, 20, 32);
        for (int i = 0; i < 20; i++)
            sum += exp(0.25 * i);
        cr_assert_float_eq(all, shift + log(sum), 1e-4);
        for (int i = 0; i < 32; i++)
            cr_assert_float_eq(row[i], i < 20 ? exp(0.25 * i) / sum : 0, 1e-6);
    }
}

Test(kernels, dropout_leaves_its_share_and_the_sum)
{
    enum { COUNT = 1 << 16 };
    float *x = malloc(COUNT * sizeof *x), *slope = malloc(COUNT * sizeof *slope);
    EACH_LEVEL(k)
    for (uint32_t key = 1; key < 5; key++) {
        double sum = 0;
        size_t gone = 0;
        for (size_t i = 0; i < COUNT; i++)
            x[i] = slope[i] = 1;
        k->drop(x, slope, COUNT, key * 77777, 0, (uint32_t)(0.25 * 0x1p32), 1 / 0.75f);
        cr_assert_arr_eq(x, slope, COUNT * sizeof *x);
        for (size_t i = 0; i < COUNT; i++) {
            gone += x[i] == 0;
            sum += x[i];
        }
        cr_assert_float_eq((double)gone / COUNT, 0.25, 0.01);
        cr_assert_float_eq(sum / COUNT, 1, 0.02);
        float part[32], part_slope[32]; /* the same, whoever computes which part */
        for (size_t i = 0; i < 32; i++)
            part[i] = part_slope[i] = 1;
        k->drop(part, part_slope, 32, key * 77777, 1024, (uint32_t)(0.25 * 0x1p32), 1 / 0.75f);
        cr_assert_arr_eq(part, x + 1024, sizeof part);
    }
    free(x);
    free(slope);
}

/* One weight, f(w) = w^2 / 2, as the papers write the steps. */
Test(kernels, steps)
{
    EACH_LEVEL(k)
    {
        float w[16] = { 1 }, g[16] = { 1 }, v[16] = { 0 }, second[16] = { 0 };
        struct rates r = { .lr = 0.1f, .scale = 1, .momentum = 0.5f };
        for (int i = 0; i < 2; i++) {
            g[0] = w[0];
            k->descend(w, g, v, 16, &r);
        }
        cr_assert_float_eq(w[0], 0.9 - 0.05 - 0.09, 1e-6);
        w[0] = 1;
        v[0] = 0;
        g[0] = 1;
        r.nesterov = true;
        k->descend(w, g, v, 16, &r);
        cr_assert_float_eq(w[0], 1 - 0.1 * (1 + 0.5), 1e-6);
        w[0] = 1;
        v[0] = 0;
        r = (struct rates){ .lr = 0.1f, .scale = 0.5f, .l1 = 0.25f, .l2 = 0.5f };
        k->descend(w, g, v, 16, &r);
        cr_assert_float_eq(w[0], 1 - 0.1 * (0.5 + 0.25 + 0.5), 1e-6);
        w[0] = 1;
        v[0] = 0;
        r = (struct rates){
            .lr = 0.1f, .scale = 1, .b1 = 0.9f, .b2 = 0.999f, .c1 = 10, .c2 = 1000, .decay = 0.5f
        };
        k->adam(w, g, v, second, 16, &r);
        cr_assert_float_eq(w[0], 1 - 0.1 * (1 + 0.5), 1e-5);
        cr_assert_float_eq(v[0], 0.1, 1e-6);
        cr_assert_float_eq(second[0], 0.001, 1e-7);
    }
}
