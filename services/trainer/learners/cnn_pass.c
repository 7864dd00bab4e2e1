/* cnn_pass.c - see cnn_pass.h. */
#include "services/trainer/learners/cnn_pass.h"

#include "services/trainer/learners/cnn_conv.h"
#include "services/trainer/random.h"

#include <assert.h>
#include <dnnl.h>
#include <math.h>
#include <stdlib.h>

#define LEAST_PROBABILITY 1e-30 /* its logarithm is finite */

struct cnn_pass {
    const struct cnn *m;
    size_t images;
    bool gradients;
    float *input; /* standardised */
    float *room;  /* for the features of a row */
    struct conv *convs[CNN_MAX_CONVS];
    float *act[CNN_MAX_LAYERS + 1];   /* what layer l is given, and after it; the convolutions' are
                                       theirs */
    float *delta[CNN_MAX_LAYERS + 1]; /* the gradient by act */
    float *gradient;
};

static float *floats(size_t count)
{
    return mem_zalloc(count * sizeof(float));
}

/* act[0] is the input; that of the first dense layer is what the last convolution leaves. */
struct cnn_pass *cnn_pass_create(const struct cnn *m, size_t images, bool gradients)
{
    struct cnn_pass *p = mem_zalloc(sizeof *p);
    p->m = m;
    p->images = images;
    p->gradients = gradients;
    p->act[0] = p->input = floats(images * m->features);
    p->room = floats(m->features);
    p->gradient = gradients ? floats(m->weights) : NULL;
    conv_thread();
    for (size_t l = 0; l < m->layers_count; l++) {
        const struct cnn_layer *layer = &m->layers[l];
        if (layer->height) {
            const struct conv_shape shape = { images,        layer->in,    layer->out,
                                              layer->height, layer->width, gradients };
            p->convs[l] = conv_create(&shape, p->act[l], p->delta[l], m->theta + layer->w,
                                      m->theta + layer->b);
            p->act[l + 1] = conv_output(p->convs[l]);
            p->delta[l + 1] = conv_output_gradient(p->convs[l]);
        } else {
            p->act[l + 1] = floats(images * layer->out);
            p->delta[l + 1] = gradients ? floats(images * layer->out) : NULL;
        }
    }
    return p;
}

void cnn_pass_destroy(struct cnn_pass *p)
{
    if (!p)
        return;
    for (size_t l = 0; l < p->m->layers_count; l++) {
        if (p->m->layers[l].height) {
            conv_destroy(p->convs[l]);
        } else {
            free(p->act[l + 1]);
            free(p->delta[l + 1]);
        }
    }
    free(p->input);
    free(p->room);
    free(p->gradient);
    free(p);
}

size_t cnn_pass_images(const struct cnn_pass *p)
{
    return p->images;
}

float *cnn_pass_gradient(struct cnn_pass *p)
{
    return p->gradient;
}

void cnn_pass_load(struct cnn_pass *p)
{
    for (size_t l = 0; l < p->m->convs_count; l++)
        conv_load(p->convs[l]);
}

/* ---- input ---------------------------------------------------------------------------------- */

/* How one image is seen. */
struct view {
    long down, right; /* pixels that it is moved by */
    bool flip;
};

static long within(long at, long size)
{
    return at < 0 ? 0 : at >= size ? size - 1 : at;
}

/* Pixels that come in from outside are those of the edge. */
static void take_image(const struct cnn *m, const float *x, const struct view *v, float *out)
{
    long channels = m->image.channels, height = m->image.height, width = m->image.width;
    for (long row = 0; row < height; row++) {
        const float *line = x + within(row - v->down, height) * width;
        for (long column = 0; column < width; column++) {
            long from = within((v->flip ? width - 1 - column : column) - v->right, width);
            for (long c = 0; c < channels; c++)
                *out++ = (line[c * height * width + from] - m->mean) * m->scale;
        }
    }
}

