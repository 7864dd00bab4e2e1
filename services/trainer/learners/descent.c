/* descent.c - a whole fit: epochs, validation, early stopping. */
#include "services/trainer/learners/descent_run.h"
#include "services/trainer/random.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>

#define BLOCK_WORK      (1u << 28) /* multiplications of one pass between two looks at cancel */
#define TEAM_WORK       (1u << 19) /* of a batch: with less, waiting for each other takes longer */
#define CHECKPOINT_ROWS 20000      /* of training: then a checkpoint costs a hundredth of it */
#define BLOCK_CELLS     (1u << 20) /* features of the rows that L-BFGS computes at once */
#define BLOCK_ROWS      1024u

/* As enum optimizer has them. */
#define BY_BATCH "sgd", "momentum", "nesterov", "adam", "adamw"
const char *const descent_optimizers[] = { BY_BATCH, NULL };
const char *const descent_linear_optimizers[] = { BY_BATCH, "lbfgs", NULL };
const char *const descent_schedules[] = { "constant", "step", "cosine", NULL };
const char *const descent_activations[] = { "relu", "gelu", "tanh", NULL };

void descent_default(struct descent_params *p)
{
    memset(p, 0, sizeof *p);
    p->huber = 1;
    p->epochs = 60;
    p->batch = 16;
    p->optimizer = OPTIMIZER_MOMENTUM;
    p->lr = 0.05;
    p->schedule = SCHEDULE_STEP;
    p->lr_decay = 1;
    p->lr_step = 1;
    p->momentum = 0.9;
    p->beta1 = 0.9;
    p->beta2 = 0.999;
    p->weight_decay = 1e-4;
    p->patience = 15;
}

/* Rows that are computed at once: a batch, or for L-BFGS, whose batch are all, a part of it. */
static size_t block_most(const struct descent_params *p, size_t features)
{
    size_t most = BLOCK_CELLS / (features + 1) + 1;
    if (p->optimizer != OPTIMIZER_LBFGS)
        return p->batch;
    return most < BLOCK_ROWS ? most : BLOCK_ROWS;
}

/* The weights, their speeds, moments and gradients, the best and the transposed ones, what L-BFGS
 * remembers; two blocks of inputs, activations, slopes and deltas; the rows' order. */
uint64_t descent_memory(const void *params, const struct table *t, size_t rows, uint32_t threads)
{
    const struct descent_params *p = params;
    uint64_t in = t->features, weights = 0, units = 2 * in + table_width(t);
    for (size_t i = 0; i < p->hidden_count; i++) {
        weights += (in + 1) * p->hidden[i];
        in = p->hidden[i];
        units += in;
    }
    weights += (in + 1) * table_width(t);
    uint64_t each = 6 + threads + (p->optimizer == OPTIMIZER_LBFGS ? LBFGS_VECTORS : 0);
    return (weights * each + units * block_most(p, t->features) * 3 + rows) * sizeof(float);
}

uint32_t descent_epochs(const void *params)
{
    return ((const struct descent_params *)params)->epochs;
}

/* ---- set-up ------------------------------------------------------------------------------------ */

static enum status choose_loss(const struct descent_params *p, const struct table *t,
                               enum loss *loss, struct error *err)
{
    bool classes = p->loss == LOSS_SOFTMAX || p->loss == LOSS_BINARY;
    *loss = (enum loss)p->loss;
    if (p->loss == LOSS_AUTO)
        *loss = t->outputs ? LOSS_SQUARED : LOSS_SOFTMAX;
    else if (classes == (t->outputs > 0))
        return error_set(err, STATUS_INVALID, "that loss is for %s; the target has %s",
                         classes ? "classes" : "values", classes ? "values" : "classes");
    if (p->loss == LOSS_BINARY && t->classes_count != 2)
        return error_set(err, STATUS_INVALID, "binary cross-entropy is for 2 classes, not for %zu",
                         t->classes_count);
    return STATUS_OK;
}

/* As block_most says, of the rows that there are. */
static size_t rows_together(const struct descent *d)
{
    size_t most = block_most(d->p, d->lesson->table->features);
    return most < d->lesson->train ? most : d->lesson->train;
}

static size_t block_rows(const struct network *n, size_t batch)
{
    size_t most = BLOCK_WORK / n->count ? BLOCK_WORK / n->count : 1;
    return batch < most ? batch : most;
}

static size_t team_size(const struct descent *d)
{
    size_t threads = d->lesson->threads ? d->lesson->threads : 1;
    if (d->block * d->net.count < TEAM_WORK)
        return 1;
    return threads < TEAM_MOST ? threads : TEAM_MOST;
}

