/* onnx_export.c - builds the protobuf messages of onnx.proto. */
#include "services/trainer/onnx_export.h"

#include "onnx.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#define IR_VERSION  8
#define OPSET       17
#define NODES_MAX   (2 + 2 * MAX_LAYERS + 1)
#define TENSORS_MAX (2 + 2 * MAX_LAYERS)
#define NAME_SIZE   32

/* Everything that the messages point to, in one piece. */
struct builder {
    Onnx__NodeProto nodes[NODES_MAX];
    Onnx__NodeProto *node_list[NODES_MAX];
    char names[NODES_MAX][NAME_SIZE]; /* of each node's output */
    char *inputs[NODES_MAX][3];
    char *outputs[NODES_MAX][1];
    size_t nodes_count;
    Onnx__TensorProto tensors[TENSORS_MAX];
    Onnx__TensorProto *tensor_list[TENSORS_MAX];
    char tensor_names[TENSORS_MAX][NAME_SIZE];
    int64_t dims[TENSORS_MAX][2];
    size_t tensors_count;
};

static char *add_tensor(struct builder *b, const char *name, int layer, float *data, int64_t rows,
                        int64_t columns)
{
    size_t i = b->tensors_count++;
    Onnx__TensorProto *t = &b->tensors[i];
    onnx__tensor_proto__init(t);
    if (layer < 0)
        snprintf(b->tensor_names[i], NAME_SIZE, "%s", name);
    else
        snprintf(b->tensor_names[i], NAME_SIZE, "%s%d", name, layer);
    b->dims[i][0] = rows ? rows : columns;
    b->dims[i][1] = columns;
    t->name = b->tensor_names[i];
    t->n_dims = rows ? 2 : 1;
    t->dims = b->dims[i];
    t->has_data_type = 1;
    t->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    t->has_raw_data = 1;
    t->raw_data.data = (uint8_t *)data;
    t->raw_data.len = (size_t)((rows ? rows : 1) * columns) * sizeof *data;
    b->tensor_list[i] = t;
    return t->name;
}

/* Adds an operator; its output's name. */
static char *add_node(struct builder *b, const char *op, const char *output, char *in0, char *in1,
                      char *in2)
{
    size_t i = b->nodes_count++;
    Onnx__NodeProto *n = &b->nodes[i];
    onnx__node_proto__init(n);
    snprintf(b->names[i], NAME_SIZE, "%s", output);
    b->inputs[i][0] = in0;
    b->inputs[i][1] = in1;
    b->inputs[i][2] = in2;
    b->outputs[i][0] = b->names[i];
    n->op_type = (char *)(uintptr_t)op;
    n->name = b->names[i];
    n->n_input = in2 ? 3 : in1 ? 2 : 1;
    n->input = b->inputs[i];
    n->n_output = 1;
    n->output = b->outputs[i];
    b->node_list[i] = n;
    return b->names[i];
}

static void build_graph(struct builder *b, const struct mlp *m)
{
    static char input[] = "input";
    int64_t f = (int64_t)m->features;
    char name[NAME_SIZE];
    char *x = add_node(b, "Sub", "centred", input, add_tensor(b, "mean", -1, m->mean, 0, f), NULL);
    x = add_node(b, "Mul", "standardised", x, add_tensor(b, "scale", -1, m->scale, 0, f), NULL);
    for (size_t l = 0; l < m->layers_count; l++) {
        const struct layer *layer = &m->layers[l];
        int64_t in = (int64_t)layer->in, out = (int64_t)layer->out;
        snprintf(name, sizeof name, "linear%zu", l);
        char *w = add_tensor(b, "w", (int)l, layer->w, in, out);
        char *c = add_tensor(b, "b", (int)l, layer->b, 0, out);
        x = add_node(b, "Gemm", name, x, w, c);
        if (l + 1 == m->layers_count)
            break;
        snprintf(name, sizeof name, "relu%zu", l);
        x = add_node(b, "Relu", name, x, NULL, NULL);
    }
    add_node(b, "Softmax", "probabilities", x, NULL, NULL);
}

