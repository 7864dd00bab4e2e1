/* sock.h - ZeroMQ sockets on the loop, and frames.
 *
 * A message is a list of frames.  Sending takes the frames on OK and leaves them
 * with the caller on any other status.  The loop thread owns every socket.
 */
#ifndef COMMON_NET_SOCK_H
#define COMMON_NET_SOCK_H

#include "common/base/bytes.h"
#include "common/msg/limits.h"
#include "common/net/loop.h"

/* One frame: reference-counted memory of ZeroMQ.  Zeroed is not valid: use frame_init*. */
struct frame {
    _Alignas(8) unsigned char opaque[64]; /* private: zmq_msg_t */
};

typedef void frame_free_fn(void *data, void *hint); /* may run on any thread */

void frame_init_empty(struct frame *f);
void *frame_init_size(struct frame *f, size_t len); /* the memory to fill, len bytes */
void frame_init_copy(struct frame *f, struct bytes data);
/* Gives data to the frame; free_fn is called once nobody uses it. */
void frame_init_take(struct frame *f, void *data, size_t len, frame_free_fn *free_fn, void *hint);
void frame_init_buf(struct frame *f, struct buf *b); /* takes b's memory; b is empty after */
void frame_init_share(struct frame *f, const struct frame *of); /* a second reference */
struct bytes frame_bytes(const struct frame *f);
void frame_move(struct frame *to, struct frame *from); /* to: initialised; from: empty after */
void frame_finish(struct frame *f);

struct frames {
    struct frame at[MAX_FRAMES]; /* the first count are initialised */
    size_t count;
};

void frames_finish(struct frames *f); /* leaves it empty */
/* The next frame to be initialised by the caller with frame_init*; NULL: MAX_FRAMES are used. */
struct frame *frames_add(struct frames *f);

/* ROUTER and PUB bind, DEALER and SUB connect. */
enum sock_type { SOCK_ROUTER, SOCK_DEALER, SOCK_PUB, SOCK_SUB };

struct sock_config {
    enum sock_type type;
    uint32_t queue_max;       /* messages per peer (ZMQ_SNDHWM and ZMQ_RCVHWM) */
    uint64_t frame_bytes_max; /* a longer frame costs the peer its connection */
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
