/* conn.h - a connection, as http.c (sockets, answers) and parse.c (llhttp) share it.
 * Private to these two. */
#ifndef SERVICES_GATEWAY_HTTP_CONN_H
#define SERVICES_GATEWAY_HTTP_CONN_H

#include "services/gateway/http/http.h"

#include <llhttp.h>
#include <uv.h>

#define READ_BYTES 65536 /* one buffer for all connections: what is read is parsed at once */

enum conn_state {
    CONN_READING,  /* waits for a request, or for the rest of one */
    CONN_HANDLING, /* the owner has the whole request */
    CONN_CLOSING,  /* answered for the last time; nothing is parsed any more */
};

struct conn {
    struct http_request request; /* first: http_request is embedded in its connection */
    struct http_server *server;
    struct conn *next, *prev;
    uv_tcp_t tcp;
    llhttp_t parser;
    enum conn_state state;
    bool begun;    /* begin was called for the present request */
    bool answered; /* http_respond came before the body's end */
    bool parsing;  /* inside llhttp_execute */
    bool closed;   /* uv_close was called */
    bool keep_alive;
    bool paused;
    bool head;          /* HEAD: no body in the answer */
    struct buf waiting; /* read, but not parsed yet */
    size_t header_bytes;
    char name[32]; /* of the present header; longer ones are none of ours */
    size_t name_len;
    char *value; /* where its value goes, or NULL */
    size_t value_len;
    size_t writes; /* under way */
    int refuse;    /* status to refuse with, set by the parser's callbacks */
    const char *refuse_text;
    uint64_t deadline_ms;
};

struct http_server {
    struct loop *loop;
    struct http_config config;
    struct http_events events;
    void *arg;
    uv_tcp_t listener;
    bool listening;
    bool draining;
    bool listener_closed;
    struct loop_timer *sweep;
    struct conn *conns;
    size_t count;
    llhttp_settings_t settings;
    char address[128];
    struct buf scratch; /* the head of an answer */
    char read_buffer[READ_BYTES];
};

/* parse.c */
void conn_parse_init(llhttp_settings_t *settings);
/* Feeds the parser until the data is used up or a request is under way. */
void conn_parse(struct conn *c, struct bytes data);
/* After an answer: what has been read meanwhile. */
void conn_go_on(struct conn *c);

/* http.c */
void conn_send(struct conn *c, struct bytes head, struct bytes body);
/* Refuses what is not a request that anybody could handle. */
void conn_refuse(struct conn *c, int status, const char *text);

#endif
