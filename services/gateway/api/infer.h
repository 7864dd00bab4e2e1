/* infer.h - an inference on behalf of an HTTP request, whatever the protocol.
 *
 *     infer_begin -> infer_take: infer_json or infer_binary for each input, in the signature's order
 *                 -> (the queue) -> write -> the answer
 *
 * Large requests are taken, and large answers written, on a pool thread: so these functions of a
 * protocol see nothing but the call, the body and the outcome.
 */
#ifndef SERVICES_GATEWAY_API_INFER_H
#define SERVICES_GATEWAY_API_INFER_H

#include "services/gateway/api/api.h"
#include "services/gateway/tensor_json.h"

#define CLASSES_MAX 1000 /* that "classification" may ask for */

struct infer_call;

/* The body of an answer: text, then frames. */
struct infer_answer {
    struct buf text;
    struct frame parts[HTTP_PARTS_MAX]; /* the first parts_count are initialised */
    size_t parts_count;
};

/* Writes the answer.  Any status but OK is answered as an error. */
typedef enum status infer_write_fn(const struct infer_call *call, const struct outcome *outcome,
                                   struct infer_answer *answer, struct error *err);
/* Takes all inputs out of the body.  root: its JSON, or NULL. */
typedef enum status infer_take_fn(struct infer_call *call, yyjson_val *root, struct error *err);

/* An output that the client asked for by name. */
struct infer_output {
    size_t index;     /* in the signature */
    bool binary;      /* OIP: binary tensor data extension */
    uint32_t classes; /* OIP: classification extension; 0: the tensor itself */
};

struct infer_call {
    struct pending base;     /* private */
    struct infer_call *next; /* private: of the free ones */
    struct gateway *gateway;
    struct http_request *http; /* not for pool threads; NULL: the client has gone */
    bool working;              /* private: a pool thread has the call */
    struct lane *lane;
    struct inference *inference; /* until it is answered */
    infer_write_fn *write;
    struct frame body; /* OIP: what binary tensors are parts of, if has_body */
    bool has_body;
    size_t json_len;     /* OIP: the JSON at the beginning of body */
    uint64_t timeout_ms; /* 0: the gateway's own */
    uint64_t now_us;     /* private: of struct call */
    int64_t rows;        /* the first dimension of the first input; 1 if it has none */
    bool batched;        /* the rows are rows of a batch */
    bool binary;         /* OIP: outputs that are not named come as binary data */
    bool shadowed;       /* private: other versions get a copy when it is answered */
    bool raw;            /* OIP: the body was the one input: all outputs are binary */
    bool columns;        /* KServe v1: answer by columns */
    bool named;          /* the client asked for certain outputs */
    size_t wanted_count;
    struct infer_output *wanted; /* owned */
    char id[MAX_NAME + 1];       /* OIP: echoed */
};

/* Routes to the model; NULL: it has been answered. */
struct infer_call *infer_begin(struct call *c, struct bytes model, uint32_t version,
                               infer_write_fn *write);
/* Takes one input of the lane's signature, from JSON or from a part of the body's memory, which is
 * not copied.  shape: rank dimensions, checked here.  INVALID. */
enum status infer_json(struct infer_call *call, size_t index, yyjson_val *data,
                       const int64_t *shape, size_t rank, const char *where,
                       struct error *err) MUST_CHECK;
enum status infer_binary(struct infer_call *call, size_t index, const struct frame *body,
                         size_t offset, size_t len, const int64_t *shape, size_t rank,
                         const char *where, struct error *err) MUST_CHECK;
/* Takes the inputs, and doc (may be NULL), and queues the request.  It is answered later, or now when
 * that fails. */
void infer_take(struct infer_call *call, infer_take_fn *take, yyjson_doc *doc);

#endif
