/* onnx_export.h - a trained network as an ONNX model (https://onnx.ai, IR version 8, opset 17).
 *
 * Input "input": float32 [N, features], raw.  Output "probabilities": float32 [N, classes].
 * The standardisation is in the graph (Sub, Mul), so training and serving cannot drift apart;
 * the class labels are in the metadata under "classes", as a JSON array.
 */
#ifndef SERVICES_TRAINER_ONNX_EXPORT_H
#define SERVICES_TRAINER_ONNX_EXPORT_H

#include "services/trainer/mlp.h"

/* Appends the file's bytes. */
void onnx_export(const struct mlp *m, char *const *classes, const char *description,
                 struct buf *out);

#endif