/* Weights of the classes, 1 on average over the rows. */
static float *balance(const struct lesson *lesson)
{
    const struct table *t = lesson->table;
    float *weights = network_floats(t->classes_count);
    for (size_t i = 0; i < lesson->train; i++)
        weights[t->y[lesson->rows[i]]]++;
    size_t seen = 0;
    for (size_t c = 0; c < t->classes_count; c++)
        seen += weights[c] > 0;
    for (size_t c = 0; c < t->classes_count; c++)
        if (weights[c] > 0)
            weights[c] = (float)lesson->train / ((float)seen * weights[c]);
    return weights;
}

static void init_work(struct descent *d)
{
    const struct lesson *lesson = d->lesson;
    const struct descent_params *p = d->p;
    size_t together = rows_together(d);
    d->batch = p->optimizer == OPTIMIZER_LBFGS ? lesson->train : together;
    d->block = block_rows(&d->net, together);
    d->steps_each = (lesson->train + d->batch - 1) / d->batch;
    pass_init(&d->pass, &d->net, d->block, team_size(d), p->dropout, true);
    d->speed = network_floats(d->net.count);
    if (p->optimizer == OPTIMIZER_ADAM || p->optimizer == OPTIMIZER_ADAMW)
        d->second = network_floats(d->net.count);
    if (p->optimizer == OPTIMIZER_LBFGS)
        lbfgs_init(&d->lbfgs, d->net.count);
    if (p->balanced && !lesson->class_weights && network_has_classes(&d->net))
        d->balance = balance(lesson);
    d->truth = (struct truth){ .table = lesson->table,
                               .class_weights = d->balance ? d->balance : lesson->class_weights,
                               .huber = (float)p->huber };
    d->order = mem_alloc(lesson->train * sizeof *d->order);
    d->least = INFINITY;
}

static enum status init(struct descent *d, struct error *err)
{
    const struct lesson *lesson = d->lesson;
    const struct table *t = lesson->table;
    struct network_shape s = { .features = t->features,
                               .outputs = table_width(t),
                               .hidden = d->p->hidden,
                               .hidden_count = d->p->hidden_count,
                               .activation = (enum activation)d->p->activation };
    if (!lesson->train)
        return error_set(err, STATUS_INVALID, "there are no rows to train on");
    enum status st = choose_loss(d->p, t, &s.loss, err);
    if (st)
        return st;
    s.outputs = s.loss == LOSS_BINARY ? 1 : s.outputs;
    if (d->p->optimizer == OPTIMIZER_LBFGS && d->p->l1 > 0)
        return error_set(err, STATUS_INVALID, "lbfgs knows no l1; choose another optimizer");
    st = network_check(&s, (uint32_t)rows_together(d), err);
    if (st)
        return st;
    network_init(&d->net, &s, true);
    network_randomise(&d->net, lesson->seed);
    if (!network_standardise(&d->net, lesson))
        return error_set(err, STATUS_CANCELLED, "cancelled");
    network_copy_shape(&d->best, &d->net, false);
    init_work(d);
    return STATUS_OK;
}

static void finish(struct descent *d)
{
    team_destroy(d->team);
    pass_finish(&d->pass);
    network_finish(&d->net);
    network_finish(&d->best);
    free(d->speed);
    free(d->second);
    lbfgs_finish(&d->lbfgs);
    free(d->balance);
    free(d->order);
}

/* ---- epochs ------------------------------------------------------------------------------------ */

static enum status work(struct descent *d, bool training, const uint32_t *rows, size_t count,
                        struct error *err)
{
    d->training = training;
    d->rows = rows;
    d->count = count;
    d->status = STATUS_OK;
    team_run(d->team);
    if (d->status == STATUS_INVALID)
        return error_set(err, STATUS_INVALID, "the loss diverged in epoch %u; try a smaller lr",
                         d->number);
    return d->status ? error_set(err, d->status, "cancelled") : STATUS_OK;
}

/* How much of the variance the answers explain. */
static double explained(const struct descent *d, const uint32_t *rows, size_t count, double squares)
{
    const struct network *n = &d->net;
    double all = 0;
    for (size_t k = 0; k < n->outputs; k++) {
        double sum = 0, sum_squares = 0, scale = n->target_scale[k];
        for (size_t i = 0; i < count && scale > 0; i++) {
            double v = ((double)d->truth.table->values[rows[i] * n->outputs + k] -
                        (double)n->target_mean[k]) /
                       scale;
            sum += v;
            sum_squares += v * v;
        }
        all += sum_squares - sum * sum / (double)count;
    }
    return all > 0 ? 1 - squares / all : 0;
}

static double quality(const struct descent *d, const uint32_t *rows, size_t count,
                      const struct tally *t)
{
    return network_has_classes(&d->net) ? t->right / (double)count
                                        : explained(d, rows, count, t->squares);
}

