/* http.h - an HTTP/1.1 server (RFC 9112) on libuv and llhttp.
 *
 * A connection handles one request at a time; pipelined ones wait in its buffer, so answers
 * are in order by construction, and the next request waits until the client has taken the
 * last answer.  While a request is being handled the socket is still read, so a client that
 * goes away is noticed: the end of its stream cancels what it has asked.
 *
 * Life of a request: begin (headers are complete; the owner may choose to stream the body)
 * -> body* (only when streaming) -> complete -> http_respond by the owner, at any later time.
 * gone replaces everything that has not happened yet: the client is away, the request must not
 * be touched any more.
 *
 * An answer may also be streamed: http_stream_begin, then pieces, each time that there is room
 * (drained), then http_stream_end.
 */
#ifndef SERVICES_GATEWAY_HTTP_HTTP_H
#define SERVICES_GATEWAY_HTTP_HTTP_H

#include "common/net/frame.h"
#include "common/net/loop.h"

#define HTTP_TARGET_MAX     8192  /* bytes of the request target: 414 beyond */
#define HTTP_HEADERS_MAX    16384 /* bytes of all header fields and chunk extensions: 431 beyond */
#define HTTP_FIELDS_MAX     100   /* header fields: 431 beyond */
#define HTTP_ID_MAX         128   /* bytes of an X-Request-Id that is taken over */
#define HTTP_PIPELINE_BYTES 65536 /* that wait behind the present request; then reading stops */
#define HTTP_RATE           1024 /* bytes per second that a body, or who takes an answer, must make */
#define HTTP_BODY_SECONDS   600 /* the rate of a large one: all that it holds, in this time */
#define HTTP_BODY_PADDING   4   /* zeros behind a body, so that it can be parsed in place */
#define HTTP_PARTS_MAX      MAX_TENSORS
#define HTTP_KNOWN_MAX      1024 /* bytes of a head that is recognised when it comes again */

struct http_config {
    uint64_t body_max_bytes;   /* of a body that is not streamed: 413 beyond */
    uint64_t bodies_max_bytes; /* of these in memory, and of answers not yet taken: 503 beyond */
    uint32_t connections_max;  /* more are closed at once */
    uint32_t idle_timeout_ms;  /* of a connection without a request */
    uint32_t read_timeout_ms;  /* for the header, and for a body that has stopped: 408 beyond */
};

struct http_request {
    /* read-only from begin on */
    const char *method;
    struct buf target;                /* as sent */
    char request_id[HTTP_ID_MAX + 1]; /* X-Request-Id if there is a sane one, else one of ours */
    char content_type[64];            /* Content-Type, or empty; "?": too long to be kept */
    char encoding[16];                /* Content-Encoding, or empty */
    char accept_encoding[64];         /* Accept-Encoding, or empty; "?": too long to be kept */
    char json_length[24];             /* Inference-Header-Content-Length, or empty */
    char timeout_ms[16];              /* X-Request-Timeout-Ms, or empty */
    char idempotency_key[104];        /* Idempotency-Key, or empty; "?": too long to be kept */
    char range[64];                   /* Range, or empty; "?": too long to be kept */
    char if_none_match[160];          /* If-None-Match, or empty; "?": too long to be kept */
    char if_range[72];                /* If-Range, or empty; "?": too long to be kept */
    char who[HTTP_ID_MAX + 1];        /* X-User, or empty; "?": too long to be kept */
    char last_event[24];              /* Last-Event-ID, or empty; "?": too long to be kept */
    struct buf fields;                /* see http_field */
    bool has_length;
    bool has_body;
    uint64_t content_length;
    /* to be set in begin */
    bool stream; /* body comes in pieces, without limit */
    /* read-only from complete on, when not streaming; HTTP_BODY_PADDING zeros follow */
    struct buf body;
    /* the owner's */
    const void *route;
    void *user;
    int stream_status;      /* of an answer that is being streamed */
    bool unending;          /* a streamed answer that ends when the client sends its end */
    uint32_t retry_after_s; /* for an answer that asks to come again; 0: 1 */
    uint64_t begin_us;      /* clock_us() when the header, then the whole request was there */
    uint64_t end_us;        /* the same when the answer was ready; 0: not known */
    struct buf headers;     /* more header lines for the answer, each with its CRLF */
};

