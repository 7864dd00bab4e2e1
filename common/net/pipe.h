/* pipe.h - envelopes over a stream between a process and its child.
 *
 * Each envelope goes behind its length (uint32, little-endian), at most
 * MAX_SMALL_ENVELOPE.  The end of the stream means that the other side is gone.
 */
#ifndef COMMON_NET_PIPE_H
#define COMMON_NET_PIPE_H

#include "common/msg/codec.h"
#include "common/net/loop.h"

struct pipe;

/* m: NULL at the end of the stream or after garbage; then the pipe is silent for good. */
typedef void pipe_fn(void *arg, const struct msg *m);

/* Takes the connected stream socket fd (closed by destroy). */
struct pipe *pipe_create(struct loop *l, int fd, pipe_fn *fn, void *arg);
void pipe_destroy(struct pipe *p); /* NULL is fine; allowed in its handler */
/* Copies.  UNAVAILABLE: the other side is gone.  BUSY: it does not read (1 MiB waits). */
enum status pipe_send(struct pipe *p, enum msg_kind kind, const void *body) MUST_CHECK;

#endif
