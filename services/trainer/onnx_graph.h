/* onnx_graph.h - a model as an ONNX file (https://onnx.ai, IR version 8, opset 17).
 *
 * Learners add tensors and operators; whoever runs them adds what the file says about itself.
 * Input ONNX_INPUT: float32 [N, features], raw.  Output ONNX_OUTPUT: float32 [N, classes].
 */
#ifndef SERVICES_TRAINER_ONNX_GRAPH_H
#define SERVICES_TRAINER_ONNX_GRAPH_H

#include "common/base/bytes.h"

#define ONNX_INPUT       "input"
#define ONNX_OUTPUT      "probabilities"
#define ONNX_NODES_MAX   64 /* more is a mistake of the learner */
#define ONNX_TENSORS_MAX 64
#define ONNX_NOTES_MAX   16
#define ONNX_NAME_SIZE   32 /* with the NUL */

struct onnx_graph;

/* A pair of the file's metadata. */
struct onnx_note {
    const char *key;
    const char *value;
};

struct onnx_about {
    const char *name;
    const char *description;
    size_t features;
    size_t classes;
    struct onnx_note notes[ONNX_NOTES_MAX];
    size_t notes_count;
};

struct onnx_graph *onnx_graph_create(void);
void onnx_graph_destroy(struct onnx_graph *g);

/* Both return the name of what was added, which is good as long as the graph. */

/* A constant, rows x columns, or a vector of columns where rows is 0.  data: borrowed until the
 * graph is written. */
const char *onnx_graph_tensor(struct onnx_graph *g, const char *name, const float *data,
                              size_t rows, size_t columns);
/* An operator with one to three inputs (NULL: no more) and one output. */
const char *onnx_graph_node(struct onnx_graph *g, const char *op, const char *output,
                            const char *in0, const char *in1, const char *in2);
/* Appends the file's bytes. */
void onnx_graph_write(struct onnx_graph *g, const struct onnx_about *about, struct buf *out);

#endif
