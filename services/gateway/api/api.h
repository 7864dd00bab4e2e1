/* api.h - what the files of one protocol each share: routes, calls, answers.
 *
 * A handler gets a struct call.  It answers at once, or keeps c->http and sets
 * c->http->user to a struct pending of its own: gone is called if the client leaves first.
 */
#ifndef SERVICES_GATEWAY_API_API_H
#define SERVICES_GATEWAY_API_API_H

#include "services/gateway/gateway.h"

#include <yyjson.h>

#define MAAS_VERSION "0.1.0"

#define API_PARAMS_MAX   3
#define RPC_TIMEOUT_MS   10000 /* for the registry's answer to an API call */
#define RETRY_AFTER_S    1
/* Of JSON, or of tensors that become JSON: more would hold up the loop, about half a millisecond,
 * and goes to a pool thread. */
#define API_INLINE_BYTES (256u << 10)
#define REQUEST_MS_MAX   600000 /* deadline that a request may ask for */

struct pending {
    void (*gone)(struct pending *p);
    void (*drained)(struct pending *p); /* of streamed answers: there is room again */
    void (*body)(struct pending *p, struct bytes piece); /* of streamed requests */
    void (*complete)(struct pending *p);                 /* the same */
};

struct parsed_body; /* body.c */

struct call {
    struct gateway *gateway;
    struct http_request *http;
    struct bytes params[API_PARAMS_MAX]; /* of the path, decoded; good for the call */
    struct bytes query;                  /* behind '?', still encoded */
    struct parsed_body *parsed;          /* a large body, which was parsed before this call */
    uint64_t now_us;                     /* clock_us(), or a moment ago */
};

typedef void api_fn(struct call *c);

struct route {
    const char *method;
    const char *pattern; /* "{}" takes one segment */
    api_fn *handle;      /* the whole request is there; NULL for a streamed one */
    api_fn *stream;      /* headers are there: take the body in pieces; or NULL */
};

/* Each protocol's table ends with a zeroed row. */
extern const struct route predict_routes[], oip_routes[], oip_model_routes[], kserve_routes[],
    models_routes[], deploy_routes[], rollout_routes[], describe_routes[], artifact_routes[],
    uploads_routes[], backup_routes[], datasets_routes[], training_routes[], events_routes[],
    ops_routes[], metrics_routes[];

/* ---- answers ---- */
/* These take body's memory. */
void api_json(struct http_request *r, int status, struct buf *body);
/* 200, a text that goes on in frames; takes both. */
void api_parts(struct http_request *r, const char *content_type, struct buf *text,
               struct frame *parts, size_t count);
void api_text(struct http_request *r, const char *content_type, struct buf *body); /* 200 */
void api_error(struct http_request *r, enum status st, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* As http_stream_*, counted: c->http->user stays set until the end.  After false of begin, after end
 * and after abort the request is answered. */
bool api_stream_begin(struct http_request *r, int status, const char *content_type,
                      uint64_t length) MUST_CHECK;
bool api_stream_write(struct http_request *r, struct frame *piece);
void api_stream_end(struct http_request *r);
void api_stream_abort(struct http_request *r, const struct error *err);
void api_add_header(struct http_request *r, const char *name, const char *value);

/* ---- requests ---- */
/* Percent-decoding (RFC 3986 section 2.1) into out; the length, or -1: it does not fit, or has a
 * NUL. */
int api_decode(struct bytes in, char *out, size_t size);
/* The value of a query parameter, decoded into out[size].  NOT_FOUND: it is not there.
 * INVALID: it does not fit. */
enum status api_query(const struct call *c, const char *name, char *out, size_t size) MUST_CHECK;
/* A version number in a path or body.  INVALID. */
enum status api_version(struct bytes text, uint32_t *out, struct error *err) MUST_CHECK;
/* The same, or an alias of the model, which stands for one.  INVALID; NOT_FOUND: no such model or
 * alias; UNAVAILABLE: the catalog has not come. */
enum status api_version_of(struct gateway *g, struct bytes model, struct bytes text, uint32_t *out,
                           struct error *err) MUST_CHECK;
/* Who asks for a change, for the history: X-User, or "api".  false: that is no name; answered. */
bool api_user(struct call *c, struct bytes *who);
/* *ms: the deadline that the client asks for in X-Request-Timeout-Ms, or as it was.  INVALID. */
enum status api_timeout(const struct http_request *r, uint64_t *ms, struct error *err) MUST_CHECK;
/* What makes a request harmless that is sent twice: the client's Idempotency-Key (one that is to
 * be the same again is sent with it), or a new key of ours.  INVALID. */
enum status api_key(const struct http_request *r, char key[MAX_NAME + 1],
                    struct error *err) MUST_CHECK;
/* The body as a JSON object; to be freed with yyjson_doc_free.  NULL: it has been answered with 400,
 * or it is large and being parsed: then the handler is called again. */
yyjson_doc *api_body(struct call *c);
yyjson_doc *api_json_body(struct call *c, size_t len); /* the first len bytes of it */
/* A string member; absent: *out is empty.  INVALID: it is something else. */
enum status api_string(yyjson_val *object, const char *name, struct bytes *out,
                       struct error *err) MUST_CHECK;

/* Is the path's first parameter fit for a model's name?  false: it has been answered. */
bool api_model_named(struct call *c);
/* The model that the first parameter of the path names; NULL: it has been answered. */
struct catalog_model *api_model(struct call *c);
/* false: the catalog has never come; it has been answered. */
bool api_catalog(struct call *c);

/* ---- pieces ---- */
void api_put_string(struct buf *out, const char *name, struct bytes value); /* "name":"value" */
void api_put_digest(struct buf *out, struct bytes digest);                  /* "digest":"hex" */
void api_put_time(struct buf *out, const char *name, uint64_t wall_ms);
/* ,"name":[{"name":...,"datatype":...,"shape":...},...] */
void api_put_tensors(struct buf *out, const char *name, const struct msg_tensor *list,
                     size_t count);
/* A text that is JSON already, or empty: then `otherwise`. */
void api_put_json(struct buf *out, const char *name, struct bytes json, const char *otherwise);

/* ---- the registry ---- */
/* Sends the request and answers it from the registry's reply: fn writes the body of the answer and
 * returns its HTTP status; failures are answered here. */
typedef int api_reply_fn(struct gateway *g, struct http_request *r, const struct rpc_reply *reply,
                         struct buf *out);
void api_ask(struct call *c, enum msg_kind kind, const void *body, api_reply_fn *fn);

#endif
