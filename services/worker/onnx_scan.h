/* onnx_scan.h - does a model keep everything inside the files of its version?
 *
 * A tensor of an ONNX file may name another file that holds its data.  ONNX Runtime opens
 * that file, any path, even when the model is given as memory, and newer ones take a raw
 * address of the process the same way.  So a model from a stranger is walked before the
 * library sees it.  What may be elsewhere: initializers of the main graph, in a file that came with
 * the version, which the library is given as memory.
 *
 * Facts: onnx.proto (field numbers), protobuf's encoding page (wire types).  Any thread.
 */
#ifndef SERVICES_WORKER_ONNX_SCAN_H
#define SERVICES_WORKER_ONNX_SCAN_H

#include "common/base/bytes.h"

/* names, sizes: of the `count` files that came with it.  UNSUPPORTED: a tensor's data is elsewhere.
 * INVALID: it is behind the end of its file, or this is not protobuf as ONNX uses it; what the walk
 * cannot follow is refused, so that no two readers disagree about it. */
enum status onnx_scan(struct bytes file, const char *const *names, const size_t *sizes,
                      size_t count, struct error *err) MUST_CHECK;

#endif
