/* descent_step.c - an epoch, as every member of the team runs it. */
#include "services/trainer/learners/descent_run.h"
#include "services/trainer/random.h"

#include <math.h>

#define ASK_WORK (1u << 24) /* multiplications, forward, between two looks at cancel: under 10 ms */

double descent_rate(const struct descent_params *p, uint64_t step, uint64_t steps_each)
{
    uint64_t whole = step / steps_each;
    double rate = p->lr, epoch = (double)step / (double)steps_each;
    if (p->schedule == SCHEDULE_STEP && p->lr_decay < 1)
        rate *= pow(p->lr_decay, floor((double)whole / p->lr_step));
    else if (p->schedule == SCHEDULE_COSINE)
        rate *= 0.5 * (1 + cos(M_PI * epoch / p->epochs));
    if (epoch < p->warmup)
        rate *= (double)(step + 1) / ((double)p->warmup * (double)steps_each);
    return rate;
}

static struct rates rates_of(const struct descent *d, uint64_t step, double norm)
{
    const struct descent_params *p = d->p;
    bool coupled = p->optimizer != OPTIMIZER_ADAMW;
    double t = (double)step + 1, most = p->clip_norm;
    struct rates r = { .lr = (float)descent_rate(p, step, d->steps_each),
                       .scale = most > 0 && norm > most ? (float)(most / norm) : 1,
                       .l1 = (float)p->l1,
                       .l2 = coupled ? (float)p->weight_decay : 0,
                       .nesterov = p->optimizer == OPTIMIZER_NESTEROV,
                       .momentum = p->optimizer == OPTIMIZER_SGD ? 0 : (float)p->momentum };
    if (p->optimizer >= OPTIMIZER_ADAM) {
        r.decay = coupled ? 0 : (float)p->weight_decay;
        r.b1 = (float)p->beta1;
        r.b2 = (float)p->beta2;
        r.c1 = (float)(1 / (1 - pow(p->beta1, t)));
        r.c2 = (float)(1 / (1 - pow(p->beta2, t)));
    }
    return r;
}

static void change(struct descent *d, size_t at, size_t count, const struct rates *r)
{
    const struct kernels *k = d->pass.k;
    float *theta = d->net.theta + at;
    const float *gradient = d->pass.gradient + at;
    if (d->second)
        k->adam(theta, gradient, d->speed + at, d->second + at, count, r);
    else
        k->descend(theta, gradient, d->speed + at, count, r);
}

double descent_product(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* Calls for each run of numbers in this member's regions: weights, or biases. */
static void each_run(struct descent *d, const struct member *me, bool biases, void *arg,
                     void (*run)(struct descent *d, size_t at, size_t count, void *arg))
{
    for (size_t l = 0; l < d->net.layers_count; l++) {
        const struct layer *layer = &d->net.layers[l];
        struct region r = pass_region(&d->pass, me, l);
        size_t w = (size_t)(layer->w - d->net.theta), b = (size_t)(layer->b - d->net.theta);
        size_t width = r.column_end - r.column;
        if (biases && r.bias < r.bias_end) {
            run(d, b + r.bias, r.bias_end - r.bias, arg);
        } else if (!biases && width == layer->stride && r.row < r.row_end) {
            run(d, w + r.row * layer->stride, (r.row_end - r.row) * width, arg);
        } else if (!biases) {
            for (size_t i = r.row; i < r.row_end; i++)
                run(d, w + i * layer->stride + r.column, width, arg);
        }
    }
}

static void add_squares(struct descent *d, size_t at, size_t count, void *sum)
{
    const float *gradient = d->pass.gradient + at;
    *(double *)sum += descent_product(gradient, gradient, count);
}

static void change_run(struct descent *d, size_t at, size_t count, void *rates)
{
    change(d, at, count, rates);
}

static double gradient_norm(struct descent *d, const struct member *me)
{
    double sum = 0;
    each_run(d, me, false, &sum, add_squares);
    each_run(d, me, true, &sum, add_squares);
    d->parts[me->index].squares = sum;
    team_meet(me);
    sum = 0;
    for (size_t i = 0; i < me->count; i++)
        sum += d->parts[i].squares;
    return sqrt(sum);
}

/* Each member changes what it has added up; biases are not held small. */
static void step(struct descent *d, const struct member *me, uint64_t number)
{
    double norm = d->p->clip_norm > 0 ? gradient_norm(d, me) : 0;
    struct rates r = rates_of(d, number, norm);
    each_run(d, me, false, &r, change_run);
    r.l1 = r.l2 = r.decay = 0;
    each_run(d, me, true, &r, change_run);
}

/* ---- an epoch ---------------------------------------------------------------------------------- */

/* The rows from `at` on that go through together; a batch may be more than that. */
static struct unit unit_at(const struct descent *d, size_t at, unsigned turn)
{
    size_t batch = d->training ? d->batch : d->block, begin = at - at % batch;
    struct unit u = { .at = at, .row = at - begin, .batch = d->count - begin, .turn = turn };
    u.batch = u.batch < batch ? u.batch : batch;
    u.count = u.batch - u.row < d->block ? u.batch - u.row : d->block;
    u.key = d->lesson->seed + (((d->number - 1) * d->steps_each + at / batch) << 8);
    return u;
}

/* Member 0 asks for all whether to go on. */
static void ask(struct descent *d, const struct member *me, size_t done)
{
    team_meet(me);
    if (me->index == 0) {
        double epochs = d->number - (d->training ? 1 : 0);
        if (d->training)
            epochs += (double)done / (double)d->count;
        struct tally t = descent_tally(d);
        if (!isfinite(t.loss))
            d->status = STATUS_INVALID;
        else if (!d->lesson->events->go_on(d->lesson->arg, epochs / d->p->epochs))
            d->status = STATUS_CANCELLED;
        atomic_store(&d->stop, d->status != STATUS_OK);
    }
    team_meet(me);
}

static void run_unit(struct descent *d, const struct member *me, const struct unit *u)
{
    size_t from, to;
    pass_forward(&d->pass, me, u, d->training);
    pass_share(me, u, &from, &to);
    loss_rows(&d->pass, &d->truth, d->rows, u, from, to, &d->parts[me->index].tally);
    if (!d->training)
        return;
    pass_backward(&d->pass, me, u);
    if (u->row + u->count == u->batch && !d->lbfgs.vectors)
        step(d, me, (d->number - 1) * d->steps_each + u->at / d->batch);
}

void descent_work(void *arg, const struct member *me)
{
    struct descent *d = arg;
    const struct table *t = d->lesson->table;
    struct unit u = unit_at(d, 0, 0);
    size_t work = 0;
    d->parts[me->index] = (struct part){ 0 };
    pass_gather(&d->pass, me, t, d->rows, &u);
    team_meet(me);
    while (u.at < d->count) {
        run_unit(d, me, &u);
        work += u.count * d->net.count;
        size_t done = u.at + u.count;
        if (done < d->count) { /* the next rows come while others still work on these */
            u = unit_at(d, done, !u.turn);
            pass_gather(&d->pass, me, t, d->rows, &u);
        } else {
            u.at = done;
        }
        if (work >= ASK_WORK || done == d->count) {
            ask(d, me, done);
            work = 0;
            if (atomic_load(&d->stop))
                return;
        } else {
            team_meet(me);
        }
    }
}

struct tally descent_tally(const struct descent *d)
{
    struct tally all = { 0 };
    for (size_t i = 0; i < d->pass.members; i++) {
        all.loss += d->parts[i].tally.loss;
        all.right += d->parts[i].tally.right;
        all.squares += d->parts[i].tally.squares;
    }
    return all;
}
