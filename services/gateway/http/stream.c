/* stream.c - answers that are written in pieces, as large as they may be; see http.h.
 *
 * At most one piece waits for the client: the next is asked for (drained) when the kernel has
 * taken it.  With a length the body is sent as it is; without one in the chunks of RFC 9112
 * section 7.1, or to HTTP/1.0 until the connection ends.
 */
#include "services/gateway/http/conn.h"

#include <assert.h>
#include <stdio.h>

bool http_stream_begin(struct http_request *r, int status, const char *content_type,
                       uint64_t length)
{
    struct conn *c = (struct conn *)r;
    assert(c->state == CONN_HANDLING);
    c->stream_left = length;
    c->broken = false;
    c->pieces = length == HTTP_LENGTH_UNKNOWN && c->chunks;
    c->keep_alive = c->keep_alive && (c->pieces || length != HTTP_LENGTH_UNKNOWN);
    struct buf *head = conn_head(c, status, content_type, length);
    conn_move(c, CONN_STREAMING);
    conn_send(c, buf_bytes(head), &(struct payload){ 0 });
    if (!c->head)
        return true;
    c->stream_left = 0;
    c->pieces = false;
    http_stream_end(r);
    return false;
}

bool http_stream_write(struct http_request *r, struct frame *piece)
{
    struct conn *c = (struct conn *)r;
    size_t len = frame_bytes(piece).len;
    struct payload payload = { .parts = piece, .count = 1 };
    char size[24] = "";
    assert(c->state == CONN_STREAMING && len <= c->stream_left);
    if (c->stream_left != HTTP_LENGTH_UNKNOWN)
        c->stream_left -= len;
    if (c->broken || !len) {
        frame_finish(piece);
        return !c->broken;
    }
    if (c->pieces)
        snprintf(size, sizeof size, "%zx\r\n", len);
    struct frame parts[2];
    if (c->pieces) {
        frame_init_empty(&parts[0]);
        frame_move(&parts[0], piece);
        frame_init_copy(&parts[1], bytes_of("\r\n", 2));
        payload = (struct payload){ .parts = parts, .count = 2 };
    }
    conn_send(c, bytes_str(size), &payload);
    return !c->writes && !c->broken;
}

void http_stream_end(struct http_request *r)
{
    struct conn *c = (struct conn *)r;
    assert(c->state == CONN_STREAMING);
    assert(c->stream_left == 0 || c->stream_left == HTTP_LENGTH_UNKNOWN);
    if (c->pieces && !c->broken)
        conn_send(c, bytes_str("0\r\n\r\n"), &(struct payload){ 0 });
    c->keep_alive = c->keep_alive && !c->broken && !c->server->draining;
    conn_move(c, c->keep_alive ? CONN_FLUSHING : CONN_CLOSING);
    conn_answered(c);
}

void http_stream_abort(struct http_request *r)
{
    struct conn *c = (struct conn *)r;
    assert(c->state == CONN_STREAMING);
    conn_move(c, CONN_CLOSING); /* the owner knows */
    conn_close(c);
}
