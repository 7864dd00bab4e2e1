/* assemble.h - from uploads that have come in ranges to a version. */
#ifndef SERVICES_GATEWAY_API_ASSEMBLE_H
#define SERVICES_GATEWAY_API_ASSEMBLE_H

#include "services/gateway/api/api.h"

/* ---- look.c: what there is of an upload ---- */

struct upload_state {
    char id[MAX_NAME + 1];
    char place[2 * MAX_NAME + 1]; /* MODEL:NUMBER, or empty: it is open */
    uint64_t size_bytes;          /* 0: not said */
    uint64_t created_ms, left_ms;
    struct buf pieces; /* resolved (pieces.h) */
};

typedef void upload_looked_fn(void *arg, const struct error *err); /* err: NULL when it is there */

struct upload_look {
    struct upload_state state; /* read-only, when it is done */
    struct gateway *gateway;   /* private, from here on */
    struct rpc_call *call;
    uint64_t next; /* slot of the next page */
    size_t slots;  /* that have come */
    upload_looked_fn *done;
    void *arg;
};

/* done may come inside, and may finish k. */
void upload_look_start(struct upload_look *k, struct gateway *g, struct bytes id,
                       upload_looked_fn *done, void *arg);
void upload_look_finish(struct upload_look *k); /* zeroed is fine */

/* ---- assemble.c: POST /api/uploads/{id}/commit ---- */
api_fn assemble_upload;

/* ---- order.c: what such a request asks for ---- */

struct wanted_file {
    char upload[MAX_NAME + 1];
    char name[MAX_NAME + 1];      /* empty: the version's only file */
    char sha256[DIGEST_HEX_SIZE]; /* empty: not said; never for the first */
    uint64_t size;                /* 0: not said */
};

struct order {
    char model[MAX_NAME + 1];
    char format[MAX_NAME + 1];
    struct buf tags; /* JSON object, or empty */
    char description[MAX_DESCRIPTION + 1];
    struct wanted_file files[MAX_VERSION_FILES]; /* the main one first */
    size_t count;
};

/* INVALID, UNSUPPORTED.  upload: of the main file. */
enum status order_read(yyjson_val *body, struct bytes upload, struct order *out,
                       struct error *err) MUST_CHECK;
void order_finish(struct order *o);

#endif
