/* mlp.c - forward, backward, update. */
#include "services/trainer/learners/mlp.h"

#include "services/trainer/random.h"

#include <cblas.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>

#define PREDICT_ROWS 256        /* at once, when no gradient is wanted */
#define BLOCK_WORK   (1u << 28) /* multiplications of one pass between two looks at cancel */
#define SPREAD_LEAST 1e-6       /* of the mean: float32 cannot tell less from rounding; constant */

/* Memory for one block of rows, made once per run. */
struct work {
    size_t rows;                /* that fit */
    float *act[MAX_LAYERS + 1]; /* act[0]: the standardised batch; act[l+1]: after layer l */
    float *delta[MAX_LAYERS];   /* gradient by the layer's output */
    float *grad_w[MAX_LAYERS], *grad_b[MAX_LAYERS];
    float *speed_w[MAX_LAYERS], *speed_b[MAX_LAYERS];
    float *ones; /* rows of 1: sums over a batch by a product */
    uint32_t *labels;
};

/* ---- life ---------------------------------------------------------------------------------------- */

static float *floats(size_t count)
{
    return mem_zalloc(count * sizeof(float));
}

void mlp_finish(struct mlp *m)
{
    for (size_t l = 0; l < m->layers_count; l++) {
        free(m->layers[l].w);
        free(m->layers[l].b);
    }
    free(m->mean);
    free(m->scale);
    *m = (struct mlp){ 0 };
}

/* The network without its numbers. */
static void mlp_shape(struct mlp *m, size_t features, size_t classes, const struct mlp_params *p)
{
    size_t in = features;
    *m = (struct mlp){ .features = features, .layers_count = p->hidden_count + 1 };
    for (size_t l = 0; l < m->layers_count; l++) {
        struct layer *layer = &m->layers[l];
        layer->in = in;
        layer->out = l < p->hidden_count ? p->hidden[l] : classes;
        layer->w = floats(layer->in * layer->out);
        layer->b = floats(layer->out);
        in = layer->out;
    }
    m->mean = floats(features);
    m->scale = floats(features);
}

void mlp_init(struct mlp *m, size_t features, size_t classes, const struct mlp_params *p)
{
    struct random r = { .state = p->seed ^ 0x6d6c70u };
    mlp_shape(m, features, classes, p);
    for (size_t l = 0; l < m->layers_count; l++) {
        struct layer *layer = &m->layers[l];
        for (size_t i = 0; i < layer->in * layer->out; i++)
            layer->w[i] = (float)(random_normal(&r) * sqrt(2.0 / (double)layer->in));
    }
    for (size_t i = 0; i < features; i++)
        m->scale[i] = 1;
}

size_t mlp_classes(const struct mlp *m)
{
    return m->layers[m->layers_count - 1].out;
}

static void work_init(struct work *k, const struct mlp *m, size_t rows, bool gradients)
{
    *k = (struct work){ .rows = rows };
    k->act[0] = floats(rows * m->features);
    k->labels = mem_alloc(rows * sizeof *k->labels);
    k->ones = floats(rows);
    for (size_t i = 0; i < rows; i++)
        k->ones[i] = 1;
    for (size_t l = 0; l < m->layers_count; l++) {
        const struct layer *layer = &m->layers[l];
        k->act[l + 1] = floats(rows * layer->out);
        if (!gradients)
            continue;
        k->delta[l] = floats(rows * layer->out);
        k->grad_w[l] = floats(layer->in * layer->out);
        k->grad_b[l] = floats(layer->out);
        k->speed_w[l] = floats(layer->in * layer->out);
        k->speed_b[l] = floats(layer->out);
    }
}

static void work_finish(struct work *k)
{
    for (size_t l = 0; l < MAX_LAYERS; l++) {
        free(k->act[l]);
        free(k->delta[l]);
        free(k->grad_w[l]);
        free(k->grad_b[l]);
        free(k->speed_w[l]);
        free(k->speed_b[l]);
    }
    free(k->act[MAX_LAYERS]);
    free(k->ones);
    free(k->labels);
}

/* ---- standardisation --------------------------------------------------------------------------- */

