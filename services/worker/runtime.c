/* runtime.c - which runtime runs which format. */
#include "services/worker/runtime.h"

const struct runtime *runtime_find(struct bytes format, bool allow_fake)
{
    if (bytes_equal_str(format, runtime_onnx.format))
        return &runtime_onnx;
    if (allow_fake && bytes_equal_str(format, runtime_fake.format))
        return &runtime_fake;
    return NULL;
}
