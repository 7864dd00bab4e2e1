/* mlp_learner.c - the perceptron as a learner: its parameters, a whole fit, its ONNX graph. */
#include "services/trainer/learners/mlp.h"

#include <stdio.h>
#include <stdlib.h>

#define NAME_SIZE   32 /* of a tensor */
#define FIELD(name) offsetof(struct mlp_params, name)

static const struct param rows[] = {
    { "hidden", PARAM_LIST, FIELD(hidden), 1, MAX_HIDDEN_UNITS, FIELD(hidden_count), NULL },
    { "epochs", PARAM_U32, FIELD(epochs), 1, MAX_EPOCHS, 0, NULL },
    { "batch", PARAM_U32, FIELD(batch), 1, MAX_BATCH, 0, NULL },
    { "lr", PARAM_REAL, FIELD(lr), 1e-9, 100, 0, NULL },
    { "lr_decay", PARAM_REAL, FIELD(lr_decay), 1e-3, 1, 0, NULL },
    { "momentum", PARAM_REAL, FIELD(momentum), 0, 0.9999, 0, NULL },
    { "weight_decay", PARAM_REAL, FIELD(weight_decay), 0, 1, 0, NULL },
    { "patience", PARAM_U32, FIELD(patience), 0, MAX_EPOCHS, 0, NULL },
};

void mlp_default(struct mlp_params *p, bool images)
{
    *p = (struct mlp_params){ .hidden = { images ? 256 : 64, 128 },
                              .hidden_count = images ? 2 : 1,
                              .epochs = images ? 10 : 60,
                              .batch = images ? 128 : 16,
                              .lr = 0.05,
                              .lr_decay = images ? 0.8 : 1,
                              .momentum = 0.9,
                              .weight_decay = 1e-4,
                              .patience = images ? 5 : 15 };
}

void mlp_export(const struct mlp *m, struct onnx_graph *g, const char *input, const char *output)
{
    char name[NAME_SIZE];
    const char *x = onnx_graph_node(g, "Sub", "centred", input,
                                    onnx_graph_tensor(g, "mean", m->mean, 0, m->features), NULL);
    x = onnx_graph_node(g, "Mul", "standardised", x,
                        onnx_graph_tensor(g, "scale", m->scale, 0, m->features), NULL);
    for (size_t l = 0; l < m->layers_count; l++) {
        const struct layer *layer = &m->layers[l];
        snprintf(name, sizeof name, "w%zu", l);
        const char *w = onnx_graph_tensor(g, name, layer->w, layer->in, layer->out);
        snprintf(name, sizeof name, "b%zu", l);
        const char *b = onnx_graph_tensor(g, name, layer->b, 0, layer->out);
        snprintf(name, sizeof name, "linear%zu", l);
        x = onnx_graph_node(g, "Gemm", name, x, w, b);
        if (l + 1 == m->layers_count)
            break;
        snprintf(name, sizeof name, "relu%zu", l);
        x = onnx_graph_node(g, "Relu", name, x, NULL, NULL);
    }
    onnx_graph_node(g, "Softmax", output, x, NULL, NULL);
}

/* ---- the interface ------------------------------------------------------------------------------ */

static void defaults(void *params, const struct table *t)
{
    mlp_default(params, t->image.channels > 0);
}

static uint32_t epochs(const void *params)
{
    return ((const struct mlp_params *)params)->epochs;
}

static void destroy(void *model)
{
    if (model)
        mlp_finish(model);
    free(model);
}

static enum status fit(const void *params, const struct lesson *lesson, void **model,
                       struct error *err)
{
    struct mlp_params p = *(const struct mlp_params *)params;
    const struct table *t = lesson->table;
    p.seed = lesson->seed;
    p.batch = p.batch < lesson->train ? p.batch : (uint32_t)lesson->train;
    enum status st = mlp_check_size(t->features, t->classes_count, &p, err);
    if (st)
        return st;
    struct mlp *m = mem_alloc(sizeof *m);
    mlp_init(m, t->features, t->classes_count, &p);
    mlp_standardise(m, t, lesson->rows, lesson->train, !t->image.channels);
    st = mlp_train(m, t, lesson->rows, lesson->train, lesson->validation, &p, lesson->events,
                   lesson->arg, err);
    if (st)
        destroy(m);
    else
        *model = m;
    return st;
}

static void predict(const void *model, const float *x, size_t count, float *out)
{
    mlp_predict(model, x, count, out);
}

static void export(const void *model, struct onnx_graph *graph, const char *input,
                   const char *output)
{
    mlp_export(model, graph, input, output);
}

const struct learner learner_mlp = {
    .name = "mlp",
    .tasks = LEARNS_CLASSES,
    .params = rows,
    .params_count = sizeof rows / sizeof *rows,
    .params_size = sizeof(struct mlp_params),
    .epochs = epochs,
    .defaults = defaults,
    .fit = fit,
    .predict = predict,
    .export = export,
    .destroy = destroy,
};
