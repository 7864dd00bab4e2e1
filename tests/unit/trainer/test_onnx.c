/* test_onnx.c - the exported file: its parts as protobuf-c reads them back, and its answers as
 * ONNX Runtime gives them (compare_onnx.py). */
#include "services/trainer/learners/descent.h"
#include "tests/unit/trainer/fixture.h"

#include "onnx.pb-c.h"

#include <criterion/parameterized.h>

static struct fixture f;
static struct table t;
static struct network m;
static enum activation activation;
static enum loss loss;
static struct buf file;
static Onnx__ModelProto *model;

static void init(void)
{
    fixture_init(&f);
    activation = ACTIVATION_RELU;
    loss = LOSS_SOFTMAX;
}

static void finish(void)
{
    onnx__model_proto__free_unpacked(model, NULL);
    model = NULL;
    buf_finish(&file);
    network_finish(&m);
    table_finish(&t);
    fixture_finish(&f);
}

TestSuite(onnx, .init = init, .fini = finish);

static void write_file(const char *description)
{
    struct onnx_graph *graph = onnx_graph_create();
    const struct onnx_about about = { .name = "mlp",
                                      .description = description,
                                      .notes = { { "one", "Grün \"1\"" }, { "two", "" } },
                                      .notes_count = 2 };
    onnx_graph_input(graph, ONNX_INPUT, ONNX_FLOAT, m.features);
    const char *output = t.outputs ? ONNX_VALUES : ONNX_PROBABILITIES;
    onnx_graph_output(graph, output, ONNX_FLOAT, table_width(&t));
    network_export(&m, graph, ONNX_INPUT, output);
    onnx_graph_write(graph, &about, &file);
    onnx_graph_destroy(graph);
}

static void make_network(size_t hidden_count, size_t features)
{
    uint32_t hidden[MAX_HIDDEN];
    for (size_t i = 0; i < hidden_count; i++)
        hidden[i] = (uint32_t)(9 + i);
    const struct network_shape shape = { .features = features,
                                         .outputs = loss == LOSS_BINARY ? 1 : table_width(&t),
                                         .hidden = hidden,
                                         .hidden_count = hidden_count,
                                         .activation = activation,
                                         .loss = loss };
    network_init(&m, &shape, false);
    network_randomise(&m, 0);
}

/* Values beside the classes: outputs of them. */
static void add_values(size_t outputs)
{
    t.outputs = outputs;
    t.values = mem_alloc(t.rows * outputs * sizeof *t.values);
    for (size_t i = 0; i < t.rows * outputs; i++)
        t.values[i] = 1000 + 10 * (float)(i % 7);
}

/* A network with random weights, standardised on clouds, and its file. */
static void export_network(size_t hidden_count, size_t features, size_t classes)
{
    uint32_t rows[64];
    fixture_clouds(&t, 64, features, classes, 2);
    if (loss >= LOSS_SQUARED)
        add_values(classes);
    for (uint32_t i = 0; i < 64; i++)
        rows[i] = i;
    make_network(hidden_count, features);
    cr_assert(network_standardise(&m, &(struct lesson){ .table = &t, .rows = rows, .train = 64 }));
    for (size_t l = 0; l < m.layers_count; l++)
        for (size_t i = 0; i < m.layers[l].out; i++)
            m.layers[l].b[i] = 0.1f * (float)i - 0.2f;
    write_file("a test's network");
    model = onnx__model_proto__unpack(NULL, file.len, file.data);
    cr_assert_not_null(model);
}

static const Onnx__TensorProto *tensor(const char *name)
{
    for (size_t i = 0; i < model->graph->n_initializer; i++)
        if (strcmp(model->graph->initializer[i]->name, name) == 0)
            return model->graph->initializer[i];
    cr_assert(false, "no tensor %s", name);
    return NULL;
}

static void assert_value(const Onnx__ValueInfoProto *v, const char *name, int64_t width)
{
    cr_assert_str_eq(v->name, name);
    const Onnx__TypeProto__Tensor *type = v->type->tensor_type;
    cr_assert_eq(type->elem_type, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT);
    cr_assert_eq(type->shape->n_dim, 2);
    cr_assert_str_eq(type->shape->dim[0]->dim_param, "N");
    cr_assert_eq(type->shape->dim[1]->dim_value, width);
}

Test(onnx, says_what_goes_in_and_out)
{
    export_network(2, 5, 3);
    cr_assert_eq(model->ir_version, 8);
    cr_assert_eq(model->n_opset_import, 2);
    cr_assert_str_eq(model->opset_import[0]->domain, "");
    cr_assert_eq(model->opset_import[0]->version, 17);
    cr_assert_eq(model->graph->n_input, 1);
    cr_assert_eq(model->graph->n_output, 1);
    assert_value(model->graph->input[0], "input", 5);
    assert_value(model->graph->output[0], "probabilities", 3);
}

static void assert_operators(const char *const *names, size_t count)
{
    cr_assert_eq(model->graph->n_node, count);
    for (size_t i = 0; i < count; i++) {
        const Onnx__NodeProto *n = model->graph->node[i];
        cr_assert_str_eq(n->op_type, names[i]);
        cr_assert_str_eq(n->input[0], i ? model->graph->node[i - 1]->output[0] : "input");
    }
    cr_assert_str_eq(model->graph->node[count - 1]->output[0], "probabilities");
}

