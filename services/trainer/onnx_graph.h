/* onnx_graph.h - a model as an ONNX file (https://onnx.ai, IR version 8, opset 17, and opset 3 of
 * the domain ai.onnx.ml).
 *
 * The preprocessing and the learners add tensors and operators; whoever runs them adds inputs,
 * outputs, and what the file says about itself.  First dimension of all inputs and outputs: N rows.
 * What is appended is copied, but for the data of tensors and attributes, which is borrowed until
 * the graph is written.
 */
#ifndef SERVICES_TRAINER_ONNX_GRAPH_H
#define SERVICES_TRAINER_ONNX_GRAPH_H

#include "common/base/bytes.h"

#define ONNX_INPUT         "input"         /* of models that take one matrix: [N, features] */
#define ONNX_PROBABILITIES "probabilities" /* of classifiers: [N, classes] */
#define ONNX_VALUES        "values"        /* of regressions: [N, outputs] */
#define ONNX_ML            "ai.onnx.ml"    /* a domain */
#define ONNX_NOTES_MAX     16
#define ONNX_RANK_MAX      4
#define ONNX_OPERANDS_MAX  4 /* inputs, or outputs, of operators but for Concat and the like */

enum onnx_type { ONNX_FLOAT = 1, ONNX_INT64 = 7, ONNX_STRING = 8, ONNX_BOOL = 9 };

struct onnx_graph;

/* A pair of the file's metadata. */
struct onnx_note {
    const char *key;
    const char *value;
};

struct onnx_about {
    const char *name;
    const char *description;
    struct onnx_note notes[ONNX_NOTES_MAX];
    size_t notes_count;
};

enum onnx_attr_kind {
    ONNX_ATTR_INT,     /* one int64_t */
    ONNX_ATTR_FLOAT,   /* one float */
    ONNX_ATTR_STRING,  /* data is a const char * */
    ONNX_ATTR_INTS,    /* int64_t[count] */
    ONNX_ATTR_FLOATS,  /* float[count] */
    ONNX_ATTR_STRINGS, /* const char *[count] */
};

struct onnx_attr {
    const char *name;
    enum onnx_attr_kind kind;
    const void *data;
    size_t count;
};

struct onnx_op {
    const char *domain; /* NULL: ONNX's own */
    const char *type;
    const char *const *inputs; /* names; "" where an optional one is left out */
    size_t inputs_count;
    const char *const *outputs; /* names; none is left out */
    size_t outputs_count;
    const struct onnx_attr *attrs;
    size_t attrs_count;
};

struct onnx_graph *onnx_graph_create(void);
void onnx_graph_destroy(struct onnx_graph *g);
/* Zeroed memory that lives as long as the graph: for data that it borrows. */
void *onnx_graph_keep(struct onnx_graph *g, size_t size);

/* From here on, names of tensors and of operators' outputs get this before them, and operators'
 * inputs that are known by the longer name are meant to be these: several parts that know nothing
 * of each other may use the same names.  "": as they are. */
void onnx_graph_scope(struct onnx_graph *g, const char *prefix);

/* Each of these returns the name of what was added, which is good as long as the graph.  It differs
 * from the one that was asked for where another has that; so operators take what was returned. */

/* [N, columns] */
const char *onnx_graph_input(struct onnx_graph *g, const char *name, enum onnx_type type,
                             size_t columns);
const char *onnx_graph_output(struct onnx_graph *g, const char *name, enum onnx_type type,
                              size_t columns);
/* Constants.  A matrix is rows x columns, or a vector of columns where rows is 0. */
const char *onnx_graph_tensor(struct onnx_graph *g, const char *name, const float *data,
                              size_t rows, size_t columns);
const char *onnx_graph_floats(struct onnx_graph *g, const char *name, const float *data,
                              const int64_t *dims, size_t rank);
const char *onnx_graph_ints(struct onnx_graph *g, const char *name, const int64_t *data,
                            size_t count);
const char *onnx_graph_strings(struct onnx_graph *g, const char *name, const char *const *data,
                               size_t count); /* [1, count] */
/* Any operator; the name of its first output. */
const char *onnx_graph_op(struct onnx_graph *g, const struct onnx_op *op);
/* One without attributes, with one to three inputs (NULL: no more) and one output. */
const char *onnx_graph_node(struct onnx_graph *g, const char *type, const char *output,
                            const char *in0, const char *in1, const char *in2);
/* Appends the file's bytes. */
void onnx_graph_write(struct onnx_graph *g, const struct onnx_about *about, struct buf *out);

#endif
