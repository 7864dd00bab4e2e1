/* onnx_graph.c - builds the protobuf messages of onnx.proto. */
#include "services/trainer/onnx_graph.h"

#include "onnx.pb-c.h"

#include <assert.h>
#include <stdlib.h>
#include <uthash.h>

#define IR_VERSION 8
#define OPSET      17
#define OPSET_ML   3
#define LIST_STEP  64

/* Pointers to messages, as protobuf-c wants them. */
struct list {
    void **at;
    size_t count;
};

/* A name that a tensor has. */
struct taken {
    UT_hash_handle hh;
    const char *name;
};

struct onnx_graph {
    struct taken *names;
    struct list nodes, tensors, inputs, outputs;
    struct list kept;  /* all memory that the messages point to */
    const char *scope; /* NULL: none */
};

/* protobuf-c writes to nothing that it packs, but its fields are not const. */
static char *text(const char *s)
{
    return (char *)(uintptr_t)s;
}

static void list_add(struct list *l, void *item)
{
    if (l->count % LIST_STEP == 0)
        l->at = mem_resize(l->at, (l->count + LIST_STEP) * sizeof *l->at);
    l->at[l->count++] = item;
}

static void *keep(struct onnx_graph *g, size_t size)
{
    void *memory = mem_zalloc(size ? size : 1);
    list_add(&g->kept, memory);
    return memory;
}

void *onnx_graph_keep(struct onnx_graph *g, size_t size)
{
    return keep(g, size);
}

static char *keep_text(struct onnx_graph *g, const char *s)
{
    char *copy = keep(g, strlen(s) + 1);
    memcpy(copy, s, strlen(s) + 1);
    return copy;
}

/* The name, or one that is like it where an input, an operator or a constant has it already: inputs
 * are called as people call their columns. */
static char *keep_name(struct onnx_graph *g, const char *name)
{
    struct taken *t = NULL;
    char *own = keep_text(g, name);
    size_t len = strlen(name);
    HASH_FIND_STR(g->names, own, t);
    while (t) {
        char *longer = keep(g, len + 2);
        memcpy(longer, own, len);
        longer[len++] = '_';
        own = longer;
        HASH_FIND_STR(g->names, own, t);
    }
    t = keep(g, sizeof *t);
    t->name = own;
    HASH_ADD_KEYPTR(hh, g->names, t->name, len, t);
    return own;
}

/* ---- scopes ------------------------------------------------------------------------------------ */

void onnx_graph_scope(struct onnx_graph *g, const char *prefix)
{
    g->scope = *prefix ? keep_text(g, prefix) : NULL;
}

static char *scoped(struct onnx_graph *g, const char *name)
{
    if (!g->scope || !*name)
        return keep_text(g, name);
    size_t before = strlen(g->scope), len = strlen(name);
    char *whole = keep(g, before + len + 1);
    memcpy(whole, g->scope, before);
    memcpy(whole + before, name, len + 1);
    return whole;
}

static bool is_known(const struct onnx_graph *g, const char *name)
{
    for (size_t i = 0; i < g->tensors.count; i++)
        if (strcmp(((const Onnx__TensorProto *)g->tensors.at[i])->name, name) == 0)
            return true;
    for (size_t i = 0; i < g->nodes.count; i++) {
        const Onnx__NodeProto *n = g->nodes.at[i];
        for (size_t k = 0; k < n->n_output; k++)
            if (strcmp(n->output[k], name) == 0)
                return true;
    }
    return false;
}

/* The names of an operator's inputs. */
static char **scoped_inputs(struct onnx_graph *g, const char *const *names, size_t count)
{
    char **list = keep(g, count * sizeof *list);
    for (size_t i = 0; i < count; i++) {
        list[i] = scoped(g, names[i]);
        if (g->scope && !is_known(g, list[i]))
            list[i] = keep_text(g, names[i]);
    }
    return list;
}

struct onnx_graph *onnx_graph_create(void)
{
    return mem_zalloc(sizeof(struct onnx_graph));
}

void onnx_graph_destroy(struct onnx_graph *g)
{
    if (!g)
        return;
    HASH_CLEAR(hh, g->names);
    for (size_t i = 0; i < g->kept.count; i++)
        free(g->kept.at[i]);
    free(g->kept.at);
    free(g->nodes.at);
    free(g->tensors.at);
    free(g->inputs.at);
    free(g->outputs.at);
    free(g);
}

/* ---- inputs and outputs --------------------------------------------------------------------- */

