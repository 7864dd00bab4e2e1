/* network.c - the model: its memory, its first weights, its scales. */
#include "services/trainer/learners/network.h"

#include "services/trainer/random.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#define ALIGNMENT    64   /* of a cache line */
#define SPREAD_LEAST 1e-6 /* of the mean: float32 cannot tell less from rounding; constant */

float *network_floats(size_t count)
{
    size_t bytes = (count * sizeof(float) + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
    float *memory = aligned_alloc(ALIGNMENT, bytes);
    if (!memory)
        abort(); /* as mem_alloc does: the size was checked before */
    memset(memory, 0, bytes);
    return memory;
}

enum status network_check(const struct network_shape *s, uint32_t batch, struct error *err)
{
    uint64_t in = s->features, weights = 0, units = s->features + s->outputs;
    for (size_t l = 0; l < s->hidden_count; l++) {
        weights += (in + 1) * s->hidden[l];
        in = s->hidden[l];
        units += in;
    }
    weights += (in + 1) * s->outputs;
    if (weights > MAX_WEIGHTS)
        return error_set(err, STATUS_TOO_LARGE,
                         "the network would have %llu weights; at most %u are allowed",
                         (unsigned long long)weights, MAX_WEIGHTS);
    if (units * batch > MAX_ACTIVATIONS)
        return error_set(err, STATUS_TOO_LARGE,
                         "a batch of %u rows is too large for a network of %llu units", batch,
                         (unsigned long long)units);
    return STATUS_OK;
}

static size_t layer_floats(const struct layer *l)
{
    return (l->in + 1) * l->stride;
}

static void add_layer(struct network *n, size_t in, size_t out, bool padded)
{
    struct layer *l = &n->layers[n->layers_count++];
    *l = (struct layer){ .in = in, .out = out, .stride = padded ? kernel_stride(out) : out };
    n->count += layer_floats(l);
}

void network_init(struct network *n, const struct network_shape *s, bool padded)
{
    size_t in = s->features;
    *n = (struct network){
        .features = s->features, .outputs = s->outputs, .activation = s->activation, .loss = s->loss
    };
    for (size_t l = 0; l < s->hidden_count; l++) {
        add_layer(n, in, s->hidden[l], padded);
        in = s->hidden[l];
    }
    add_layer(n, in, s->outputs, padded);
    n->theta = network_floats(n->count);
    float *at = n->theta;
    for (size_t l = 0; l < n->layers_count; l++) {
        struct layer *layer = &n->layers[l];
        layer->w = at;
        layer->b = at + layer->in * layer->stride;
        at += layer_floats(layer);
    }
    n->mean = network_floats(n->features);
    n->scale = network_floats(n->features);
    n->target_mean = network_floats(n->outputs);
    n->target_scale = network_floats(n->outputs);
    for (size_t i = 0; i < n->features; i++)
        n->scale[i] = 1;
    for (size_t i = 0; i < n->outputs; i++)
        n->target_scale[i] = 1;
}

void network_copy_shape(struct network *n, const struct network *from, bool padded)
{
    uint32_t hidden[MAX_HIDDEN];
    size_t count = from->layers_count - 1;
    for (size_t l = 0; l < count; l++)
        hidden[l] = (uint32_t)from->layers[l].out;
    const struct network_shape s = { from->features, from->outputs,    hidden,
                                     count,          from->activation, from->loss };
    network_init(n, &s, padded);
    memcpy(n->mean, from->mean, n->features * sizeof(float));
    memcpy(n->scale, from->scale, n->features * sizeof(float));
    memcpy(n->target_mean, from->target_mean, n->outputs * sizeof(float));
    memcpy(n->target_scale, from->target_scale, n->outputs * sizeof(float));
}

void network_copy_theta(struct network *to, const struct network *from)
{
    for (size_t l = 0; l < from->layers_count; l++) {
        const struct layer *a = &from->layers[l], *b = &to->layers[l];
        for (size_t i = 0; i <= a->in; i++) /* the bias follows the last row */
            memcpy(b->w + i * b->stride, a->w + i * a->stride, a->out * sizeof(float));
    }
}

void network_finish(struct network *n)
{
    free(n->theta);
    free(n->mean);
    free(n->scale);
    free(n->target_mean);
    free(n->target_scale);
    *n = (struct network){ 0 };
}

void network_randomise(struct network *n, uint64_t seed)
{
    struct random r = { .state = seed ^ 0x6d6c70u };
    for (size_t l = 0; l < n->layers_count; l++) {
        struct layer *layer = &n->layers[l];
        bool glorot = n->activation == ACTIVATION_TANH;
        double variance = 2.0 / (double)(layer->in + (glorot ? layer->out : 0));
        for (size_t i = 0; i < layer->in; i++)
            for (size_t k = 0; k < layer->out; k++)
                layer->w[i * layer->stride + k] = (float)(random_normal(&r) * sqrt(variance));
    }
}

/* ---- standardisation --------------------------------------------------------------------------- */

/* 0: it is constant, and has no say, now or served. */
static float inverse(double deviation, double mean)
{
    bool constant = deviation <= SPREAD_LEAST * fabs(mean) || deviation < FLT_MIN;
    return constant ? 0 : (float)(1 / deviation);
}

/* Means and standard deviations of the columns of t in the rows to learn from.  false: the lesson is
 * cancelled. */
static bool measure(const struct lesson *lesson, const struct table *t, double *mean,
                    double *deviation)
{
    const uint32_t *rows = lesson->rows;
    size_t count = lesson->train, width = t->features, step = 1 + LESSON_ASK_CELLS / width;
    bool go_on = true;
    float *room = mem_alloc(width * sizeof *room);
    memset(mean, 0, width * sizeof *mean);
    memset(deviation, 0, width * sizeof *deviation);
    for (size_t i = 0; i < count && go_on; i++) {
        const float *x = table_row(t, rows[i], room);
        go_on = i % step || lesson_goes_on(lesson);
        for (size_t k = 0; k < width; k++)
            mean[k] += x[k];
    }
    for (size_t k = 0; k < width; k++)
        mean[k] /= (double)count;
    for (size_t i = 0; i < count && go_on; i++) {
        const float *x = table_row(t, rows[i], room);
        go_on = i % step || lesson_goes_on(lesson);
        for (size_t k = 0; k < width; k++)
            deviation[k] += (x[k] - mean[k]) * (x[k] - mean[k]);
    }
    for (size_t k = 0; k < width; k++)
        deviation[k] = sqrt(deviation[k] / (double)count);
    free(room);
    return go_on;
}

/* One mean and one deviation for all columns: the variance of all is the mean of theirs, and what
 * their means vary. */
static void pool(size_t width, double *mean, double *deviation)
{
    double all = 0, variance = 0;
    for (size_t k = 0; k < width; k++)
        all += mean[k] / (double)width;
    for (size_t k = 0; k < width; k++) {
        double d = mean[k] - all;
        variance += (deviation[k] * deviation[k] + d * d) / (double)width;
    }
    for (size_t k = 0; k < width; k++) {
        mean[k] = all;
        deviation[k] = sqrt(variance);
    }
}

static bool standardise_targets(struct network *n, const struct lesson *lesson, double *mean,
                                double *deviation)
{
    const struct table values = { .x = lesson->table->values, .features = n->outputs };
    bool go_on = measure(lesson, &values, mean, deviation);
    for (size_t k = 0; k < n->outputs; k++) {
        n->target_mean[k] = (float)mean[k];
        float to = inverse(deviation[k], mean[k]);
        n->target_scale[k] = to > 0 ? (float)deviation[k] : 0; /* 0: it is always the mean */
    }
    return go_on;
}

bool network_standardise(struct network *n, const struct lesson *lesson)
{
    size_t most = n->features > n->outputs ? n->features : n->outputs;
    double *mean = mem_alloc(most * sizeof *mean), *deviation = mem_alloc(most * sizeof *deviation);
    bool go_on = measure(lesson, lesson->table, mean, deviation);
    if (lesson->table->image.channels)
        pool(n->features, mean, deviation);
    for (size_t k = 0; k < n->features; k++) {
        n->mean[k] = (float)mean[k];
        n->scale[k] = inverse(deviation[k], mean[k]);
    }
    if (!network_has_classes(n) && go_on)
        go_on = standardise_targets(n, lesson, mean, deviation);
    free(mean);
    free(deviation);
    return go_on;
}
