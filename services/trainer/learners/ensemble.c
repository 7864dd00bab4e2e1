/* ensemble.c - what trees answer. */
#include "services/trainer/learners/ensemble.h"

#include <math.h>
#include <stdlib.h>

#define BLOCK_ROWS 64 /* that go through a tree together while it is in the cache */

void ensemble_init(struct ensemble *e, size_t features, size_t sums, enum ensemble_end end)
{
    *e = (struct ensemble){ .features = features, .sums = sums, .end = end };
    e->base = mem_zalloc(sums * sizeof *e->base);
    e->mean = mem_zalloc(sums * sizeof *e->mean);
    e->scale = mem_alloc(sums * sizeof *e->scale);
    for (size_t i = 0; i < sums; i++)
        e->scale[i] = 1;
}

void ensemble_finish(struct ensemble *e)
{
    free(e->trees);
    free(e->nodes);
    free(e->weights);
    free(e->base);
    free(e->scale);
    free(e->mean);
    *e = (struct ensemble){ 0 };
}

size_t ensemble_width(const struct ensemble *e)
{
    return e->end == ENSEMBLE_SIGMOID ? 2 : e->sums;
}

void ensemble_cut(struct ensemble *e, size_t count)
{
    if (count >= e->trees_count)
        return;
    size_t leaf = e->nodes_count = e->trees[count].root;
    while (e->nodes[leaf].left) /* a tree's first leaf has its first weights */
        leaf++;
    e->weights_count = e->nodes[leaf].right;
    e->trees_count = count;
}

/* The leaf that a row comes to. */
static const struct tree_node *leaf_of(const struct ensemble *e, const struct tree *t,
                                       const float *x)
{
    const struct tree_node *n = &e->nodes[t->root];
    while (n->left) {
        float value = x[n->feature];
        bool left = isnan(value) ? n->missing_left != 0 : value < n->threshold;
        n = &e->nodes[left ? n->left : n->right];
    }
    return n;
}

static void add_block(const struct ensemble *e, size_t from, const float *const *x, size_t count,
                      float *sums)
{
    for (size_t i = from; i < e->trees_count; i++) {
        const struct tree *t = &e->trees[i];
        for (size_t r = 0; r < count; r++) {
            const float *weights = e->weights + leaf_of(e, t, x[r])->right;
            float *sum = sums + r * e->sums + t->first;
            for (size_t k = 0; k < t->width; k++)
                sum[k] += weights[k];
        }
    }
}

void ensemble_add_sums(const struct ensemble *e, size_t from, const float *x, const uint32_t *rows,
                       size_t count, float *sums)
{
    const float *block[BLOCK_ROWS];
    for (size_t at = 0; at < count; at += BLOCK_ROWS) {
        size_t n = count - at < BLOCK_ROWS ? count - at : BLOCK_ROWS;
        for (size_t r = 0; r < n; r++)
            block[r] = x + (rows ? rows[at + r] : at + r) * e->features;
        add_block(e, from, block, n, sums + at * e->sums);
    }
}

static void softmax(float *z, size_t n)
{
    float top = z[0], sum = 0;
    for (size_t i = 1; i < n; i++)
        top = fmaxf(top, z[i]);
    for (size_t i = 0; i < n; i++)
        sum += z[i] = expf(z[i] - top);
    for (size_t i = 0; i < n; i++)
        z[i] /= sum;
}

/* From the sums of a row to its answer. */
static void end_row(const struct ensemble *e, const float *sums, float *out)
{
    if (e->end == ENSEMBLE_SIGMOID) {
        float z = sums[0];
        out[0] = 1 / (1 + expf(z));
        out[1] = 1 / (1 + expf(-z));
        return;
    }
    for (size_t k = 0; k < e->sums; k++)
        out[k] = sums[k] * e->scale[k] + e->mean[k];
    if (e->end == ENSEMBLE_SOFTMAX)
        softmax(out, e->sums);
}

void ensemble_predict(const struct ensemble *e, const float *x, size_t count, float *out)
{
    size_t width = ensemble_width(e);
    float *sums = mem_alloc(BLOCK_ROWS * e->sums * sizeof *sums);
    for (size_t at = 0; at < count; at += BLOCK_ROWS) {
        size_t n = count - at < BLOCK_ROWS ? count - at : BLOCK_ROWS;
        for (size_t r = 0; r < n; r++)
            memcpy(sums + r * e->sums, e->base, e->sums * sizeof *sums);
        ensemble_add_sums(e, 0, x + at * e->features, NULL, n, sums);
        for (size_t r = 0; r < n; r++)
            end_row(e, sums + r * e->sums, out + (at + r) * width);
    }
    free(sums);
}

/* ---- checkpoints -------------------------------------------------------------------------------- */

void ensemble_save(const struct ensemble *e, struct buf *out)
{
    const uint64_t counts[] = { e->trees_count, e->nodes_count, e->weights_count };
    buf_append(out, counts, sizeof counts);
    buf_append(out, e->trees, e->trees_count * sizeof *e->trees);
    buf_append(out, e->nodes, e->nodes_count * sizeof *e->nodes);
    buf_append(out, e->weights, e->weights_count * sizeof *e->weights);
}

static void *take(struct bytes *from, size_t len)
{
    void *copy = mem_alloc(len ? len : 1);
    if (len)
        memcpy(copy, from->data, len);
    *from = bytes_of((const char *)from->data + len, from->len - len);
    return copy;
}

static bool node_is_sound(const struct ensemble *e, const struct tree *t, size_t i, size_t end)
{
    const struct tree_node *n = &e->nodes[i];
    if (!n->left)
        return n->right <= e->weights_count && e->weights_count - n->right >= t->width;
    return n->left > i && n->left < end && n->right > i && n->right < end &&
           n->feature < e->features;
}

/* Children come after their parents, within the tree: so every walk ends. */
static bool is_sound(const struct ensemble *e)
{
    for (size_t k = 0; k < e->trees_count; k++) {
        const struct tree *t = &e->trees[k];
        size_t end = k + 1 < e->trees_count ? e->trees[k + 1].root : e->nodes_count;
        if (t->root >= end || end > e->nodes_count || !t->width || t->width > e->sums ||
            t->first > e->sums - t->width)
            return false;
        for (size_t i = t->root; i < end; i++)
            if (!node_is_sound(e, t, i, end))
                return false;
    }
    return true;
}

enum status ensemble_load(struct ensemble *e, struct bytes from)
{
    uint64_t counts[3];
    if (from.len < sizeof counts)
        return STATUS_INVALID;
    memcpy(counts, from.data, sizeof counts);
    from = bytes_of((const char *)from.data + sizeof counts, from.len - sizeof counts);
    if (counts[0] > counts[1] || counts[1] > ENSEMBLE_NODES_MAX ||
        counts[2] > ENSEMBLE_WEIGHTS_MAX ||
        from.len != counts[0] * sizeof *e->trees + counts[1] * sizeof *e->nodes +
                        counts[2] * sizeof *e->weights)
        return STATUS_INVALID;
    e->trees_count = counts[0];
    e->nodes_count = counts[1];
    e->weights_count = counts[2];
    e->trees = take(&from, e->trees_count * sizeof *e->trees);
    e->nodes = take(&from, e->nodes_count * sizeof *e->nodes);
    e->weights = take(&from, e->weights_count * sizeof *e->weights);
    return is_sound(e) ? STATUS_OK : STATUS_INVALID;
}
