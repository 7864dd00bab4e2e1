/* http.h - an HTTP/1.1 server (RFC 9112) on libuv and llhttp.
 *
 * A connection handles one request at a time; pipelined ones wait in its buffer, so answers
 * are in order by construction.  While a request is being handled the socket is still read,
 * so a client that goes away is noticed.
 *
 * Life of a request: begin (headers are complete; the owner may choose to stream the body)
 * -> body* (only when streaming) -> complete -> http_respond by the owner, at any later time.
 * gone replaces everything that has not happened yet: the client is away, the request must not
 * be touched any more.
 */
#ifndef SERVICES_GATEWAY_HTTP_HTTP_H
#define SERVICES_GATEWAY_HTTP_HTTP_H

#include "common/base/bytes.h"
#include "common/net/loop.h"

#define HTTP_TARGET_MAX     8192  /* bytes of the request target: 414 beyond */
#define HTTP_HEADERS_MAX    16384 /* bytes of all header fields: 431 beyond */
#define HTTP_VALUE_MAX      256   /* bytes that are kept of a header's value that we look at */
#define HTTP_PIPELINE_BYTES 65536 /* of requests that wait behind the present one */

struct http_config {
    uint64_t body_max_bytes;  /* of a body that is not streamed: 413 beyond */
    uint32_t connections_max; /* more are closed at once */
    uint32_t idle_timeout_ms; /* of a connection without a request */
    uint32_t read_timeout_ms; /* between two pieces of a request: 408 beyond */
};

struct http_request {
    /* read-only from begin on */
    const char *method;
    struct buf target;                   /* as sent */
    char request_id[HTTP_VALUE_MAX + 1]; /* X-Request-Id, or empty */
    char encoding[HTTP_VALUE_MAX + 1];   /* Content-Encoding, or empty */
    bool has_length;
    uint64_t content_length;
    /* to be set in begin */
    bool stream; /* body comes in pieces, without limit */
    /* read-only from complete on, when not streaming */
    struct buf body;
    /* the owner's */
    void *user;
    uint64_t begin_us;
    char headers[512]; /* more header lines for the answer, each with its CRLF */
};

struct http_events {
    void (*begin)(void *arg, struct http_request *r);
    void (*body)(void *arg, struct http_request *r, struct bytes piece);
    void (*complete)(void *arg, struct http_request *r);
    void (*gone)(void *arg, struct http_request *r);
    /* The server itself refuses a request (bad syntax, too long): for counting. */
    void (*refused)(void *arg, int status);
};

struct http_server;

struct http_server *http_create(struct loop *l, const struct http_config *config,
                                const struct http_events *events, void *arg);
/* address: HOST:PORT.  INVALID, CONFLICT (in use). */
enum status http_listen(struct http_server *s, const char *address, struct error *err) MUST_CHECK;
const char *http_address(const struct http_server *s); /* as bound, port 0 resolved */
size_t http_connections(const struct http_server *s);
/* No new connections or requests: answers carry "connection: close", idle connections end. */
void http_drain(struct http_server *s);
void http_destroy(struct http_server *s);

/* Answers and, if more is to come on the connection, goes on.  r is invalid afterwards.
 * content_type NULL: application/json. */
void http_respond(struct http_request *r, int status, const char *content_type, struct bytes body);

/* Back-pressure of a streamed body. */
void http_pause(struct http_request *r);
void http_resume(struct http_request *r);

#endif