void mlp_standardise(struct mlp *m, const struct table *t, const uint32_t *rows, size_t count,
                     bool per_feature)
{
    size_t f = m->features;
    double *sum = mem_zalloc(f * sizeof *sum), *squares = mem_zalloc(f * sizeof *squares);
    double all = 0, all_squares = 0;
    for (size_t i = 0; i < count; i++) {
        const float *x = t->x + rows[i] * f;
        for (size_t k = 0; k < f; k++)
            sum[k] += x[k];
    }
    for (size_t k = 0; k < f; k++)
        all += sum[k];
    double mean_all = all / ((double)count * (double)f);
    for (size_t i = 0; i < count; i++) {
        const float *x = t->x + rows[i] * f;
        for (size_t k = 0; k < f; k++) {
            double d = x[k] - (per_feature ? sum[k] / (double)count : mean_all);
            squares[k] += d * d;
        }
    }
    for (size_t k = 0; k < f; k++)
        all_squares += squares[k];
    for (size_t k = 0; k < f; k++) {
        double mean = per_feature ? sum[k] / (double)count : mean_all;
        double deviation = sqrt(per_feature ? squares[k] / (double)count
                                            : all_squares / ((double)count * (double)f));
        m->mean[k] = (float)mean;
        bool constant = deviation <= SPREAD_LEAST * fabs(mean) || deviation < FLT_MIN;
        m->scale[k] = constant ? 0 : (float)(1 / deviation); /* 0: it has no say, now or served */
    }
    free(sum);
    free(squares);
}

static void standardise_row(const struct mlp *m, const float *x, float *out)
{
    for (size_t k = 0; k < m->features; k++)
        out[k] = (x[k] - m->mean[k]) * m->scale[k];
}

/* ---- forward ------------------------------------------------------------------------------------ */

/* act[l+1] = act[l] W + b, then ReLU but for the last layer. */
static void forward(const struct mlp *m, struct work *k, size_t rows)
{
    for (size_t l = 0; l < m->layers_count; l++) {
        const struct layer *layer = &m->layers[l];
        float *out = k->act[l + 1];
        for (size_t i = 0; i < rows; i++)
            memcpy(out + i * layer->out, layer->b, layer->out * sizeof *out);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)layer->out,
                    (int)layer->in, 1, k->act[l], (int)layer->in, layer->w, (int)layer->out, 1, out,
                    (int)layer->out);
        if (l + 1 == m->layers_count)
            break;
        for (size_t i = 0; i < rows * layer->out; i++)
            out[i] = out[i] < 0 ? 0 : out[i]; /* NaN stays: it is how divergence shows */
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

static void gather(const struct mlp *m, struct work *k, const struct table *t, const uint32_t *rows,
                   size_t count)
{
    for (size_t i = 0; i < count; i++) {
        standardise_row(m, t->x + rows[i] * m->features, k->act[0] + i * m->features);
        k->labels[i] = t->y[rows[i]];
    }
}

/* Runs the rows; the sum of their losses.  hits: how many have the right class. */
static double run_rows(const struct mlp *m, struct work *k, const struct table *t,
                       const uint32_t *rows, size_t count, size_t *hits)
{
    size_t classes = mlp_classes(m);
    double loss = 0;
    gather(m, k, t, rows, count);
    forward(m, k, count);
    for (size_t i = 0; i < count; i++) {
        float *p = k->act[m->layers_count] + i * classes;
        size_t best = 0;
        softmax(p, classes);
        for (size_t c = 1; c < classes; c++)
            best = p[c] > p[best] ? c : best;
        *hits += best == k->labels[i];
        loss -= log(p[k->labels[i]] < 1e-30f ? 1e-30 : (double)p[k->labels[i]]); /* NaN stays */
    }
    return loss;
}

void mlp_predict(const struct mlp *m, const float *x, size_t count, float *out)
{
    size_t classes = mlp_classes(m);
    struct work k;
    work_init(&k, m, count < PREDICT_ROWS ? count : PREDICT_ROWS, false);
    for (size_t at = 0; at < count; at += PREDICT_ROWS) {
        size_t n = count - at < PREDICT_ROWS ? count - at : PREDICT_ROWS;
        for (size_t i = 0; i < n; i++)
            standardise_row(m, x + (at + i) * m->features, k.act[0] + i * m->features);
        forward(m, &k, n);
        for (size_t i = 0; i < n; i++)
            softmax(k.act[m->layers_count] + i * classes, classes);
        memcpy(out + at * classes, k.act[m->layers_count], n * classes * sizeof *out);
    }
    work_finish(&k);
}

/* ---- backward ----------------------------------------------------------------------------------- */

/* From the probabilities in the last activation: the gradient of the mean loss of a batch, of
 * which these rows are a block.  The first block begins the sum, the others add to it. */