static struct random row_random(const struct cnn_noise *noise, size_t number)
{
    struct random r = { .state = noise->key ^ number };
    r.state = random_u64(&r); /* so that rows do not have each other's numbers, a step later */
    return r;
}

static struct view row_view(const struct cnn_noise *noise, struct random *r)
{
    struct view v = { 0 };
    uint64_t span = 2 * (uint64_t)noise->shift + 1;
    v.down = (long)(random_u64(r) % span) - (long)noise->shift;
    v.right = (long)(random_u64(r) % span) - (long)noise->shift;
    v.flip = random_u64(r) >> 63 && noise->flip;
    return v;
}

static void gather(struct cnn_pass *p, const struct cnn_block *b)
{
    size_t features = p->m->features;
    for (size_t i = 0; i < b->count; i++) {
        struct view v = { 0 };
        if (b->noise) {
            struct random r = row_random(b->noise, b->first + i);
            v = row_view(b->noise, &r);
        }
        const float *x = table_row(b->t, b->rows[i], p->room);
        take_image(p->m, x, &v, p->input + i * features);
    }
}

/* ---- forward -------------------------------------------------------------------------------- */

/* NaN stays: it is how divergence shows. */
static void relu(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] = x[i] < 0 ? 0 : x[i];
}

static void multiply(char ta, char tb, size_t rows, size_t columns, size_t depth, const float *a,
                     size_t a_width, const float *b, size_t b_width, float keep, float *out)
{
    dnnl_status_t status =
        dnnl_sgemm(ta, tb, (dnnl_dim_t)rows, (dnnl_dim_t)columns, (dnnl_dim_t)depth, 1, a,
                   (dnnl_dim_t)a_width, b, (dnnl_dim_t)b_width, keep, out, (dnnl_dim_t)columns);
    assert(status == dnnl_success);
}

/* Units that stay are made larger by as much as is left out. */
static void drop_units(const struct cnn_block *b, size_t layer, float *x, size_t units)
{
    float keep = 1 / (1 - b->noise->dropout);
    for (size_t i = 0; i < b->count; i++) {
        struct random r = row_random(b->noise, b->first + i);
        r.state ^= (layer + 1) << 32;
        for (size_t k = 0; k < units; k++)
            x[i * units + k] *= random_uniform(&r) < (double)b->noise->dropout ? 0 : keep;
    }
}

/* noise: only for those rows that a step learns from. */
static void forward(struct cnn_pass *p, const struct cnn_block *noisy)
{
    const struct cnn *m = p->m;
    for (size_t l = 0; l < m->layers_count; l++) {
        const struct cnn_layer *layer = &m->layers[l];
        float *out = p->act[l + 1];
        if (layer->height) {
            conv_forward(p->convs[l]);
            relu(out, p->images * (layer->height / 2) * (layer->width / 2) * layer->out);
            continue; /* the largest of four, then ReLU: the same as the other way round */
        }
        for (size_t i = 0; i < p->images; i++)
            memcpy(out + i * layer->out, m->theta + layer->b, layer->out * sizeof *out);
        multiply('N', 'N', p->images, layer->out, layer->in, p->act[l], layer->in,
                 m->theta + layer->w, layer->out, 1, out);
        if (l + 1 == m->layers_count)
            break;
        relu(out, p->images * layer->out);
        if (noisy && noisy->noise->dropout > 0)
            drop_units(noisy, l, out, layer->out);
    }
}

static void softmax(float *row, size_t count)
{
    float max = row[0], sum = 0;
    for (size_t i = 1; i < count; i++)
        max = row[i] > max ? row[i] : max;
    for (size_t i = 0; i < count; i++)
        sum += row[i] = expf(row[i] - max);
    for (size_t i = 0; i < count; i++)
        row[i] /= sum;
}

static float weight_of(const struct cnn_block *b, uint32_t label)
{
    return b->class_weights ? b->class_weights[label] : 1;
}

