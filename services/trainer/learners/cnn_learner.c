/* cnn_learner.c - the convolutional network as a learner: its parameters, a whole fit, its ONNX
 * graph. */
#include "services/trainer/learners/cnn_pass.h"

#include <stdio.h>
#include <stdlib.h>

#define PREDICT_IMAGES 32                /* at once; */
#define PREDICT_FLOATS ((size_t)8 << 20) /* fewer, where they need more memory than this */
#define NAME_SIZE      32                /* of a tensor */
#define FIELD(name)    offsetof(struct cnn_params, name)

static const char *const optimizers[] = { "momentum", "adam", "adamw", NULL };
static const char *const schedules[] = { "constant", "cosine", NULL };

static const struct param rows[] = {
    { "filters", PARAM_LIST, FIELD(filters), 1, CNN_MAX_FILTERS, FIELD(filters_count), NULL },
    { "hidden", PARAM_LIST, FIELD(hidden), 1, CNN_MAX_UNITS, FIELD(hidden_count), NULL },
    { "epochs", PARAM_U32, FIELD(epochs), 1, CNN_MAX_EPOCHS, 0, NULL },
    { "batch", PARAM_U32, FIELD(batch), 1, CNN_MAX_BATCH, 0, NULL },
    { "optimizer", PARAM_CHOICE, FIELD(optimizer), 0, 0, 0, optimizers },
    { "schedule", PARAM_CHOICE, FIELD(schedule), 0, 0, 0, schedules },
    { "lr", PARAM_REAL, FIELD(lr), 1e-9, 100, 0, NULL },
    { "momentum", PARAM_REAL, FIELD(momentum), 0, 0.9999, 0, NULL },
    { "weight_decay", PARAM_REAL, FIELD(weight_decay), 0, 1, 0, NULL },
    { "dropout", PARAM_REAL, FIELD(dropout), 0, 0.95, 0, NULL },
    { "shift", PARAM_U32, FIELD(shift), 0, CNN_MAX_SHIFT, 0, NULL },
    { "flip", PARAM_FLAG, FIELD(flip), 0, 0, 0, NULL },
    { "patience", PARAM_U32, FIELD(patience), 0, CNN_MAX_EPOCHS, 0, NULL },
};

/* ---- ONNX ----------------------------------------------------------------------------------- */

/* The attributes are borrowed until the graph is written. */
static const int64_t three[] = { 3, 3 }, two[] = { 2, 2 }, ones[] = { 1, 1, 1, 1 },
                     channels_last[] = { 0, 2, 3, 1 };

static const char *add_op(struct onnx_graph *g, const char *type, const char *output,
                          const char *const *inputs, size_t inputs_count,
                          const struct onnx_attr *attrs, size_t attrs_count)
{
    return onnx_graph_op(g, &(struct onnx_op){ .type = type,
                                               .inputs = inputs,
                                               .inputs_count = inputs_count,
                                               .outputs = &output,
                                               .outputs_count = 1,
                                               .attrs = attrs,
                                               .attrs_count = attrs_count });
}

static const char *number_of(char name[NAME_SIZE], const char *what, size_t l)
{
    snprintf(name, NAME_SIZE, "%s%zu", what, l);
    return name;
}

static const char *export_bias(const struct cnn *m, struct onnx_graph *g, size_t l)
{
    char name[NAME_SIZE];
    return onnx_graph_tensor(g, number_of(name, "b", l), m->theta + m->layers[l].b, 0,
                             m->layers[l].out);
}

static const char *export_conv(const struct cnn *m, struct onnx_graph *g, size_t l, const char *x)
{
    static const struct onnx_attr around[] = { { "kernel_shape", ONNX_ATTR_INTS, three, 2 },
                                               { "pads", ONNX_ATTR_INTS, ones, 4 } };
    static const struct onnx_attr halves[] = { { "kernel_shape", ONNX_ATTR_INTS, two, 2 },
                                               { "strides", ONNX_ATTR_INTS, two, 2 } };
    const struct cnn_layer *layer = &m->layers[l];
    const int64_t dims[] = { (int64_t)layer->out, (int64_t)layer->in, 3, 3 };
    char name[NAME_SIZE];
    const char *w = onnx_graph_floats(g, number_of(name, "w", l), m->theta + layer->w, dims, 4);
    const char *const inputs[] = { x, w, export_bias(m, g, l) };
    x = add_op(g, "Conv", number_of(name, "conv", l), inputs, 3, around, 2);
    x = onnx_graph_node(g, "Relu", number_of(name, "relu", l), x, NULL, NULL);
    return add_op(g, "MaxPool", number_of(name, "pool", l), &x, 1, halves, 2);
}