static void backward(const struct mlp *m, struct work *k, size_t rows, size_t batch, bool first)
{
    size_t last = m->layers_count - 1, classes = mlp_classes(m);
    float share = 1 / (float)batch, keep = first ? 0 : 1;
    for (size_t i = 0; i < rows * classes; i++)
        k->delta[last][i] = k->act[last + 1][i] * share;
    for (size_t i = 0; i < rows; i++)
        k->delta[last][i * classes + k->labels[i]] -= share;
    for (size_t l = last + 1; l-- > 0;) {
        const struct layer *layer = &m->layers[l];
        int in = (int)layer->in, out = (int)layer->out;
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, in, out, (int)rows, 1, k->act[l], in,
                    k->delta[l], out, keep, k->grad_w[l], out);
        cblas_sgemv(CblasRowMajor, CblasTrans, (int)rows, out, 1, k->delta[l], out, k->ones, 1,
                    keep, k->grad_b[l], 1);
        if (l == 0)
            break;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, in, out, 1, k->delta[l],
                    out, layer->w, out, 0, k->delta[l - 1], in);
        for (size_t i = 0; i < rows * layer->in; i++)
            if (k->act[l][i] <= 0)
                k->delta[l - 1][i] = 0;
    }
}

static void update(float *theta, float *speed, const float *gradient, size_t count, float lr,
                   float momentum, float decay)
{
    for (size_t i = 0; i < count; i++) {
        speed[i] = momentum * speed[i] - lr * (gradient[i] + decay * theta[i]);
        theta[i] += speed[i];
    }
}

double mlp_loss(const struct mlp *m, const struct table *t, const uint32_t *rows, size_t count,
                float **gradients)
{
    struct work k;
    size_t hits = 0;
    work_init(&k, m, count, true);
    double loss = run_rows(m, &k, t, rows, count, &hits) / (double)count;
    if (gradients) {
        backward(m, &k, count, count, true);
        for (size_t l = 0; l < m->layers_count; l++) {
            const struct layer *layer = &m->layers[l];
            memcpy(gradients[2 * l], k.grad_w[l], layer->in * layer->out * sizeof(float));
            memcpy(gradients[2 * l + 1], k.grad_b[l], layer->out * sizeof(float));
        }
    }
    work_finish(&k);
    return loss;
}

/* ---- training ----------------------------------------------------------------------------------- */

struct fit {
    struct mlp *m;
    struct work k;
    const struct table *t;
    const struct mlp_params *p;
    const struct learner_events *events;
    void *arg;
    uint32_t *order; /* the training rows, shuffled for each epoch */
    size_t train;
    const uint32_t *held; /* the validation rows */
    size_t validation;
    size_t block; /* rows of a batch that are computed at once */
    float lr;
};

static enum status diverged(uint32_t number, struct error *err)
{
    return error_set(err, STATUS_INVALID, "the loss diverged in epoch %u; try a smaller lr",
                     number);
}

/* One step down the gradient of the batch's mean loss.  A large batch of a large network goes in
 * blocks, so that nobody has to wait for the end of it. */
static enum status run_batch(struct fit *r, uint32_t number, size_t at, size_t count, double *loss,
                             struct error *err)
{
    struct mlp *m = r->m;
    size_t hits = 0;
    for (size_t done = 0; done < count;) {
        size_t n = count - done < r->block ? count - done : r->block;
        *loss += run_rows(m, &r->k, r->t, r->order + at + done, n, &hits);
        if (!isfinite(*loss))
            return diverged(number, err);
        backward(m, &r->k, n, count, done == 0);
        done += n;
        double rows = (double)(at + done) / (double)r->train;
        if (!r->events->go_on(r->arg, (number - 1 + rows) / r->p->epochs))
            return error_set(err, STATUS_CANCELLED, "cancelled");
    }
    for (size_t l = 0; l < m->layers_count; l++) {
        struct layer *layer = &m->layers[l];
        update(layer->w, r->k.speed_w[l], r->k.grad_w[l], layer->in * layer->out, r->lr,
               (float)r->p->momentum, (float)r->p->weight_decay);
        update(layer->b, r->k.speed_b[l], r->k.grad_b[l], layer->out, r->lr, (float)r->p->momentum,
               0);
    }
    return STATUS_OK;
}

static enum status run_epoch(struct fit *r, uint32_t number, double *loss, struct error *err)
{
    enum status st = STATUS_OK;
    *loss = 0;
    for (size_t at = 0; at < r->train && !st; at += r->p->batch) {
        size_t count = r->train - at < r->p->batch ? r->train - at : r->p->batch;
        st = run_batch(r, number, at, count, loss, err);
    }
    *loss /= (double)r->train;
    return st;
}