void cnn_pass_forward(struct cnn_pass *p, const struct cnn_block *b, struct cnn_score *score)
{
    size_t classes = p->m->classes;
    assert(b->count <= p->images);
    gather(p, b);
    forward(p, b->noise ? b : NULL);
    for (size_t i = 0; i < b->count; i++) {
        float *row = p->act[p->m->layers_count] + i * classes;
        uint32_t label = b->t->y[b->rows[i]];
        size_t best = 0;
        softmax(row, classes);
        for (size_t c = 1; c < classes; c++)
            best = row[c] > row[best] ? c : best;
        score->hits += best == label;
        double chance = row[label] < (float)LEAST_PROBABILITY ? LEAST_PROBABILITY : row[label];
        score->loss -= (double)weight_of(b, label) * log(chance);
    }
}

void cnn_pass_predict(struct cnn_pass *p, const float *x, size_t count, float *out)
{
    const struct cnn *m = p->m;
    const struct view as_it_is = { 0 };
    assert(count <= p->images);
    for (size_t i = 0; i < count; i++)
        take_image(m, x + i * m->features, &as_it_is, p->input + i * m->features);
    forward(p, NULL);
    for (size_t i = 0; i < count; i++)
        softmax(p->act[m->layers_count] + i * m->classes, m->classes);
    memcpy(out, p->act[m->layers_count], count * m->classes * sizeof *out);
}

/* ---- backward ------------------------------------------------------------------------------- */

/* By the numbers before the softmax; of rows that are not there it is 0, which keeps them out of
 * all that follows. */
static void begin(struct cnn_pass *p, const struct cnn_block *b, size_t batch)
{
    size_t classes = p->m->classes;
    const float *chances = p->act[p->m->layers_count];
    float *delta = p->delta[p->m->layers_count];
    memset(delta, 0, p->images * classes * sizeof *delta);
    for (size_t i = 0; i < b->count; i++) {
        uint32_t label = b->t->y[b->rows[i]];
        float share = weight_of(b, label) / (float)batch;
        for (size_t c = 0; c < classes; c++)
            delta[i * classes + c] = chances[i * classes + c] * share;
        delta[i * classes + label] -= share;
    }
}

/* Through the ReLU (and the dropout) that made act. */
static void mask(float *delta, const float *act, size_t count, float keep)
{
    for (size_t i = 0; i < count; i++)
        delta[i] = act[i] > 0 ? delta[i] * keep : 0;
}

static void backward_dense(struct cnn_pass *p, size_t l, float keep)
{
    const struct cnn_layer *layer = &p->m->layers[l];
    const float *delta = p->delta[l + 1];
    float *bias = p->gradient + layer->b;
    multiply('T', 'N', layer->in, layer->out, p->images, p->act[l], layer->in, delta, layer->out, 1,
             p->gradient + layer->w);
    for (size_t i = 0; i < p->images; i++)
        for (size_t k = 0; k < layer->out; k++)
            bias[k] += delta[i * layer->out + k];
    if (l == 0)
        return;
    multiply('N', 'T', p->images, layer->in, layer->out, delta, layer->out, p->m->theta + layer->w,
             layer->out, 0, p->delta[l]);
    mask(p->delta[l], p->act[l], p->images * layer->in, keep);
}

void cnn_pass_backward(struct cnn_pass *p, const struct cnn_block *b, size_t batch)
{
    const struct cnn *m = p->m;
    float keep = b->noise ? 1 / (1 - b->noise->dropout) : 1;
    begin(p, b, batch);
    for (size_t l = m->layers_count; l-- > m->convs_count;)
        backward_dense(p, l, l > m->convs_count ? keep : 1);
    for (size_t l = m->convs_count; l-- > 0;) {
        const struct cnn_layer *layer = &m->layers[l];
        conv_backward(p->convs[l], p->gradient + layer->w, p->gradient + layer->b);
        if (l)
            mask(p->delta[l], p->act[l], p->images * layer->height * layer->width * layer->in, 1);
    }
}
