/* runtime.h - what an engine needs of a library that runs models.
 *
 * A runtime is an interface (struct runtime) and a context (the model).  Each lives in one
 * file that alone includes its library.  All calls but interrupt come from the engine's job thread.
 */
#ifndef SERVICES_WORKER_RUNTIME_H
#define SERVICES_WORKER_RUNTIME_H

#include "common/msg/schema.h"
#include "common/msg/tensor.h"
#include "common/net/sock.h"

/* A file of the version that the model may refer to by its name. */
struct runtime_file {
    const char *name;
    const char *path;
};

struct runtime_options {
    unsigned threads;                 /* that one run may use */
    const struct runtime_file *files; /* beside the model itself */
    size_t files_count;
};

/* Names are NUL-terminated copies; -1 in a shape means any size. */
struct signature {
    struct msg_tensor inputs[MAX_TENSORS];
    size_t inputs_count;
    struct msg_tensor outputs[MAX_TENSORS];
    size_t outputs_count;
    bool batchable; /* every input and output has a first dimension of any size */
};

struct tensor_in {
    enum datatype type;
    const int64_t *shape; /* rank of them */
    size_t rank;
    struct bytes data; /* checked by tensor_check; borrowed for the run */
};

struct tensor_out {
    enum datatype type;
    int64_t shape[MAX_RANK];
    size_t rank;
    struct frame data;
};

struct runtime {
    const char *format; /* of the versions that it runs */
    bool threaded;      /* options.threads make a difference */
    /* OK: *model is to be given to unload; *s is filled and valid until then.
     * Otherwise *err has the library's words and nothing is left behind. */
    enum status (*load)(const char *path, const struct runtime_options *options, void **model,
                        struct signature *s, struct error *err);
    /* inputs: in the order of the signature.  OK: the caller owns the frames of the first
     * *count outputs.  Otherwise none is initialised and *err says why. */
    enum status (*run)(void *model, const struct tensor_in *inputs, size_t inputs_count,
                       struct tensor_out *outputs, size_t *count, struct error *err);
    /* From any thread.  true: a run that goes on, and each after it, ends soon with an error.
     * false: no more. */
    void (*interrupt)(void *model, bool on);
    void (*unload)(void *model);
};

extern const struct runtime runtime_onnx;
extern const struct runtime runtime_fake;

/* NULL: no runtime for this format (fake counts only when it is allowed). */
const struct runtime *runtime_find(struct bytes format, bool allow_fake);

#endif
