/* loss.c - cross-entropies, squares, Huber's loss. */
#include "services/trainer/learners/loss.h"

#include <math.h>

static float sigmoid(float z)
{
    return z < 0 ? expf(z) / (1 + expf(z)) : 1 / (1 + expf(-z));
}

/* The first of the largest answers is the class; equal ones are common only in a dead network. */
static bool is_best(const float *row, size_t width, uint32_t label)
{
    for (size_t c = 0; c < width; c++)
        if (row[c] > row[label] || (c < label && row[c] >= row[label]))
            return false;
    return true;
}

static void softmax_row(const struct pass *p, float *row, uint32_t label, float weight, float share,
                        struct tally *sum)
{
    size_t width = p->net->outputs;
    sum->right += is_best(row, width, label);
    float right = row[label];
    float all = p->k->softmax(row, width, kernel_stride(width));
    sum->loss += (double)weight * (double)(all - right);
    row[label] -= 1;
    for (size_t c = 0; c < width; c++)
        row[c] *= weight * share;
}

static void binary_row(float *row, uint32_t label, float weight, float share, struct tally *sum)
{
    float z = label ? row[0] : -row[0]; /* how much it is for the right class */
    sum->right += label ? z > 0 : z >= 0;
    sum->loss += (double)weight * (double)(log1pf(expf(-fabsf(z))) + (z < 0 ? -z : 0));
    row[0] = (sigmoid(row[0]) - (float)label) * weight * share;
}

static void values_row(const struct pass *p, const struct truth *truth, float *row,
                       const float *values, float share, struct tally *sum)
{
    const struct network *n = p->net;
    float d = truth->huber, each = 1 / (float)n->outputs;
    for (size_t k = 0; k < n->outputs; k++) {
        float scale = n->target_scale[k];
        float e = row[k] - (scale > 0 ? (values[k] - n->target_mean[k]) / scale : 0);
        bool far = n->loss == LOSS_HUBER && fabsf(e) > d;
        float loss = far ? d * (fabsf(e) - 0.5f * d) : 0.5f * e * e;
        sum->loss += (double)(each * loss);
        sum->squares += (double)e * (double)e;
        row[k] = (far ? copysignf(d, e) : e) * each * share;
    }
}

void loss_rows(const struct pass *p, const struct truth *truth, const uint32_t *rows,
               const struct unit *u, size_t from, size_t to, struct tally *sum)
{
    const struct table *t = truth->table;
    float share = 1 / (float)u->batch;
    for (size_t i = from; i < to; i++) {
        float *row = pass_answer(p, i);
        size_t at = rows[u->at + i];
        if (!network_has_classes(p->net)) {
            values_row(p, truth, row, t->values + at * p->net->outputs, share, sum);
            continue;
        }
        float weight = truth->class_weights ? truth->class_weights[t->y[at]] : 1;
        if (p->net->loss == LOSS_BINARY)
            binary_row(row, t->y[at], weight, share, sum);
        else
            softmax_row(p, row, t->y[at], weight, share, sum);
    }
}

void loss_finish_row(const struct network *n, const struct kernels *k, float *row, float *out)
{
    if (n->loss == LOSS_BINARY) {
        out[0] = sigmoid(-row[0]);
        out[1] = sigmoid(row[0]);
        return;
    }
    if (n->loss == LOSS_SOFTMAX)
        k->softmax(row, n->outputs, kernel_stride(n->outputs));
    for (size_t i = 0; i < n->outputs; i++)
        out[i] = n->loss == LOSS_SOFTMAX ? row[i] : row[i] * n->target_scale[i] + n->target_mean[i];
}