struct http_events {
    void (*begin)(void *arg, struct http_request *r);
    void (*body)(void *arg, struct http_request *r, struct bytes piece);
    void (*complete)(void *arg, struct http_request *r);
    void (*gone)(void *arg, struct http_request *r);
    /* The server itself refuses a request (bad syntax, too long): for counting. */
    void (*refused)(void *arg, int status);
    /* There is room again for a streamed answer, after http_stream_write has returned false.  NULL
     * where no answer is streamed. */
    void (*drained)(void *arg, struct http_request *r);
};

struct http_server;

struct http_server *http_create(struct loop *l, const struct http_config *config,
                                const struct http_events *events, void *arg);
/* address: HOST:PORT, HOST a number; [HOST]:PORT for IPv6.  INVALID, CONFLICT (in use). */
enum status http_listen(struct http_server *s, const char *address, struct error *err) MUST_CHECK;
const char *http_address(const struct http_server *s); /* as bound, port 0 resolved */
size_t http_connections(const struct http_server *s);
/* From now on answers carry "connection: close".  Who is connected, and who connects, is still
 * served, so that those who watch readiness can see it go. */
void http_drain(struct http_server *s);
void http_stop_listening(struct http_server *s); /* twice is fine */
/* Ends the connections on which nothing has come, not even into the kernel.  How many others have
 * something to be read, answered or written. */
size_t http_end_idle(struct http_server *s);
void http_destroy(struct http_server *s); /* NULL is fine; open requests are gone */

/* Answers and, if more is to come on the connection, goes on.  r is invalid afterwards.
 * Takes body's memory.  content_type NULL: application/json. */
void http_respond(struct http_request *r, int status, const char *content_type, struct buf *body);
/* The same with a body that goes on in frames, which are taken too.  At most HTTP_PARTS_MAX. */
void http_respond_parts(struct http_request *r, int status, const char *content_type,
                        struct buf *body, struct frame *parts, size_t count);

/* Begins an answer of length bytes, or, HTTP_LENGTH_UNKNOWN, of as many as come.  false: the client
 * wants no body (HEAD); that was all, r is invalid. */
#define HTTP_LENGTH_UNKNOWN UINT64_MAX
bool http_stream_begin(struct http_request *r, int status, const char *content_type,
                       uint64_t length) MUST_CHECK;
/* Takes the piece.  false: no more until drained, or gone; neither comes inside this call. */
bool http_stream_write(struct http_request *r, struct frame *piece);
/* All is written; r is invalid afterwards. */
void http_stream_end(struct http_request *r);
/* The rest cannot be had: the connection breaks, so that the client sees it.  r is invalid. */
void http_stream_abort(struct http_request *r);

/* A request that is complete gets another body, whose memory is taken, with padding behind it.
 * BUSY: all connections have too much in memory; body stays the caller's. */
enum status http_set_body(struct http_request *r, struct buf *body) MUST_CHECK;

/* From the next request on: are all header fields kept, or only those above? */
void http_keep_fields(struct http_server *s, bool keep); /* NULL is fine */
/* The value of a header field, where all are kept; empty: there is none, or they are not.  Good as
 * long as the request. */
struct bytes http_field(const struct http_request *r, struct bytes name);

/* Bytes per second that are expected of a transfer that holds so many in memory. */
static inline uint64_t http_least_rate(uint64_t bytes)
{
    return bytes / HTTP_BODY_SECONDS > HTTP_RATE ? bytes / HTTP_BODY_SECONDS : HTTP_RATE;
}

/* Back-pressure of a streamed body. */
void http_pause(struct http_request *r);
void http_resume(struct http_request *r);

#endif
