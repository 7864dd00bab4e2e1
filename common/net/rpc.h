/* rpc.h - request and reply between processes, with deadlines and reconnection.
 *
 * Client: calls are numbered; each has a deadline and its callback runs exactly
 * once, on the loop, unless rpc_cancel came first.  When the connection breaks, what
 * is still open is sent again as soon as there is another one; when the registry stays
 * silent, the client opens a new socket, with back-off.  So every request must be one
 * that may arrive twice (reads, puts, or with a key).
 *
 * Several registries on one Redis: their endpoints, with commas.  A client talks to one of them;
 * when that breaks, stays silent, cannot be connected to, or says UNAVAILABLE, it goes to the next
 * one with all open calls.
 *
 * Server: a table from kind to handler; a handler answers now or later, once.
 */
#ifndef COMMON_NET_RPC_H
#define COMMON_NET_RPC_H

#include "common/msg/codec.h"
#include "common/net/sock.h"

#define RPC_CALLS_MAX       1024  /* open calls of one client; more are BUSY */
#define RPC_SILENCE_MS      3000  /* no word for this long with calls open: connect anew */
#define RPC_PATIENCE_MAX_MS 12000 /* it doubles up to this while the silence lasts */
#define RPC_CONNECT_MS      500   /* with several endpoints: one that takes longer is left */
#define RPC_MOVE_MS         1000  /* UNAVAILABLE moves a client at most this often */
#define RPC_ENDPOINTS_MAX   4
#define RPC_FRAME_MAX       (CHUNK_BYTES + 4096) /* bytes of a frame that a server takes */

struct rpc_client;
struct rpc_call;

struct rpc_reply {
    enum status status;       /* OK, the registry's own, or one of these:
                                  * TIMEOUT: it was sent, but no answer came in time;
                                  * UNAVAILABLE: there was no connection; CANCELLED: destroy */
    const char *text;         /* when status is not OK: the sentence for people */
    enum msg_kind kind;       /* when OK */
    const void *body;         /* when OK: struct msg_x of kind */
    struct frame *attachment; /* when OK: NULL, or a frame that may be moved out */
};

/* Everything in reply is good until the callback returns. */
typedef void rpc_reply_fn(void *arg, const struct rpc_reply *reply);

/* endpoints: one, or several with commas. */
struct rpc_client *rpc_client_create(struct loop *l, const char *endpoints);
/* Open calls end with CANCELLED, inside this call.  Not from a callback of this client. */
void rpc_client_destroy(struct rpc_client *c);

/* Sends body (copied) and, if not NULL, the attachment (moved out).  NULL: RPC_CALLS_MAX calls
 * are open or the client is being destroyed; nothing was sent and fn will not be called (the
 * attachment stays). */
struct rpc_call *rpc_call(struct rpc_client *c, enum msg_kind kind, const void *body,
                          struct frame *attachment, uint64_t timeout_ms, rpc_reply_fn *fn,
                          void *arg) MUST_CHECK;
void rpc_cancel(struct rpc_call *call);         /* NULL is fine; fn is not called any more */
bool rpc_connected(const struct rpc_client *c); /* the registry answered lately */

struct rpc_server;

/* Where to send the answer: copy it to answer later. */
struct rpc_peer {
    uint64_t id;
    unsigned char route[MAX_ROUTE];
    size_t route_len;
};

struct rpc_request {
    struct rpc_peer peer;
    enum msg_kind kind;
    const void *body;         /* struct msg_x of kind */
    struct frame *attachment; /* NULL, or a frame that may be moved out */
};

typedef void rpc_handler_fn(void *arg, const struct rpc_request *request);

/* handlers[kind] may be NULL: such requests are answered with a failure by themselves. */
struct rpc_server *rpc_server_create(struct loop *l, rpc_handler_fn *const handlers[MSG_KIND_COUNT],
                                     void *arg);
enum status rpc_server_bind(struct rpc_server *s, const char *endpoint,
                            struct error *err) MUST_CHECK;
const char *rpc_server_endpoint(const struct rpc_server *s);
void rpc_server_destroy(struct rpc_server *s);

/* attachment: NULL, or moved out.  A peer that is gone is no error: nobody waits. */
void rpc_answer(struct rpc_server *s, const struct rpc_peer *peer, enum msg_kind kind,
                const void *body, struct frame *attachment);
void rpc_fail(struct rpc_server *s, const struct rpc_peer *peer, enum status st, const char *fmt,
              ...) PRINTF_LIKE(4, 5);

#endif