Test(onnx, has_the_standardisation_inside)
{
    export_network(2, 5, 3);
    assert_operators(
        (const char *const[]){ "Sub", "Mul", "Gemm", "Relu", "Gemm", "Relu", "Gemm", "Softmax" },
        8);
    const Onnx__TensorProto *mean = tensor(model->graph->node[0]->input[1]);
    const Onnx__TensorProto *scale = tensor(model->graph->node[1]->input[1]);
    cr_assert_eq(mean->raw_data.len, 5 * sizeof(float));
    cr_assert_arr_eq(mean->raw_data.data, m.mean, 5 * sizeof(float));
    cr_assert_arr_eq(scale->raw_data.data, m.scale, 5 * sizeof(float));
}

Test(onnx, softmax_regression_is_one_gemm)
{
    export_network(0, 4, 2);
    assert_operators((const char *const[]){ "Sub", "Mul", "Gemm", "Softmax" }, 4);
}

Test(onnx, carries_the_weights_of_every_layer)
{
    export_network(MAX_HIDDEN, 4, 3);
    size_t layer = 0;
    for (size_t i = 0; i < model->graph->n_node; i++) {
        const Onnx__NodeProto *n = model->graph->node[i];
        if (strcmp(n->op_type, "Gemm") != 0)
            continue;
        const struct layer *l = &m.layers[layer++];
        const Onnx__TensorProto *w = tensor(n->input[1]), *b = tensor(n->input[2]);
        cr_assert_eq(w->n_dims, 2);
        cr_assert_eq((size_t)w->dims[0], l->in);
        cr_assert_eq((size_t)w->dims[1], l->out);
        cr_assert_eq(b->n_dims, 1);
        cr_assert_eq((size_t)b->dims[0], l->out);
        cr_assert_arr_eq(w->raw_data.data, l->w, l->in * l->out * sizeof(float));
        cr_assert_arr_eq(b->raw_data.data, l->b, l->out * sizeof(float));
    }
    cr_assert_eq(layer, MAX_HIDDEN + 1);
}

static const char *note(const char *key)
{
    for (size_t i = 0; i < model->n_metadata_props; i++)
        if (strcmp(model->metadata_props[i]->key, key) == 0)
            return model->metadata_props[i]->value;
    return "";
}

Test(onnx, says_what_it_is_told_to)
{
    export_network(1, 4, 3);
    cr_assert_eq(model->n_metadata_props, 2);
    cr_assert_str_eq(note("one"), "Grün \"1\"");
    cr_assert_str_eq(note("two"), "");
    cr_assert_str_eq(model->doc_string, "a test's network");
    cr_assert_str_neq(model->producer_name, "");
}

Test(onnx, appends)
{
    buf_append_str(&file, "before");
    fixture_clouds(&t, 4, 2, 2, 1);
    make_network(1, 2);
    write_file("");
    cr_assert_arr_eq(file.data, "before", 6);
    model = onnx__model_proto__unpack(NULL, file.len - 6, file.data + 6);
    cr_assert_not_null(model);
}

/* ---- ONNX Runtime ----------------------------------------------------------------------- */

/* With raw rows of t, far out ones too. */
static void assert_same_answers(void)
{
    char command[512];
    size_t size = t.rows * table_width(&t) * sizeof(float);
    float *out = mem_alloc(size);
    for (size_t i = 0; i < t.features; i++)
        t.x[i] *= 50;
    network_predict(&m, t.x, t.rows, out);
    fixture_write(&f, "model.onnx", buf_bytes(&file));
    fixture_write(&f, "inputs", bytes_of(t.x, t.rows * t.features * sizeof *t.x));
    fixture_write(&f, "probabilities", bytes_of(out, size));
    free(out);
    snprintf(command, sizeof command,
             "cd %s && python3 -W ignore \"$OLDPWD\"/tests/unit/trainer/compare_onnx.py model.onnx "
             "inputs probabilities >messages 2>&1",
             f.dir);
    cr_assert_eq(system(command), 0, "see compare_onnx.py; run from the root of the tree");
}

Test(onnx, answers_what_the_network_answers)
{
    export_network(2, 5, 3);
    assert_same_answers();
}

Test(onnx, answers_what_softmax_regression_answers)
{
    export_network(0, 7, 4);
    assert_same_answers();
}

ParameterizedTestParameters(onnx, answers_what_each_kind_answers)
{
    static uint32_t kinds[9]; /* an activation and a loss */
    for (uint32_t i = 0; i < 9; i++)
        kinds[i] = i;
    return cr_make_param_array(uint32_t, kinds, 9);
}

ParameterizedTest(uint32_t *kind, onnx, answers_what_each_kind_answers)
{
    static const enum loss losses[] = { LOSS_BINARY, LOSS_SQUARED, LOSS_HUBER };
    activation = *kind % 3;
    loss = losses[*kind / 3];
    export_network(loss == LOSS_HUBER ? 0 : 2, 5, 2);
    assert_same_answers();
}

Test(onnx, answers_one_value)
{
    loss = LOSS_SQUARED;
    export_network(0, 3, 1);
    assert_same_answers();
}
