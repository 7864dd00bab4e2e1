/* sock.h - ZeroMQ sockets on the loop, and frames.
 *
 * A message is a list of frames.  Sending takes the frames on OK and leaves them
 * with the caller on any other status.  The loop thread owns every socket.
 */
#ifndef COMMON_NET_SOCK_H
#define COMMON_NET_SOCK_H

#include "common/net/frame.h"
#include "common/net/loop.h"

/* ROUTER and PUB bind, DEALER and SUB connect. */
enum sock_type { SOCK_ROUTER, SOCK_DEALER, SOCK_PUB, SOCK_SUB };

struct sock_config {
    enum sock_type type;
    uint32_t queue_max;       /* messages per peer (ZMQ_SNDHWM and ZMQ_RCVHWM) */
    uint64_t frame_bytes_max; /* a longer frame costs the peer its connection */
    /* ROUTER and DEALER: over ipc:// endpoints the messages of both take a shorter way than
     * ZeroMQ's, if both ends say so (direct.h).  The contract is the same. */
    bool direct;
};

struct sock;

/* frames: good until the handler returns; the handler may frame_move some out.
 * On a ROUTER the first frame is the route to the peer.  A message of more than
 * MAX_FRAMES frames is dropped and counted (maas_net_bad_messages_total). */
typedef void sock_fn(void *arg, struct frames *frames);

struct sock *sock_create(struct loop *l, const struct sock_config *config, sock_fn *fn, void *arg);
void sock_destroy(struct sock *s); /* NULL is fine; allowed inside its own handler */

/* INVALID: not an endpoint; CONFLICT: the address is in use; *err names it. */
enum status sock_bind(struct sock *s, const char *endpoint, struct error *err) MUST_CHECK;
enum status sock_connect(struct sock *s, const char *endpoint, struct error *err) MUST_CHECK;
const char *sock_endpoint(const struct sock *s); /* as bound, wildcards resolved */

/* Never blocks.  BUSY: the peer's queue is full, or (DEALER) nobody is connected yet.
 * NOT_FOUND: ROUTER, the peer is gone. */
enum status sock_send(struct sock *s, struct frames *frames) MUST_CHECK;

/* Calls fn when a peer's connection was lost.  Which one is not told: probe. */
void sock_on_disconnect(struct sock *s, loop_fn *fn, void *arg);

/* Stops and resumes taking messages (back-pressure); messages wait in ZeroMQ. */
void sock_pause(struct sock *s, bool paused);

#endif
