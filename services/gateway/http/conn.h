/* conn.h - a connection, as the files of this folder share it: http.c (server, time),
 * conn.c (states), reading.c, answer.c (writing), stream.c (answers in pieces), parse.c (llhttp).  Private to these.
 *
 * The state of a connection is the list of the server that holds it; conn_move() moves it:
 *
 *     IDLE -> HEAD -> BODY -> HANDLING -> [STREAMING ->] FLUSHING -> IDLE ...
 *                       any but IDLE -> CLOSING       any -> DEAD
 *
 * The owner knows of the request in BODY, HANDLING and STREAMING, and in no other state.
 */
#ifndef SERVICES_GATEWAY_HTTP_CONN_H
#define SERVICES_GATEWAY_HTTP_CONN_H

#include "services/gateway/http/http.h"

#include <llhttp.h>
#include <uv.h>

#define READ_BYTES 65536 /* one buffer for all connections: what is read is used at once */

#define HTTP_BODIES_FULL "too many bodies are in memory; try again"

enum conn_state {
    CONN_IDLE,      /* no byte of a request has come; by deadline */
    CONN_HEAD,      /* the header is coming; by deadline */
    CONN_BODY,      /* the owner has had begin; the body is coming */
    CONN_HANDLING,  /* the owner has the whole request */
    CONN_STREAMING, /* the owner writes its answer in pieces */
    CONN_FLUSHING,  /* the client has not taken the answer yet; the next request waits */
    CONN_CLOSING,   /* answered for the last time; what comes is thrown away */
    CONN_DEAD,      /* uv_close was called; freed when libuv says so */
    CONN_STATES
};

struct conn {
    struct http_request request; /* first: http_request is embedded in its connection */
    struct http_server *server;
    struct conn *next, *prev;
    uv_tcp_t tcp;
    int fd; /* of tcp */
    llhttp_t parser;
    enum conn_state state;
    bool feeding; /* inside conn_feed(), which goes on by itself after an answer */
    bool reading; /* else what comes waits in the kernel */
    bool eof;     /* the client has ended its stream */
    bool keep_alive;
    bool head;    /* HEAD: no body in the answer */
    bool chunked; /* the parser reads the body; else body_left says how much is to come */
    unsigned hosts;
    bool pieces;          /* the streamed answer is in chunks */
    bool broken;          /* the client does not take a streamed answer any more: to be closed */
    uint64_t stream_left; /* bytes of it that are to come, when that is known */
    uint64_t body_left;
    uint64_t reserved; /* of the server's bodies_max_bytes */
    uint64_t deadline_ms;
    struct buf waiting; /* read, but not looked at yet: pipelined requests */
    /* The head of the last request, byte for byte, as long as all that it says is kept in `request` and
     * here: the next one is mostly the same.  Empty: there is none. */
    struct buf known;
    bool own_id; /* it has a request id of the client's */
    bool chunks; /* the client knows them: HTTP/1.1 */
    size_t field_bytes;
    bool keep_fields; /* of this request */
    size_t field_count;
    size_t writes;  /* under way */
    size_t untaken; /* bytes of them that the client had not taken when the sweep last looked */
    int refuse;     /* status to refuse with, set by the parser's callbacks */
    const char *refuse_text;
    char expect[16];
    char name[32]; /* of the present header; longer ones are none of ours */
    size_t name_len;
    char *value; /* where its value goes until that is whole, or NULL */
    size_t value_size;
    size_t value_len;
};

struct http_server {
    struct loop *loop;
    struct http_config config;
    struct http_events events;
    void *arg;
    uv_tcp_t listener;
    int arrivals;   /* epoll: the connections that something has come on */
    uv_poll_t poll; /* watches that */
    bool draining;
    bool listener_closed;
    bool keep_fields; /* all header fields of a request */
    struct loop_timer *sweep;
    uint64_t read_us; /* clock_us() when the bytes came that are being looked at */
    struct conn *conns[CONN_STATES];
    size_t count;
    uint64_t bodies_bytes; /* of requests and of answers, in memory */
    llhttp_settings_t settings;
    uint64_t id_prefix;
    uint64_t id_count;
    long date_of; /* the second that date tells */
    char date[64];
    char address[128];
    struct buf scratch; /* the head of an answer */
    char read_buffer[READ_BYTES];
};

/* http.c */
/* Bytes that the client has not taken: ours and the kernel's. */
size_t conn_untaken(const struct conn *c);
bool conn_has_sent(const struct conn *c);   /* what we have not read yet */
void server_release(struct http_server *s); /* frees it once nothing needs it any more */

/* conn.c */
struct conn *conn_create(struct http_server *s);
void conn_move(struct conn *c, enum conn_state to);
/* Uses up the data, or keeps what must wait for the present request. */
void conn_feed(struct conn *c, struct bytes data);
/* Ready for the next request, which may be here already. */
void conn_next(struct conn *c);
/* Counts so many bytes of body more.  BUSY: all connections have too many together. */
enum status conn_reserve(struct conn *c, uint64_t more) MUST_CHECK;
uint64_t conn_room(const struct conn *c); /* how many more there may be */
/* The owner hears of it when it has a request that is not answered. */
void conn_close(struct conn *c);
/* The whole request is there. */
void conn_complete(struct conn *c);
/* A body that trickles is given up in the end; one that flows never is.  The more memory it holds,
 * the faster it must come. */
void conn_extend_deadline(struct conn *c, size_t bytes);

/* reading.c */
void reading_open(struct http_server *s);
void reading_close(struct http_server *s); /* server_release follows */
/* Reads from now on.  UNAVAILABLE: the kernel cannot watch it. */
enum status reading_begin(struct conn *c) MUST_CHECK;
void conn_set_reading(struct conn *c, bool on);
/* Reads what is there, if it is read at all; to_end: the client has sent its end behind that. */
void conn_look(struct conn *c, bool to_end);

/* parse.c */
void parse_init(llhttp_settings_t *settings);
/* Gives data to the parser, which stops at the end of a header or of a chunked body.  How much
 * was used; c->refuse is set when it is no request. */
size_t parse(struct conn *c, struct bytes data);
/* The same with the first bytes of a request.  A head that comes again is not parsed. */
size_t parse_first(struct conn *c, struct bytes data);
void parse_reset(struct conn *c);  /* for the next request */
void parse_forget(struct conn *c); /* nothing is known of any head */
/* Makes sure that the request has an id that can be shown. */
void conn_choose_id(struct conn *c);

/* answer.c */
/* What follows the head of an answer; its memory is taken. */
struct payload {
    struct buf body;
    struct frame *parts;
    size_t count;
};
/* The head of an answer, in the server's scratch buffer; length: of the body, or HTTP_LENGTH_UNKNOWN:
 * none is said. */
struct buf *conn_head(struct conn *c, int status, const char *content_type, uint64_t length);
/* The answer is complete, but for what the client has not taken. */
void conn_answered(struct conn *c);
/* Sends what the kernel takes now and queues the rest. */
void conn_send(struct conn *c, struct bytes head, struct payload *payload);
void conn_answer(struct conn *c, int status, const char *content_type, struct payload *payload);
/* Refuses what is not a request that anybody could handle. */
void conn_refuse(struct conn *c, int status, const char *text);

#endif