/* [N, columns] */
struct value {
    Onnx__ValueInfoProto info;
    Onnx__TypeProto type;
    Onnx__TypeProto__Tensor tensor;
    Onnx__TensorShapeProto shape;
    Onnx__TensorShapeProto__Dimension dims[2];
    Onnx__TensorShapeProto__Dimension *dim_list[2];
};

static const char *describe(struct onnx_graph *g, struct list *to, const char *name,
                            enum onnx_type type, size_t columns)
{
    struct value *v = keep(g, sizeof *v);
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
    v->dims[1].dim_value = (int64_t)columns;
    v->shape.n_dim = 2;
    v->shape.dim = v->dim_list;
    v->tensor.has_elem_type = 1;
    v->tensor.elem_type = (int32_t)type;
    v->tensor.shape = &v->shape;
    v->type.value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    v->type.tensor_type = &v->tensor;
    v->info.name = to == &g->inputs ? keep_name(g, name) : keep_text(g, name);
    v->info.type = &v->type;
    list_add(to, &v->info);
    return v->info.name;
}

const char *onnx_graph_input(struct onnx_graph *g, const char *name, enum onnx_type type,
                             size_t columns)
{
    return describe(g, &g->inputs, name, type, columns);
}

const char *onnx_graph_output(struct onnx_graph *g, const char *name, enum onnx_type type,
                              size_t columns)
{
    return describe(g, &g->outputs, name, type, columns);
}

/* ---- constants --------------------------------------------------------------------------------- */

static Onnx__TensorProto *add_tensor(struct onnx_graph *g, const char *name, enum onnx_type type,
                                     const int64_t *dims, size_t rank)
{
    Onnx__TensorProto *t = keep(g, sizeof *t);
    onnx__tensor_proto__init(t);
    t->name = keep_name(g, scoped(g, name));
    t->n_dims = rank;
    t->dims = keep(g, rank * sizeof *dims);
    memcpy(t->dims, dims, rank * sizeof *dims);
    t->has_data_type = 1;
    t->data_type = (int32_t)type;
    list_add(&g->tensors, t);
    return t;
}

static const char *add_raw(Onnx__TensorProto *t, const void *data, size_t item)
{
    t->has_raw_data = 1;
    t->raw_data.data = (uint8_t *)(uintptr_t)data;
    t->raw_data.len = item;
    for (size_t i = 0; i < t->n_dims; i++)
        t->raw_data.len *= (size_t)t->dims[i];
    return t->name;
}

const char *onnx_graph_floats(struct onnx_graph *g, const char *name, const float *data,
                              const int64_t *dims, size_t rank)
{
    assert(rank <= ONNX_RANK_MAX);
    return add_raw(add_tensor(g, name, ONNX_FLOAT, dims, rank), data, sizeof *data);
}

const char *onnx_graph_tensor(struct onnx_graph *g, const char *name, const float *data,
                              size_t rows, size_t columns)
{
    const int64_t dims[] = { (int64_t)(rows ? rows : columns), (int64_t)columns };
    return onnx_graph_floats(g, name, data, dims, rows ? 2 : 1);
}

const char *onnx_graph_ints(struct onnx_graph *g, const char *name, const int64_t *data,
                            size_t count)
{
    const int64_t dims[] = { (int64_t)count };
    return add_raw(add_tensor(g, name, ONNX_INT64, dims, 1), data, sizeof *data);
}

static ProtobufCBinaryData *borrow_strings(struct onnx_graph *g, const char *const *data,
                                           size_t count)
{
    ProtobufCBinaryData *list = keep(g, count * sizeof *list);
    for (size_t i = 0; i < count; i++)
        list[i] = (ProtobufCBinaryData){ strlen(data[i]), (uint8_t *)text(data[i]) };
    return list;
}

const char *onnx_graph_strings(struct onnx_graph *g, const char *name, const char *const *data,
                               size_t count)
{
    const int64_t dims[] = { 1, (int64_t)count };
    Onnx__TensorProto *t = add_tensor(g, name, ONNX_STRING, dims, 2);
    t->n_string_data = count;
    t->string_data = borrow_strings(g, data, count);
    return t->name;
}

/* ---- operators ---------------------------------------------------------------------------------- */

static void set_one(Onnx__AttributeProto *to, const struct onnx_attr *a)
{
    if (a->kind == ONNX_ATTR_INT) {
        to->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
        to->has_i = 1;
        to->i = *(const int64_t *)a->data;
    } else if (a->kind == ONNX_ATTR_FLOAT) {
        to->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
        to->has_f = 1;
        to->f = *(const float *)a->data;
    } else {
        to->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
        to->has_s = 1;
        to->s = (ProtobufCBinaryData){ strlen(a->data), (uint8_t *)text(a->data) };
    }
}

