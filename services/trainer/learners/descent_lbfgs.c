/* descent_lbfgs.c - steps down the gradient of all rows, by L-BFGS (Nocedal and Wright, Numerical
 * Optimization, algorithm 7.4), with lengths that are halved until Armijo's rule holds.
 *
 * A linear model's loss has one minimum, which mini-batches only come near: this gets there, in some
 * tens of epochs.  An epoch looks at the gradient; then the step is taken or tried once more shorter.
 */
#include "services/trainer/learners/descent_run.h"

#include <math.h>
#include <stdlib.h>

#define ARMIJO     1e-4 /* share of the promised gain that a step has to bring */
#define SHORTER    0.5
#define TRIES_MAX  20
#define FLAT       1e-6 /* largest part of a gradient that is as good as none */
#define LEAST_GAIN 1e-8 /* of the value, that a line promises: less is what rounding makes of it */
#define CURVED     1e-8 /* curvature along a step below which the pair says nothing */

void lbfgs_init(struct lbfgs *l, size_t count)
{
    l->vectors = network_floats(LBFGS_VECTORS * count);
    l->from = l->vectors;
    l->gradient = l->from + count;
    l->direction = l->gradient + count;
    for (size_t i = 0; i < LBFGS_PAIRS; i++) {
        l->moved[i] = l->direction + (1 + 2 * i) * count;
        l->turned[i] = l->moved[i] + count;
    }
}

void lbfgs_finish(struct lbfgs *l)
{
    free(l->vectors);
}

static void add(float *to, double factor, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] += (float)factor * x[i];
}

double lbfgs_value(struct descent *d, double loss)
{
    double squares = 0;
    for (size_t i = 0; i < d->net.layers_count; i++) {
        const struct layer *l = &d->net.layers[i];
        size_t count = l->in * l->stride, at = (size_t)(l->w - d->net.theta);
        squares += descent_product(l->w, l->w, count);
        add(d->pass.gradient + at, d->p->weight_decay, l->w, count);
    }
    return loss + d->p->weight_decay * squares / 2;
}

/* ---- the direction ------------------------------------------------------------------------------- */

/* What the step has told about the curvature. */
static void remember(struct descent *d)
{
    struct lbfgs *l = &d->lbfgs;
    size_t count = d->net.count, at = l->line.pairs % LBFGS_PAIRS;
    for (size_t i = 0; i < count; i++) {
        l->moved[at][i] = d->net.theta[i] - l->from[i];
        l->turned[at][i] = d->pass.gradient[i] - l->gradient[i];
    }
    double curved = descent_product(l->moved[at], l->turned[at], count);
    if (curved > CURVED * descent_product(l->moved[at], l->moved[at], count))
        l->line.pairs++;
}

/* The gradient times the inverse of the Hessian, as the pairs have it, downwards. */
static void aim(struct lbfgs *l, size_t count)
{
    uint64_t pairs = l->line.pairs, oldest = pairs > LBFGS_PAIRS ? pairs - LBFGS_PAIRS : 0;
    double share[LBFGS_PAIRS], curved[LBFGS_PAIRS], scale = 1;
    for (size_t i = 0; i < count; i++)
        l->direction[i] = -l->gradient[i];
    for (uint64_t k = pairs; k-- > oldest;) {
        size_t i = k % LBFGS_PAIRS;
        curved[i] = descent_product(l->moved[i], l->turned[i], count);
        share[i] = descent_product(l->moved[i], l->direction, count) / curved[i];
        add(l->direction, -share[i], l->turned[i], count);
        if (k + 1 == pairs)
            scale = curved[i] / descent_product(l->turned[i], l->turned[i], count);
    }
    for (size_t i = 0; i < count; i++)
        l->direction[i] *= (float)scale;
    for (uint64_t k = oldest; k < pairs; k++) {
        size_t i = k % LBFGS_PAIRS;
        double back = descent_product(l->turned[i], l->direction, count) / curved[i];
        add(l->direction, share[i] - back, l->moved[i], count);
    }
}

/* ---- the line ------------------------------------------------------------------------------------ */

static bool is_flat(const float *gradient, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (fabsf(gradient[i]) > (float)FLAT)
            return false;
    return true;
}

/* A new line begins at theta.  false: there is nothing to be gained. */
static bool begin_line(struct descent *d, double value)
{
    struct lbfgs *l = &d->lbfgs;
    size_t count = d->net.count, size = count * sizeof(float);
    memcpy(l->from, d->net.theta, size);
    memcpy(l->gradient, d->pass.gradient, size);
    aim(l, count);
    l->line.value = value;
    l->line.slope = descent_product(l->gradient, l->direction, count);
    if (is_flat(l->gradient, count) || !(-l->line.slope > LEAST_GAIN * fabs(value)))
        return false;
    /* The gradient's length, while nothing is known of curves. */
    double steep = sqrt(-l->line.slope);
    l->line.length = l->line.pairs == 0 && steep > 1 ? 1 / steep : 1;
    l->line.tries = 1;
    return true;
}

bool lbfgs_move(struct descent *d, double value)
{
    struct lbfgs *l = &d->lbfgs;
    struct lbfgs_line *line = &l->line;
    bool first = line->tries == 0;
    if (first || value <= line->value + ARMIJO * line->length * line->slope) {
        if (!first)
            remember(d);
        if (!begin_line(d, value))
            return false;
    } else {
        line->length *= SHORTER;
        if (++line->tries > TRIES_MAX)
            return false;
    }
    memcpy(d->net.theta, l->from, d->net.count * sizeof(float));
    add(d->net.theta, line->length, l->direction, d->net.count);
    return true;
}
