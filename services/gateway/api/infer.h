/* infer.h - an inference on behalf of an HTTP request, whatever the protocol. */
#ifndef SERVICES_GATEWAY_API_INFER_H
#define SERVICES_GATEWAY_API_INFER_H

#include "services/gateway/api/api.h"
#include "services/gateway/tensor_json.h"

#define OUTPUTS_NAMED_MAX MAX_TENSORS

struct infer_call;

/* Writes the body of the answer.  Any status but OK is answered as an error. */
typedef enum status infer_write_fn(struct infer_call *call, const struct outcome *outcome,
                                   struct buf *out, struct error *err);

struct infer_call {
    struct pending base; /* private */
    struct gateway *gateway;
    struct http_request *http;
    struct lane *lane;
    struct inference *inference;
    infer_write_fn *write;
    char id[MAX_NAME + 1];            /* OIP: echoed */
    bool named;                       /* the client asked for certain outputs */
    size_t wanted[OUTPUTS_NAMED_MAX]; /* indexes of them */
    size_t wanted_count;
};

/* Routes to the model; NULL: it has been answered. */
struct infer_call *infer_begin(struct call *c, struct bytes model, uint32_t version,
                               infer_write_fn *write);
/* Takes one input of the lane's signature from JSON.  shape: rank dimensions, checked here. */
enum status infer_input(struct infer_call *call, size_t index, yyjson_val *data,
                        const int64_t *shape, size_t rank, const char *where,
                        struct error *err) MUST_CHECK;
/* All inputs are there: queues the request.  It is answered later, or now when that fails. */
void infer_submit(struct infer_call *call);
/* Answers with the error and ends the call. */
void infer_fail(struct infer_call *call, const struct error *err);

#endif
