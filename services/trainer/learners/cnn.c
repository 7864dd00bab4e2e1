/* cnn.c - the network's shape and its first numbers. */
#include "services/trainer/learners/cnn.h"

#include "services/trainer/random.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#define FLAT 1e-6 /* spread, as a share of the mean, that float32 cannot tell from rounding */

void cnn_default(struct cnn_params *p)
{
    *p = (struct cnn_params){ .filters = { 32, 64 },
                              .filters_count = 2,
                              .hidden = { 128 },
                              .hidden_count = 1,
                              .epochs = 12,
                              .batch = 64,
                              .optimizer = CNN_ADAMW,
                              .schedule = CNN_COSINE,
                              .lr = 0.001,
                              .momentum = 0.9,
                              .weight_decay = 0.01,
                              .dropout = 0.3,
                              .shift = 1,
                              .patience = 5 };
}

void cnn_finish(struct cnn *m)
{
    free(m->theta);
    *m = (struct cnn){ 0 };
}

/* ---- shape ---------------------------------------------------------------------------------- */

static void add_layer(struct cnn *m, struct cnn_layer layer)
{
    layer.w_count = layer.in * layer.out * (layer.height ? 9 : 1);
    layer.w = m->weights;
    layer.b = layer.w + layer.w_count;
    m->weights = layer.b + layer.out;
    m->layers[m->layers_count++] = layer;
}

static enum status add_convs(struct cnn *m, const struct cnn_params *p, struct error *err)
{
    size_t channels = m->image.channels, height = m->image.height, width = m->image.width;
    for (size_t k = 0; k < p->filters_count; k++) {
        if (height < 2 || width < 2)
            return error_set(err, STATUS_INVALID,
                             "images of %u x %u pixels are too small for %zu convolutions, each of "
                             "which halves them",
                             m->image.height, m->image.width, p->filters_count);
        add_layer(m, (struct cnn_layer){
                         .in = channels, .out = p->filters[k], .height = height, .width = width });
        channels = p->filters[k];
        height /= 2;
        width /= 2;
    }
    m->convs_count = p->filters_count;
    return STATUS_OK;
}

static void add_dense(struct cnn *m, const struct cnn_params *p)
{
    size_t in = m->features;
    if (m->convs_count) {
        const struct cnn_layer *last = &m->layers[m->convs_count - 1];
        in = last->out * (last->height / 2) * (last->width / 2);
    }
    for (size_t k = 0; k <= p->hidden_count; k++) {
        size_t out = k < p->hidden_count ? p->hidden[k] : m->classes;
        add_layer(m, (struct cnn_layer){ .in = in, .out = out });
        in = out;
    }
}

size_t cnn_row_floats(const struct cnn *m)
{
    size_t floats = m->features;
    for (size_t l = 0; l < m->layers_count; l++) {
        const struct cnn_layer *layer = &m->layers[l];
        size_t out = layer->out * (layer->height ? layer->height * layer->width : 1);
        floats += layer->height ? 3 * out : 2 * out; /* a value, a gradient; a quarter of that */
    }
    return floats;
}

uint64_t cnn_row_work(const struct cnn *m)
{
    uint64_t work = 0;
    for (size_t l = 0; l < m->layers_count; l++) {
        const struct cnn_layer *layer = &m->layers[l];
        work += 3 * (uint64_t)layer->w_count * (layer->height ? layer->height * layer->width : 1);
    }
    return work;
}

enum status cnn_shape(struct cnn *m, const struct table *t, const struct cnn_params *p,
                      struct error *err)
{
    *m = (struct cnn){ .image = t->image,
                       .features = t->features,
                       .classes = t->classes_count,
                       .scale = 1,
                       .shape = { 0, t->image.channels, t->image.height, t->image.width } };
    if (!t->image.channels)
        return error_set(err, STATUS_INVALID, "a convolutional network learns from images only");
    if (p->filters_count > CNN_MAX_CONVS || p->hidden_count > CNN_MAX_HIDDEN)
        return error_set(err, STATUS_TOO_LARGE,
                         "a convolutional network has at most %d convolutions and %d hidden layers",
                         CNN_MAX_CONVS, CNN_MAX_HIDDEN);
    if (add_convs(m, p, err))
        return err->status;
    add_dense(m, p);
    if (m->weights > CNN_MAX_WEIGHTS)
        return error_set(err, STATUS_TOO_LARGE, "the network would have %zu weights, more than %u",
                         m->weights, CNN_MAX_WEIGHTS);
    if (cnn_row_floats(m) > CNN_MAX_ACTIVATIONS)
        return error_set(err, STATUS_TOO_LARGE,
                         "the network would compute %zu numbers for each image, more than %u",
                         cnn_row_floats(m), CNN_MAX_ACTIVATIONS);
    if (cnn_row_work(m) > CNN_MAX_WORK)
        return error_set(err, STATUS_TOO_LARGE,
                         "the network would need %.3g multiplications for each image, more than "
                         "%.3g",
                         (double)cnn_row_work(m), (double)CNN_MAX_WORK);
    return STATUS_OK;
}

/* ---- numbers -------------------------------------------------------------------------------- */

void cnn_init(struct cnn *m, uint64_t seed)
{
    struct random r = { .state = seed ^ 0x636e6eu };
    m->theta = mem_zalloc(m->weights * sizeof *m->theta);
    for (size_t l = 0; l < m->layers_count; l++) {
        const struct cnn_layer *layer = &m->layers[l];
        size_t inputs = layer->w_count / layer->out; /* that one output sums up */
        for (size_t i = 0; i < layer->w_count; i++)
            m->theta[layer->w + i] = (float)(random_normal(&r) * sqrt(2.0 / (double)inputs));
    }
}

bool cnn_standardise(struct cnn *m, const struct lesson *lesson)
{
    const struct table *t = lesson->table;
    size_t count = lesson->train, step = 1 + LESSON_ASK_CELLS / m->features;
    bool go_on = true;
    double sum = 0, squares = 0, pixels = (double)count * (double)m->features;
    float *room = mem_alloc(m->features * sizeof *room);
    for (size_t i = 0; i < count && go_on; i++) {
        const float *x = table_row(t, lesson->rows[i], room);
        go_on = i % step || lesson_goes_on(lesson);
        for (size_t k = 0; k < m->features; k++)
            sum += x[k];
    }
    double mean = sum / pixels;
    for (size_t i = 0; i < count && go_on; i++) {
        const float *x = table_row(t, lesson->rows[i], room);
        go_on = i % step || lesson_goes_on(lesson);
        for (size_t k = 0; k < m->features; k++)
            squares += (x[k] - mean) * (x[k] - mean);
    }
    free(room);
    double deviation = sqrt(squares / pixels);
    bool constant = deviation <= FLAT * fabs(mean) || deviation < FLT_MIN;
    m->mean = (float)mean;
    m->scale = constant ? 1 : (float)(1 / deviation);
    return go_on;
}
