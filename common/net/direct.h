/* direct.h - messages between two processes of one host, without an I/O thread in between.
 *
 * A message over ZeroMQ passes four threads on its way there and back; where both ends share
 * a host, most of the time of a short job is these wake-ups.  A direct socket carries the same
 * frames over a stream socket (AF_UNIX) that the loop itself reads and writes.  Private to
 * sock.c, which chooses it for ipc:// endpoints where its owner allows that.
 * On the wire: framing.h.
 */
#ifndef COMMON_NET_DIRECT_H
#define COMMON_NET_DIRECT_H

#include "common/net/frame.h"
#include "common/net/loop.h"

struct direct;

struct direct_config {
    uint32_t queue_max;       /* messages that wait for one peer: BUSY beyond */
    uint64_t frame_bytes_max; /* a longer frame costs the peer its connection */
};

/* frames: as in sock.h.  A side that listens gets the route to the peer as first frame. */
typedef void direct_message_fn(void *arg, struct frames *frames);

/* lost(arg): a connection has ended; called later, never inside a send.  NULL: INVALID, *err names
 * the path. */
struct direct *direct_listen(struct loop *l, const char *path, const struct direct_config *config,
                             direct_message_fn *message, loop_fn *lost, void *arg,
                             struct error *err);
/* Connects again, with back-off, for as long as it lives. */
struct direct *direct_connect(struct loop *l, const char *path, const struct direct_config *config,
                              direct_message_fn *message, loop_fn *lost, void *arg);
void direct_destroy(struct direct *d); /* NULL is fine; allowed inside a handler */

/* Is this the route of a direct peer, rather than ZeroMQ's? */
bool direct_route(struct bytes route);

/* Takes the frames on OK; a side that listens finds the peer by the first one.
 * BUSY: too much waits, or (the side that connects) nobody is there.  NOT_FOUND: no such peer. */
enum status direct_send(struct direct *d, struct frames *frames) MUST_CHECK;

void direct_pause(struct direct *d, bool paused);

#endif