/* The dense layers' weights are in the order that training has: channels last. */
static const char *export_flat(struct onnx_graph *g, const char *x)
{
    static const struct onnx_attr order = { "perm", ONNX_ATTR_INTS, channels_last, 4 };
    x = add_op(g, "Transpose", "channels_last", &x, 1, &order, 1);
    return onnx_graph_node(g, "Flatten", "flat", x, NULL, NULL);
}

void cnn_export(const struct cnn *m, struct onnx_graph *g, const char *input, const char *output)
{
    char name[NAME_SIZE];
    const char *x = onnx_graph_node(g, "Reshape", "images", input,
                                    onnx_graph_ints(g, "image_shape", m->shape, 4), NULL);
    x = onnx_graph_node(g, "Sub", "centred", x, onnx_graph_tensor(g, "mean", &m->mean, 0, 1), NULL);
    x = onnx_graph_node(g, "Mul", "standardised", x, onnx_graph_tensor(g, "scale", &m->scale, 0, 1),
                        NULL);
    for (size_t l = 0; l < m->convs_count; l++)
        x = export_conv(m, g, l, x);
    x = export_flat(g, x);
    for (size_t l = m->convs_count; l < m->layers_count; l++) {
        const struct cnn_layer *layer = &m->layers[l];
        const char *w = onnx_graph_tensor(g, number_of(name, "w", l), m->theta + layer->w,
                                          layer->in, layer->out);
        const char *b = export_bias(m, g, l);
        x = onnx_graph_node(g, "Gemm", number_of(name, "linear", l), x, w, b);
        if (l + 1 < m->layers_count)
            x = onnx_graph_node(g, "Relu", number_of(name, "relu", l), x, NULL, NULL);
    }
    onnx_graph_node(g, "Softmax", output, x, NULL, NULL);
}

/* ---- the interface -------------------------------------------------------------------------- */

/* A network that answers. */
struct model {
    struct cnn net;
    struct cnn_pass *pass;
};

static void defaults(void *params, const struct table *t)
{
    (void)t;
    cnn_default(params);
}

static uint32_t epochs(const void *params)
{
    return ((const struct cnn_params *)params)->epochs;
}

/* cnn.h says what the weights need; each thread has a gradient and images of its own. */
static uint64_t memory(const void *params, const struct table *t, size_t count, uint32_t threads)
{
    const struct cnn_params *p = params;
    struct cnn m;
    struct error err;
    (void)count;
    if (cnn_shape(&m, t, p, &err))
        return 0; /* fit will say why */
    uint64_t images = (uint64_t)p->batch + 2 * threads;
    uint64_t floats = m.weights * (6 + threads) + cnn_row_floats(&m) * images;
    cnn_finish(&m);
    return floats * sizeof(float);
}

static void destroy(void *model)
{
    struct model *m = model;
    if (!m)
        return;
    cnn_pass_destroy(m->pass);
    cnn_finish(&m->net);
    free(m);
}

static size_t predict_images(const struct cnn *m)
{
    size_t images = PREDICT_FLOATS / cnn_row_floats(m);
    return images > PREDICT_IMAGES ? PREDICT_IMAGES : images ? images : 1;
}

static enum status fit(const void *params, const struct lesson *lesson, void **model,
                       struct error *err)
{
    struct cnn net;
    if (!lesson->train)
        return error_set(err, STATUS_INVALID, "there are no rows to train on");
    enum status st = cnn_shape(&net, lesson->table, params, err);
    if (st)
        return st;
    struct model *m = mem_zalloc(sizeof *m);
    m->net = net;
    cnn_init(&m->net, lesson->seed);
    st = cnn_standardise(&m->net, lesson) ? cnn_train(&m->net, params, lesson, err)
                                          : error_set(err, STATUS_CANCELLED, "cancelled");
    if (st) {
        destroy(m);
        return st;
    }
    m->pass = cnn_pass_create(&m->net, predict_images(&m->net), false);
    cnn_pass_load(m->pass);
    *model = m;
    return STATUS_OK;
}

static void predict(const void *model, const float *x, size_t count, float *out)
{
    const struct model *m = model;
    size_t step = cnn_pass_images(m->pass);
    for (size_t at = 0; at < count; at += step)
        cnn_pass_predict(m->pass, x + at * m->net.features, count - at < step ? count - at : step,
                         out + at * m->net.classes);
}

static void export(const void *model, struct onnx_graph *graph, const char *input,
                   const char *output)
{
    cnn_export(&((const struct model *)model)->net, graph, input, output);
}

const struct learner learner_cnn = {
    .name = "cnn",
    .tasks = LEARNS_CLASSES | LEARNS_ONLY_IMAGES,
    .params = rows,
    .params_count = sizeof rows / sizeof *rows,
    .params_size = sizeof(struct cnn_params),
    .epochs = epochs,
    .memory = memory,
    .defaults = defaults,
    .fit = fit,
    .predict = predict,
    .export = export,
    .destroy = destroy,
};