/* float32 [N, columns] */
struct value {
    Onnx__ValueInfoProto info;
    Onnx__TypeProto type;
    Onnx__TypeProto__Tensor tensor;
    Onnx__TensorShapeProto shape;
    Onnx__TensorShapeProto__Dimension dims[2];
    Onnx__TensorShapeProto__Dimension *dim_list[2];
    Onnx__ValueInfoProto *list[1];
};

static void describe(struct value *v, const char *name, int64_t columns)
{
    onnx__value_info_proto__init(&v->info);
    onnx__type_proto__init(&v->type);
    onnx__type_proto__tensor__init(&v->tensor);
    onnx__tensor_shape_proto__init(&v->shape);
    for (int i = 0; i < 2; i++) {
        onnx__tensor_shape_proto__dimension__init(&v->dims[i]);
        v->dim_list[i] = &v->dims[i];
    }
    v->dims[0].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
    v->dims[0].dim_param = (char *)(uintptr_t)"N";
    v->dims[1].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
    v->dims[1].dim_value = columns;
    v->shape.n_dim = 2;
    v->shape.dim = v->dim_list;
    v->tensor.has_elem_type = 1;
    v->tensor.elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    v->tensor.shape = &v->shape;
    v->type.value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    v->type.tensor_type = &v->tensor;
    v->info.name = (char *)(uintptr_t)name;
    v->info.type = &v->type;
    v->list[0] = &v->info;
}

static char *classes_json(char *const *classes, size_t count)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *list = yyjson_mut_arr(doc);
    yyjson_mut_doc_set_root(doc, list);
    for (size_t i = 0; i < count; i++)
        yyjson_mut_arr_add_str(doc, list, classes[i]);
    char *text = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, NULL);
    yyjson_mut_doc_free(doc);
    return text;
}

static void pack(Onnx__GraphProto *graph, char *classes, const char *description, struct buf *out)
{
    Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
    Onnx__OperatorSetIdProto opset = ONNX__OPERATOR_SET_ID_PROTO__INIT;
    Onnx__StringStringEntryProto entry = ONNX__STRING_STRING_ENTRY_PROTO__INIT;
    Onnx__OperatorSetIdProto *opsets[] = { &opset };
    Onnx__StringStringEntryProto *entries[] = { &entry };
    entry.key = (char *)(uintptr_t)"classes";
    entry.value = classes;
    opset.domain = (char *)(uintptr_t)"";
    opset.has_version = 1;
    opset.version = OPSET;
    model.has_ir_version = 1;
    model.ir_version = IR_VERSION;
    model.producer_name = (char *)(uintptr_t)"maas";
    model.doc_string = (char *)(uintptr_t)description;
    model.n_opset_import = 1;
    model.opset_import = opsets;
    model.n_metadata_props = 1;
    model.metadata_props = entries;
    model.graph = graph;
    size_t size = onnx__model_proto__get_packed_size(&model);
    buf_reserve(out, size);
    out->len += onnx__model_proto__pack(&model, out->data + out->len);
}

void onnx_export(const struct mlp *m, char *const *classes, const char *description,
                 struct buf *out)
{
    Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
    struct builder *b = mem_zalloc(sizeof *b);
    struct value input, output;
    char *labels = classes_json(classes, mlp_classes(m));
    build_graph(b, m);
    describe(&input, "input", (int64_t)m->features);
    describe(&output, "probabilities", (int64_t)mlp_classes(m));
    graph.name = (char *)(uintptr_t)"mlp";
    graph.n_node = b->nodes_count;
    graph.node = b->node_list;
    graph.n_initializer = b->tensors_count;
    graph.initializer = b->tensor_list;
    graph.n_input = 1;
    graph.input = input.list;
    graph.n_output = 1;
    graph.output = output.list;
    pack(&graph, labels, description, out);
    free(labels);
    free(b);
}