static enum status validate(struct fit *r, struct epoch *e, struct error *err)
{
    const uint32_t *rows = r->validation ? r->held : r->order;
    size_t count = r->validation ? r->validation : r->train, hits = 0;
    double loss = 0, done = (double)e->number / r->p->epochs;
    for (size_t at = 0; at < count; at += r->block) {
        size_t n = count - at < r->block ? count - at : r->block;
        if (at && !r->events->go_on(r->arg, done))
            return error_set(err, STATUS_CANCELLED, "cancelled");
        loss += run_rows(r->m, &r->k, r->t, rows + at, n, &hits);
    }
    e->validation_loss = loss / (double)count;
    e->validation_accuracy = (double)hits / (double)count;
    return isfinite(loss) ? STATUS_OK : diverged(e->number, err);
}

static void copy_weights(struct mlp *to, const struct mlp *from)
{
    for (size_t l = 0; l < from->layers_count; l++) {
        const struct layer *layer = &from->layers[l];
        memcpy(to->layers[l].w, layer->w, layer->in * layer->out * sizeof(float));
        memcpy(to->layers[l].b, layer->b, layer->out * sizeof(float));
    }
}

static enum status run_all(struct fit *r, struct mlp *best, struct error *err)
{
    struct random shuffle = { .state = r->p->seed ^ 0x73687566u };
    double least = INFINITY;
    uint32_t since = 0;
    for (uint32_t number = 1; number <= r->p->epochs; number++) {
        struct epoch e = { .number = number };
        random_shuffle(&shuffle, r->order, r->train);
        enum status st = run_epoch(r, number, &e.train_loss, err);
        if (!st)
            st = validate(r, &e, err);
        if (st)
            return st;
        r->lr *= (float)r->p->lr_decay;
        since++;
        if (e.validation_loss < least) {
            least = e.validation_loss;
            since = 0;
            copy_weights(best, r->m);
        }
        r->events->epoch(r->arg, &e);
        if (r->p->patience && since >= r->p->patience)
            break;
    }
    copy_weights(r->m, best);
    return STATUS_OK;
}

enum status mlp_check_size(size_t features, size_t classes, const struct mlp_params *p,
                           struct error *err)
{
    uint64_t in = features, weights = 0, units = features + classes;
    for (size_t l = 0; l < p->hidden_count; l++) {
        weights += (in + 1) * p->hidden[l];
        in = p->hidden[l];
        units += in;
    }
    weights += (in + 1) * classes;
    if (weights > MAX_WEIGHTS)
        return error_set(err, STATUS_TOO_LARGE,
                         "the network would have %llu weights; at most %u are allowed",
                         (unsigned long long)weights, MAX_WEIGHTS);
    if (units * p->batch > MAX_ACTIVATIONS)
        return error_set(err, STATUS_TOO_LARGE,
                         "a batch of %u rows is too large for a network of %llu units", p->batch,
                         (unsigned long long)units);
    return STATUS_OK;
}

static size_t block_rows(const struct mlp *m, size_t batch)
{
    size_t weights = 1; /* more than none, whatever the layers */
    for (size_t l = 0; l < m->layers_count; l++)
        weights += m->layers[l].in * m->layers[l].out;
    size_t most = BLOCK_WORK / weights ? BLOCK_WORK / weights : 1;
    return batch < most ? batch : most;
}

enum status mlp_train(struct mlp *m, const struct table *t, const uint32_t *rows, size_t train,
                      size_t validation, const struct mlp_params *p,
                      const struct learner_events *events, void *arg, struct error *err)
{
    struct mlp best;
    struct fit r = { .m = m,
                     .t = t,
                     .p = p,
                     .events = events,
                     .arg = arg,
                     .train = train,
                     .held = rows + train,
                     .validation = validation,
                     .block = block_rows(m, p->batch),
                     .lr = (float)p->lr };
    if (!train)
        return error_set(err, STATUS_INVALID, "there are no rows to train on");
    r.order = mem_alloc(train * sizeof *r.order);
    memcpy(r.order, rows, train * sizeof *r.order);
    work_init(&r.k, m, r.block, true);
    mlp_shape(&best, m->features, mlp_classes(m), p);
    enum status st = run_all(&r, &best, err);
    mlp_finish(&best);
    work_finish(&r.k);
    free(r.order);
    return st;
}
