/* kept.h - an outcome that outlives the queue's callback.
 *
 * It shares the memory of the engine's answer, or copies what is short: a part of a large batch
 * would keep all of that alive.
 */
#ifndef SERVICES_GATEWAY_KEPT_H
#define SERVICES_GATEWAY_KEPT_H

#include "services/gateway/queue.h"

struct kept {
    struct buf names;       /* of the outputs, one after the other */
    struct outcome outcome; /* read-only; OK */
    struct msg_tensor outputs[MAX_TENSORS];
    int64_t shapes[MAX_TENSORS][MAX_RANK];
    struct bytes data[MAX_TENSORS];
    struct frame frames[MAX_TENSORS];
};

/* The bytes that kept_init will keep alive.  copy_max: outputs of no more bytes are copied. */
size_t kept_bytes(const struct outcome *o, size_t copy_max);
/* Keeps an outcome that is OK.  Names are those of the signature. */
void kept_init(struct kept *k, const struct outcome *o, const struct msg_hello *signature,
               size_t copy_max);
void kept_finish(struct kept *k);

#endif
