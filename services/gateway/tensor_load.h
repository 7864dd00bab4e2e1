/* tensor_load.h - an element of a tensor's memory, which may lie anywhere. */
#ifndef SERVICES_GATEWAY_TENSOR_LOAD_H
#define SERVICES_GATEWAY_TENSOR_LOAD_H

#include <string.h>

#define LOAD(type, p)                        \
    ({                                       \
        type loaded;                         \
        memcpy(&loaded, (p), sizeof loaded); \
        loaded;                              \
    })

#endif