static void set_list(struct onnx_graph *g, Onnx__AttributeProto *to, const struct onnx_attr *a)
{
    if (a->kind == ONNX_ATTR_INTS) {
        to->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
        to->n_ints = a->count;
        to->ints = (int64_t *)(uintptr_t)a->data;
    } else if (a->kind == ONNX_ATTR_FLOATS) {
        to->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS;
        to->n_floats = a->count;
        to->floats = (float *)(uintptr_t)a->data;
    } else {
        to->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS;
        to->n_strings = a->count;
        to->strings = borrow_strings(g, a->data, a->count);
    }
}

/* What is borrowed as a whole must stay; a single number is copied here. */
static void add_attrs(struct onnx_graph *g, Onnx__NodeProto *n, const struct onnx_op *op)
{
    n->n_attribute = op->attrs_count;
    n->attribute = keep(g, op->attrs_count * sizeof *n->attribute);
    for (size_t i = 0; i < op->attrs_count; i++) {
        Onnx__AttributeProto *a = n->attribute[i] = keep(g, sizeof *a);
        onnx__attribute_proto__init(a);
        a->name = keep_text(g, op->attrs[i].name);
        a->has_type = 1;
        if (op->attrs[i].kind <= ONNX_ATTR_STRING)
            set_one(a, &op->attrs[i]);
        else
            set_list(g, a, &op->attrs[i]);
    }
}

const char *onnx_graph_op(struct onnx_graph *g, const struct onnx_op *op)
{
    Onnx__NodeProto *n = keep(g, sizeof *n);
    assert(op->outputs_count);
    onnx__node_proto__init(n);
    n->domain = keep_text(g, op->domain ? op->domain : "");
    n->op_type = keep_text(g, op->type);
    n->n_input = op->inputs_count;
    n->input = scoped_inputs(g, op->inputs, op->inputs_count);
    n->n_output = op->outputs_count;
    n->output = keep(g, op->outputs_count * sizeof *n->output);
    for (size_t i = 0; i < op->outputs_count; i++)
        n->output[i] = keep_name(g, scoped(g, op->outputs[i]));
    n->name = n->output[0];
    add_attrs(g, n, op);
    list_add(&g->nodes, n);
    return n->output[0];
}

const char *onnx_graph_node(struct onnx_graph *g, const char *type, const char *output,
                            const char *in0, const char *in1, const char *in2)
{
    const char *const inputs[] = { in0, in1, in2 };
    return onnx_graph_op(g, &(struct onnx_op){ .type = type,
                                               .inputs = inputs,
                                               .inputs_count = in2   ? 3
                                                               : in1 ? 2
                                                                     : 1,
                                               .outputs = &output,
                                               .outputs_count = 1 });
}

/* ---- the file ------------------------------------------------------------------------------------ */

static void import(Onnx__OperatorSetIdProto *set, const char *domain, int64_t version)
{
    onnx__operator_set_id_proto__init(set);
    set->domain = text(domain);
    set->has_version = 1;
    set->version = version;
}

static void pack(Onnx__GraphProto *graph, const struct onnx_about *about, struct buf *out)
{
    Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
    Onnx__OperatorSetIdProto sets[2];
    Onnx__OperatorSetIdProto *imports[] = { &sets[0], &sets[1] };
    Onnx__StringStringEntryProto entries[ONNX_NOTES_MAX];
    Onnx__StringStringEntryProto *list[ONNX_NOTES_MAX];
    assert(about->notes_count <= ONNX_NOTES_MAX);
    for (size_t i = 0; i < about->notes_count; i++) {
        onnx__string_string_entry_proto__init(&entries[i]);
        entries[i].key = text(about->notes[i].key);
        entries[i].value = text(about->notes[i].value);
        list[i] = &entries[i];
    }
    import(&sets[0], "", OPSET);
    import(&sets[1], ONNX_ML, OPSET_ML);
    model.has_ir_version = 1;
    model.ir_version = IR_VERSION;
    model.producer_name = text("maas");
    model.doc_string = text(about->description);
    model.n_opset_import = 2;
    model.opset_import = imports;
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
    graph.name = text(about->name);
    graph.n_node = g->nodes.count;
    graph.node = (Onnx__NodeProto **)g->nodes.at;
    graph.n_initializer = g->tensors.count;
    graph.initializer = (Onnx__TensorProto **)g->tensors.at;
    graph.n_input = g->inputs.count;
    graph.input = (Onnx__ValueInfoProto **)g->inputs.at;
    graph.n_output = g->outputs.count;
    graph.output = (Onnx__ValueInfoProto **)g->outputs.at;
    pack(&graph, about, out);
}
