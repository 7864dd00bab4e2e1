/* onnx_graph.c - builds the protobuf messages of onnx.proto. */
#include "services/trainer/onnx_graph.h"

#include "onnx.pb-c.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define IR_VERSION 8
#define OPSET      17
#define INPUTS_MAX 3

/* Everything that the messages point to, in one piece that does not move. */
struct onnx_graph {
    Onnx__NodeProto nodes[ONNX_NODES_MAX];
    Onnx__NodeProto *node_list[ONNX_NODES_MAX];
    char names[ONNX_NODES_MAX][ONNX_NAME_SIZE]; /* of each node's output */
    char *inputs[ONNX_NODES_MAX][INPUTS_MAX];
    char *outputs[ONNX_NODES_MAX][1];
    size_t nodes_count;
    Onnx__TensorProto tensors[ONNX_TENSORS_MAX];
    Onnx__TensorProto *tensor_list[ONNX_TENSORS_MAX];
    char tensor_names[ONNX_TENSORS_MAX][ONNX_NAME_SIZE];
    int64_t dims[ONNX_TENSORS_MAX][2];
    size_t tensors_count;
};

/* protobuf-c writes to nothing that it packs, but its fields are not const. */
static char *text(const char *s)
{
    return (char *)(uintptr_t)s;
}

struct onnx_graph *onnx_graph_create(void)
{
    return mem_zalloc(sizeof(struct onnx_graph));
}

void onnx_graph_destroy(struct onnx_graph *g)
{
    free(g);
}

const char *onnx_graph_tensor(struct onnx_graph *g, const char *name, const float *data,
                              size_t rows, size_t columns)
{
    size_t i = g->tensors_count++;
    assert(i < ONNX_TENSORS_MAX && strlen(name) < ONNX_NAME_SIZE);
    Onnx__TensorProto *t = &g->tensors[i];
    onnx__tensor_proto__init(t);
    snprintf(g->tensor_names[i], ONNX_NAME_SIZE, "%s", name);
    g->dims[i][0] = (int64_t)(rows ? rows : columns);
    g->dims[i][1] = (int64_t)columns;
    t->name = g->tensor_names[i];
    t->n_dims = rows ? 2 : 1;
    t->dims = g->dims[i];
    t->has_data_type = 1;
    t->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    t->has_raw_data = 1;
    t->raw_data.data = (uint8_t *)(uintptr_t)data;
    t->raw_data.len = (rows ? rows : 1) * columns * sizeof *data;
    g->tensor_list[i] = t;
    return t->name;
}

const char *onnx_graph_node(struct onnx_graph *g, const char *op, const char *output,
                            const char *in0, const char *in1, const char *in2)
{
    size_t i = g->nodes_count++;
    assert(i < ONNX_NODES_MAX && strlen(output) < ONNX_NAME_SIZE);
    Onnx__NodeProto *n = &g->nodes[i];
    onnx__node_proto__init(n);
    snprintf(g->names[i], ONNX_NAME_SIZE, "%s", output);
    g->inputs[i][0] = text(in0);
    g->inputs[i][1] = text(in1);
    g->inputs[i][2] = text(in2);
    g->outputs[i][0] = g->names[i];
    n->op_type = text(op);
    n->name = g->names[i];
    n->n_input = in2 ? 3 : in1 ? 2 : 1;
    n->input = g->inputs[i];
    n->n_output = 1;
    n->output = g->outputs[i];
    g->node_list[i] = n;
    return g->names[i];
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
    v->dims[0].dim_param = text("N");
    v->dims[1].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
    v->dims[1].dim_value = columns;
    v->shape.n_dim = 2;
    v->shape.dim = v->dim_list;
    v->tensor.has_elem_type = 1;
    v->tensor.elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    v->tensor.shape = &v->shape;
    v->type.value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    v->type.tensor_type = &v->tensor;
    v->info.name = text(name);
    v->info.type = &v->type;
    v->list[0] = &v->info;
}

static void pack(Onnx__GraphProto *graph, const struct onnx_about *about, struct buf *out)
{
    Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
    Onnx__OperatorSetIdProto opset = ONNX__OPERATOR_SET_ID_PROTO__INIT;
    Onnx__OperatorSetIdProto *opsets[] = { &opset };
    Onnx__StringStringEntryProto entries[ONNX_NOTES_MAX];
    Onnx__StringStringEntryProto *list[ONNX_NOTES_MAX];
    assert(about->notes_count <= ONNX_NOTES_MAX);
    for (size_t i = 0; i < about->notes_count; i++) {
        onnx__string_string_entry_proto__init(&entries[i]);
        entries[i].key = text(about->notes[i].key);
        entries[i].value = text(about->notes[i].value);
        list[i] = &entries[i];
    }
    opset.domain = text("");
    opset.has_version = 1;
    opset.version = OPSET;
    model.has_ir_version = 1;
    model.ir_version = IR_VERSION;
    model.producer_name = text("maas");
    model.doc_string = text(about->description);
    model.n_opset_import = 1;
    model.opset_import = opsets;
    model.n_metadata_props = about->notes_count;
    model.metadata_props = list;
    model.graph = graph;
    size_t size = onnx__model_proto__get_packed_size(&model);
    buf_reserve(out, size);
    out->len += onnx__model_proto__pack(&model, out->data + out->len);
}

void onnx_graph_write(struct onnx_graph *g, const struct onnx_about *about, struct buf *out)
{
    Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
    struct value input, output;
    describe(&input, ONNX_INPUT, (int64_t)about->features);
    describe(&output, ONNX_OUTPUT, (int64_t)about->classes);
    graph.name = text(about->name);
    graph.n_node = g->nodes_count;
    graph.node = g->node_list;
    graph.n_initializer = g->tensors_count;
    graph.initializer = g->tensor_list;
    graph.n_input = 1;
    graph.input = input.list;
    graph.n_output = 1;
    graph.output = output.list;
    pack(&graph, about, out);
}