/* Without rows for validation, what the epoch's own steps have seen stands for it. */
static enum status run_epoch(struct descent *d, struct epoch *e, struct error *err)
{
    const struct lesson *lesson = d->lesson;
    const uint32_t *held = lesson->rows + lesson->train;
    struct random shuffle = { .state = lesson->seed ^ 0x73687566u ^ (uint64_t)e->number << 32 };
    memcpy(d->order, lesson->rows, lesson->train * sizeof *d->order);
    if (d->batch < lesson->train)
        random_shuffle(&shuffle, d->order, lesson->train);
    enum status st = work(d, true, d->order, lesson->train, err);
    if (st)
        return st;
    struct tally t = descent_tally(d);
    e->validation_loss = e->train_loss = t.loss / (double)lesson->train;
    if (!lesson->validation) {
        e->validation_accuracy = quality(d, d->order, lesson->train, &t);
        return STATUS_OK;
    }
    st = work(d, false, held, lesson->validation, err);
    t = descent_tally(d);
    e->validation_loss = t.loss / (double)lesson->validation;
    e->validation_accuracy = quality(d, held, lesson->validation, &t);
    return st;
}

static void save(struct descent *d, size_t *rows)
{
    struct buf state = { 0 };
    *rows += d->lesson->train;
    if (!d->lesson->events->checkpoint || *rows < CHECKPOINT_ROWS || d->number == d->p->epochs)
        return;
    *rows = 0;
    checkpoint_write(d, &state);
    d->lesson->events->checkpoint(d->lesson->arg, buf_bytes(&state));
    buf_finish(&state);
}

static enum status run_all(struct descent *d, struct error *err)
{
    size_t rows = 0; /* since the last checkpoint */
    bool more = true;
    while (more && d->number < d->p->epochs && (!d->p->patience || d->since < d->p->patience)) {
        struct epoch e = { .number = ++d->number };
        enum status st = run_epoch(d, &e, err);
        if (st)
            return st;
        double value = d->lbfgs.vectors ? lbfgs_value(d, e.train_loss) : e.validation_loss;
        double judged = d->lesson->validation ? e.validation_loss : value;
        d->since++;
        if (judged < d->least) {
            d->least = judged;
            d->since = 0;
            network_copy_theta(&d->best, &d->net);
        }
        more = !d->lbfgs.vectors || lbfgs_move(d, value);
        d->lesson->events->epoch(d->lesson->arg, &e);
        save(d, &rows);
    }
    return STATUS_OK;
}

enum status descent_fit(const struct learner *l, const struct descent_params *p,
                        const struct lesson *lesson, void **model, struct error *err)
{
    struct descent *d = aligned_alloc(_Alignof(struct descent), sizeof *d);
    if (!d)
        abort();
    *d = (struct descent){ .p = p, .lesson = lesson };
    enum status st = init(d, err);
    if (!st) {
        checkpoint_describe(d, l);
        if (lesson->resume.len)
            st = checkpoint_read(d, lesson->resume, err);
    }
    if (!st) {
        openblas_set_num_threads(1); /* the team is what uses the cores */
        d->team = team_create(d->pass.members, descent_work, d);
        st = run_all(d, err);
    }
    if (!st) {
        struct descent_model *m = mem_alloc(sizeof *m);
        m->net = d->best;
        d->best = (struct network){ 0 };
        *model = m;
    }
    finish(d);
    free(d);
    return st;
}

/* ---- the model --------------------------------------------------------------------------------- */

void descent_destroy(void *model)
{
    if (model)
        network_finish(&((struct descent_model *)model)->net);
    free(model);
}

void descent_predict(const void *model, const float *x, size_t count, float *out)
{
    network_predict(&((const struct descent_model *)model)->net, x, count, out);
}

void descent_export(const void *model, struct onnx_graph *graph, const char *input,
                    const char *output)
{
    network_export(&((const struct descent_model *)model)->net, graph, input, output);
}

double descent_loss(const struct network *n, const struct descent_params *p, const struct table *t,
                    const uint32_t *rows, size_t count, float *gradient)
{
    const struct member alone = { NULL, 0, 1 };
    const struct truth truth = { .table = t, .huber = (float)p->huber };
    const struct unit u = { .count = count, .batch = count, .key = 1 };
    struct tally sum = { 0 };
    struct network padded, back;
    struct pass pass;
    network_copy_shape(&padded, n, true);
    network_copy_shape(&back, n, n->count == padded.count);
    network_copy_theta(&padded, n);
    pass_init(&pass, &padded, count, 1, p->dropout, true);
    pass_gather(&pass, &alone, t, rows, &u);
    pass_forward(&pass, &alone, &u, true);
    loss_rows(&pass, &truth, rows, &u, 0, count, &sum);
    if (gradient) {
        pass_backward(&pass, &alone, &u);
        memcpy(padded.theta, pass.gradient, padded.count * sizeof *gradient);
        network_copy_theta(&back, &padded);
        memcpy(gradient, back.theta, n->count * sizeof *gradient);
    }
    pass_finish(&pass);
    network_finish(&padded);
    network_finish(&back);
    return sum.loss / (double)count;
}
