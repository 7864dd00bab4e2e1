/* ensemble_onnx.c - trees as one TreeEnsembleRegressor (ai.onnx.ml) and the nodes of its end.
 *
 * BRANCH_LT is XGBoost's own comparison in float32, so every row comes to the same leaves; only
 * the order of the sum may differ.
 */
#include "services/trainer/learners/ensemble.h"

#include <math.h>

/* The attributes' arrays. */
struct attributes {
    int64_t *tree, *node, *feature, *yes, *no, *missing_yes;
    float *threshold;
    const char **mode;
    int64_t *weight_tree, *weight_node, *weight_sum;
    float *weight;
    size_t weights;
};

static void prepare(const struct ensemble *e, struct onnx_graph *g, struct attributes *a)
{
    size_t n = e->nodes_count, w = e->weights_count;
    *a = (struct attributes){ .tree = onnx_graph_keep(g, n * sizeof *a->tree),
                              .node = onnx_graph_keep(g, n * sizeof *a->node),
                              .feature = onnx_graph_keep(g, n * sizeof *a->feature),
                              .yes = onnx_graph_keep(g, n * sizeof *a->yes),
                              .no = onnx_graph_keep(g, n * sizeof *a->no),
                              .missing_yes = onnx_graph_keep(g, n * sizeof *a->missing_yes),
                              .threshold = onnx_graph_keep(g, n * sizeof *a->threshold),
                              .mode = onnx_graph_keep(g, n * sizeof *a->mode),
                              .weight_tree = onnx_graph_keep(g, w * sizeof *a->weight_tree),
                              .weight_node = onnx_graph_keep(g, w * sizeof *a->weight_node),
                              .weight_sum = onnx_graph_keep(g, w * sizeof *a->weight_sum),
                              .weight = onnx_graph_keep(g, w * sizeof *a->weight) };
}

/* Zeros need not be written, but each leaf has one weight at least, and the first tree all: ONNX
 * Runtime forgets the base of a sum that no tree adds to. */
static void add_weights(const struct ensemble *e, size_t tree, size_t node, struct attributes *a)
{
    const struct tree *t = &e->trees[tree];
    const float *weights = e->weights + e->nodes[t->root + node].right;
    size_t before = a->weights;
    for (size_t k = 0; k < t->width; k++) {
        bool needed = tree == 0 || (k + 1 == t->width && a->weights == before);
        if (fpclassify(weights[k]) == FP_ZERO && !needed)
            continue;
        a->weight_tree[a->weights] = (int64_t)tree;
        a->weight_node[a->weights] = (int64_t)node;
        a->weight_sum[a->weights] = (int64_t)(t->first + k);
        a->weight[a->weights++] = weights[k];
    }
}

/* Nodes are numbered within their tree. */
static void add_tree(const struct ensemble *e, size_t tree, size_t end, struct attributes *a)
{
    const struct tree *t = &e->trees[tree];
    for (size_t i = t->root; i < end; i++) {
        const struct tree_node *n = &e->nodes[i];
        a->tree[i] = (int64_t)tree;
        a->node[i] = (int64_t)(i - t->root);
        a->mode[i] = n->left ? "BRANCH_LT" : "LEAF";
        if (!n->left) {
            add_weights(e, tree, i - t->root, a);
            continue;
        }
        a->feature[i] = n->feature;
        a->threshold[i] = n->threshold;
        a->yes[i] = n->left - t->root;
        a->no[i] = n->right - t->root;
        a->missing_yes[i] = n->missing_left;
    }
}

static const char *add_trees(const struct ensemble *e, struct onnx_graph *g, const char *input,
                             const char *output)
{
    struct attributes a;
    const int64_t sums = (int64_t)e->sums;
    size_t n = e->nodes_count;
    prepare(e, g, &a);
    for (size_t i = 0; i < e->trees_count; i++)
        add_tree(e, i, i + 1 < e->trees_count ? e->trees[i + 1].root : n, &a);
    const struct onnx_attr attrs[] = {
        { "aggregate_function", ONNX_ATTR_STRING, "SUM", 1 },
        { "post_transform", ONNX_ATTR_STRING, "NONE", 1 },
        { "n_targets", ONNX_ATTR_INT, &sums, 1 },
        { "base_values", ONNX_ATTR_FLOATS, e->base, e->sums },
        { "nodes_treeids", ONNX_ATTR_INTS, a.tree, n },
        { "nodes_nodeids", ONNX_ATTR_INTS, a.node, n },
        { "nodes_featureids", ONNX_ATTR_INTS, a.feature, n },
        { "nodes_values", ONNX_ATTR_FLOATS, a.threshold, n },
        { "nodes_modes", ONNX_ATTR_STRINGS, a.mode, n },
        { "nodes_truenodeids", ONNX_ATTR_INTS, a.yes, n },
        { "nodes_falsenodeids", ONNX_ATTR_INTS, a.no, n },
        { "nodes_missing_value_tracks_true", ONNX_ATTR_INTS, a.missing_yes, n },
        { "target_treeids", ONNX_ATTR_INTS, a.weight_tree, a.weights },
        { "target_nodeids", ONNX_ATTR_INTS, a.weight_node, a.weights },
        { "target_ids", ONNX_ATTR_INTS, a.weight_sum, a.weights },
        { "target_weights", ONNX_ATTR_FLOATS, a.weight, a.weights },
    };
    return onnx_graph_op(g, &(struct onnx_op){ .domain = ONNX_ML,
                                               .type = "TreeEnsembleRegressor",
                                               .inputs = &input,
                                               .inputs_count = 1,
                                               .outputs = &output,
                                               .outputs_count = 1,
                                               .attrs = attrs,
                                               .attrs_count = sizeof attrs / sizeof *attrs });
}

static void concat(struct onnx_graph *g, const char *output, const char *first, const char *second)
{
    static const int64_t axis = 1;
    const char *const inputs[] = { first, second };
    onnx_graph_op(
        g, &(struct onnx_op){ .type = "Concat",
                              .inputs = inputs,
                              .inputs_count = 2,
                              .outputs = &output,
                              .outputs_count = 1,
                              .attrs = &(struct onnx_attr){ "axis", ONNX_ATTR_INT, &axis, 1 },
                              .attrs_count = 1 });
}

void ensemble_export(const struct ensemble *e, struct onnx_graph *g, const char *input,
                     const char *output)
{
    if (e->end == ENSEMBLE_SUM) {
        add_trees(e, g, input, output);
        return;
    }
    const char *sum = add_trees(e, g, input, "trees");
    if (e->end == ENSEMBLE_SOFTMAX) {
        onnx_graph_node(g, "Softmax", output, sum, NULL, NULL);
    } else if (e->end == ENSEMBLE_SIGMOID) {
        const char *no = onnx_graph_node(g, "Neg", "negative", sum, NULL, NULL);
        no = onnx_graph_node(g, "Sigmoid", "probability0", no, NULL, NULL);
        concat(g, output, no, onnx_graph_node(g, "Sigmoid", "probability1", sum, NULL, NULL));
    } else {
        sum = onnx_graph_node(g, "Mul", "scaled", sum,
                              onnx_graph_tensor(g, "scale", e->scale, 0, e->sums), NULL);
        onnx_graph_node(g, "Add", output, sum, onnx_graph_tensor(g, "mean", e->mean, 0, e->sums),
                        NULL);
    }
}
