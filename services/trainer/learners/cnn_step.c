/* cnn_step.c - one batch: its rows in parts, one for each thread, then one step of all weights.
 *
 * The sums are made in an order that depends on the number of threads, not on their pace.
 */
#include "services/trainer/learners/cnn_conv.h"
#include "services/trainer/learners/cnn_fit.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define BLOCK_WORK    ((uint64_t)1 << 30) /* of one thread, between two looks at cancel */
#define BLOCK_FLOATS  ((size_t)8 << 20)   /* in all passes together: 32 MiB, for any batch */
#define PASSES_FLOATS ((size_t)64 << 20)  /* the same, however large one image's part is */
#define GRADIENTS     ((size_t)256 << 20) /* floats: each thread sums up a gradient of its own */
#define BETA1         0.9f                /* Adam (Kingma and Ba, 2014), with its usual numbers */
#define BETA2         0.999f
#define EPSILON       1e-8f

static size_t least_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

static_assert(CNN_THREADS <= TEAM_MOST, "a team has no room for them");

static void work(void *arg, const struct member *me)
{
    struct cnn_fit *f = arg;
    conv_thread();
    f->part(f, me->index);
}

/* All members do their part of it. */
static void together(struct cnn_fit *f, void (*part)(struct cnn_fit *f, size_t member))
{
    f->part = part;
    team_run(f->team);
}

/* Images for which each pass has memory. */
static size_t pass_images(const struct cnn *m, size_t batch, size_t members)
{
    size_t images = (batch + members - 1) / members;
    images = least_of(images, BLOCK_FLOATS / members / cnn_row_floats(m));
    images = least_of(images, (size_t)(BLOCK_WORK / cnn_row_work(m)));
    return images ? images : 1;
}

void cnn_fit_init(struct cnn_fit *f, struct cnn *m, const struct cnn_params *p,
                  const struct lesson *lesson)
{
    size_t batch = least_of(p->batch, lesson->train);
    size_t members = least_of(lesson->threads ? lesson->threads : 1, CNN_THREADS);
    members = least_of(members, GRADIENTS / m->weights);
    members = least_of(members, PASSES_FLOATS / cnn_row_floats(m));
    *f = (struct cnn_fit){
        .m = m, .p = p, .lesson = lesson, .members = least_of(members, batch), .least = INFINITY
    };
    f->order = mem_alloc(lesson->train * sizeof *f->order);
    f->speed = mem_zalloc(m->weights * sizeof *f->speed);
    f->best = mem_zalloc(m->weights * sizeof *f->best);
    if (p->optimizer != CNN_MOMENTUM)
        f->square = mem_zalloc(m->weights * sizeof *f->square);
    for (size_t i = 0; i < f->members; i++)
        f->passes[i] = cnn_pass_create(m, pass_images(m, batch, f->members), true);
    f->team = team_create(f->members, work, f);
    f->work.load = true;
}

void cnn_fit_finish(struct cnn_fit *f)
{
    team_destroy(f->team);
    for (size_t i = 0; i < f->members; i++)
        cnn_pass_destroy(f->passes[i]);
    free(f->order);
    free(f->speed);
    free(f->square);
    free(f->best);
}

size_t cnn_step_rows(const struct cnn_fit *f)
{
    return f->members * cnn_pass_images(f->passes[0]);
}

/* ---- a block -------------------------------------------------------------------------------- */

static void compute(struct cnn_fit *f, size_t member)
{
    struct cnn_work *w = &f->work;
    struct cnn_pass *pass = f->passes[member];
    struct cnn_block mine = w->block;
    size_t share = (w->block.count + f->members - 1) / f->members;
    size_t from = least_of(member * share, w->block.count);
    if (w->load) {
        cnn_pass_load(pass);
        memset(cnn_pass_gradient(pass), 0, f->m->weights * sizeof(float));
    }
    w->scores[member] = (struct cnn_score){ 0 };
    mine.rows += from;
    mine.first += from;
    mine.count = least_of(share, w->block.count - from);
    if (!mine.count)
        return;
    cnn_pass_forward(pass, &mine, &w->scores[member]);
    if (w->batch)
        cnn_pass_backward(pass, &mine, w->batch);
}

void cnn_step_block(struct cnn_fit *f, struct cnn_score *score)
{
    together(f, compute);
    f->work.load = false;
    for (size_t i = 0; i < f->members; i++) {
        score->loss += f->work.scores[i].loss;
        score->hits += f->work.scores[i].hits;
    }
}

/* ---- the step ------------------------------------------------------------------------------- */

static void step_momentum(struct cnn_fit *f, const float *gradient, size_t from, size_t to,
                          float decay)
{
    float lr = f->work.lr, momentum = (float)f->p->momentum, *theta = f->m->theta;
    for (size_t i = from; i < to; i++) {
        f->speed[i] = momentum * f->speed[i] - lr * (gradient[i] + decay * theta[i]);
        theta[i] += f->speed[i];
    }
}

static void step_adam(struct cnn_fit *f, const float *gradient, size_t from, size_t to, float decay)
{
    bool beside = f->p->optimizer == CNN_ADAMW;
    float *theta = f->m->theta, l2 = beside ? 0 : decay, shrink = beside ? decay * f->work.lr : 0;
    double steps = (double)f->steps;
    float rate = (float)(f->work.lr / (1 - pow(BETA1, steps)));
    float unbias = (float)(1 / (1 - pow(BETA2, steps)));
    for (size_t i = from; i < to; i++) {
        float g = gradient[i] + l2 * theta[i];
        f->speed[i] = BETA1 * f->speed[i] + (1 - BETA1) * g;
        f->square[i] = BETA2 * f->square[i] + (1 - BETA2) * g * g;
        theta[i] -=
            shrink * theta[i] + rate * f->speed[i] / (sqrtf(f->square[i] * unbias) + EPSILON);
    }
}

static void step_range(struct cnn_fit *f, size_t from, size_t to, float decay)
{
    float *sum = cnn_pass_gradient(f->passes[0]);
    if (from >= to)
        return;
    for (size_t k = 1; k < f->members; k++) {
        const float *more = cnn_pass_gradient(f->passes[k]);
        for (size_t i = from; i < to; i++)
            sum[i] += more[i];
    }
    if (f->p->optimizer == CNN_MOMENTUM)
        step_momentum(f, sum, from, to, decay);
    else
        step_adam(f, sum, from, to, decay);
}

/* This member's share of theta.  Biases do not decay. */
static void update(struct cnn_fit *f, size_t member)
{
    size_t from = f->m->weights * member / f->members;
    size_t to = f->m->weights * (member + 1) / f->members;
    for (size_t l = 0; l < f->m->layers_count; l++) {
        const struct cnn_layer *layer = &f->m->layers[l];
        size_t b = layer->b, end = layer->b + layer->out;
        step_range(f, layer->w > from ? layer->w : from, least_of(b, to),
                   (float)f->p->weight_decay);
        step_range(f, b > from ? b : from, least_of(end, to), 0);
    }
}

void cnn_step_update(struct cnn_fit *f, double lr)
{
    f->steps++;
    f->work.lr = (float)lr;
    together(f, update);
    f->work.load = true;
}
