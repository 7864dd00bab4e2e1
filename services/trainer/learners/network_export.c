/* network_export.c - a network as operators of ONNX. */
#include "services/trainer/learners/network.h"

#include <stdio.h>

#define NAME_SIZE 32 /* of a tensor */

static const float half = 0.5f, one = 1, inverse_root_2 = 0.70710678f;

/* x/2 (1 + erf(x / sqrt 2)): opset 17 has no operator for it.  Constants are called as the graph
 * says: a column may have their name. */
static const char *export_gelu(struct onnx_graph *g, const char *x, size_t l)
{
    char name[NAME_SIZE];
    const char *by_half = onnx_graph_tensor(g, "half", &half, 0, 1);
    const char *plus_one = onnx_graph_tensor(g, "one", &one, 0, 1);
    const char *by_root = onnx_graph_tensor(g, "inverse_root_2", &inverse_root_2, 0, 1);
    snprintf(name, sizeof name, "gelu%zu_in", l);
    const char *y = onnx_graph_node(g, "Mul", name, x, by_root, NULL);
    snprintf(name, sizeof name, "gelu%zu_erf", l);
    y = onnx_graph_node(g, "Erf", name, y, NULL, NULL);
    snprintf(name, sizeof name, "gelu%zu_sum", l);
    y = onnx_graph_node(g, "Add", name, y, plus_one, NULL);
    snprintf(name, sizeof name, "gelu%zu_half", l);
    y = onnx_graph_node(g, "Mul", name, y, by_half, NULL);
    snprintf(name, sizeof name, "gelu%zu", l);
    return onnx_graph_node(g, "Mul", name, x, y, NULL);
}

static const char *export_activation(const struct network *n, struct onnx_graph *g, const char *x,
                                     size_t l)
{
    char name[NAME_SIZE];
    if (n->activation == ACTIVATION_GELU)
        return export_gelu(g, x, l);
    bool relu = n->activation == ACTIVATION_RELU;
    snprintf(name, sizeof name, "%s%zu", relu ? "relu" : "tanh", l);
    return onnx_graph_node(g, relu ? "Relu" : "Tanh", name, x, NULL, NULL);
}

/* The sigmoid of x is the second class; that of -x the first: exact even where one is tiny. */
static void export_binary(struct onnx_graph *g, const char *x, const char *output)
{
    static const int64_t axis = 1;
    const struct onnx_attr along = { "axis", ONNX_ATTR_INT, &axis, 1 };
    const char *sides[2] = { onnx_graph_node(g, "Neg", "against", x, NULL, NULL), x };
    const char *both = onnx_graph_op(g, &(struct onnx_op){ .type = "Concat",
                                                           .inputs = sides,
                                                           .inputs_count = 2,
                                                           .outputs = &(const char *){ "both" },
                                                           .outputs_count = 1,
                                                           .attrs = &along,
                                                           .attrs_count = 1 });
    onnx_graph_node(g, "Sigmoid", output, both, NULL, NULL);
}

static void export_answers(const struct network *n, struct onnx_graph *g, const char *x,
                           const char *output)
{
    if (n->loss == LOSS_SOFTMAX) {
        onnx_graph_node(g, "Softmax", output, x, NULL, NULL);
    } else if (n->loss == LOSS_BINARY) {
        export_binary(g, x, output);
    } else {
        x = onnx_graph_node(g, "Mul", "unscaled", x,
                            onnx_graph_tensor(g, "target_scale", n->target_scale, 0, n->outputs),
                            NULL);
        onnx_graph_node(g, "Add", output, x,
                        onnx_graph_tensor(g, "target_mean", n->target_mean, 0, n->outputs), NULL);
    }
}

void network_export(const struct network *n, struct onnx_graph *g, const char *input,
                    const char *output)
{
    char name[NAME_SIZE];
    const char *x = onnx_graph_node(g, "Sub", "centred", input,
                                    onnx_graph_tensor(g, "mean", n->mean, 0, n->features), NULL);
    x = onnx_graph_node(g, "Mul", "standardised", x,
                        onnx_graph_tensor(g, "scale", n->scale, 0, n->features), NULL);
    for (size_t l = 0; l < n->layers_count; l++) {
        const struct layer *layer = &n->layers[l];
        snprintf(name, sizeof name, "w%zu", l);
        const char *w = onnx_graph_tensor(g, name, layer->w, layer->in, layer->out);
        snprintf(name, sizeof name, "b%zu", l);
        const char *b = onnx_graph_tensor(g, name, layer->b, 0, layer->out);
        snprintf(name, sizeof name, "linear%zu", l);
        x = onnx_graph_node(g, "Gemm", name, x, w, b);
        if (l + 1 < n->layers_count)
            x = export_activation(n, g, x, l);
    }
    export_answers(n, g, x, output);
}
