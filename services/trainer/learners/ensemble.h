/* ensemble.h - trees as they answer: read from XGBoost's JSON, and written as ONNX.
 *
 * The answer of a row is the base, plus the weights of the leaf that it comes to in each tree, in
 * the order of the trees; then the ensemble's end.  Inner nodes send x < threshold to the left, in
 * float32 as XGBoost does.
 */
#ifndef SERVICES_TRAINER_ENSEMBLE_H
#define SERVICES_TRAINER_ENSEMBLE_H

#include "services/trainer/onnx_graph.h"

#define ENSEMBLE_NODES_MAX \
    (4u << 20) /* of all trees: 80 MiB, and some 400 MiB more while they are exported */
#define ENSEMBLE_WEIGHTS_MAX (16u << 20) /* of all leaves */

enum ensemble_end {
    ENSEMBLE_SUM,     /* the sum is the answer */
    ENSEMBLE_SIGMOID, /* of one sum: the probabilities of two classes */
    ENSEMBLE_SOFTMAX,
    ENSEMBLE_VALUES, /* sum * scale + mean, for each output */
};

struct tree_node {
    float threshold;
    uint32_t feature;
    uint32_t left;  /* 0: a leaf; a root is nobody's child */
    uint32_t right; /* of a leaf: the first of its weights */
    uint32_t missing_left;
};

struct tree {
    uint32_t root;
    uint32_t first; /* the sum that the first weight of a leaf is added to */
    uint32_t width; /* weights of a leaf */
};

struct ensemble {
    size_t features;
    size_t sums; /* numbers that are summed up for a row */
    enum ensemble_end end;
    struct tree *trees;
    size_t trees_count;
    struct tree_node *nodes;
    size_t nodes_count;
    float *weights;
    size_t weights_count;
    float *base;  /* sums */
    float *scale; /* sums; of ENSEMBLE_VALUES */
    float *mean;
};

/* base 0, scale 1 and mean 0. */
void ensemble_init(struct ensemble *e, size_t features, size_t sums, enum ensemble_end end);
void ensemble_finish(struct ensemble *e);        /* zeroed is fine */
size_t ensemble_width(const struct ensemble *e); /* numbers in an answer */

/* Adds the first tree of a model that XGBoost wrote, for the sums from number `first` on; weights are
 * multiplied by `factor`.  TOO_LARGE: more nodes or weights than the limits above.  INVALID: that is
 * no such model. */
enum status ensemble_add_json(struct ensemble *e, struct bytes json, size_t first, float factor,
                              struct error *err) MUST_CHECK;

/* Keeps the first `count` trees. */
void ensemble_cut(struct ensemble *e, size_t count);

/* Adds to `sums` (count x e->sums) what the trees from number `from` on say of these rows of x;
 * rows NULL: the first `count`. */
void ensemble_add_sums(const struct ensemble *e, size_t from, const float *x, const uint32_t *rows,
                       size_t count, float *sums);
/* The answers for `count` rows of x (count x features), into out (count x ensemble_width). */
void ensemble_predict(const struct ensemble *e, const float *x, size_t count, float *out);
/* Adds the same computation to the graph. */
void ensemble_export(const struct ensemble *e, struct onnx_graph *g, const char *input,
                     const char *output);

/* The trees as bytes, for checkpoints of this program on this machine. */
void ensemble_save(const struct ensemble *e, struct buf *out);
/* Into an ensemble without trees.  INVALID: damaged. */
enum status ensemble_load(struct ensemble *e, struct bytes from) MUST_CHECK;

#endif
