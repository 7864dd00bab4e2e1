/* frame.h - the parts that a message consists of: reference-counted memory.
 *
 * A tensor travels as a frame from the socket that it came by to the runtime that reads it
 * without being copied.  Any thread, but one frame belongs to one thread at a time.
 */
#ifndef COMMON_NET_FRAME_H
#define COMMON_NET_FRAME_H

#include "common/base/bytes.h"
#include "common/msg/limits.h"

/* One frame: reference-counted memory of ZeroMQ.  Zeroed is not valid: use frame_init*. */
struct frame {
    _Alignas(8) unsigned char opaque[64]; /* private: zmq_msg_t */
};

typedef void frame_free_fn(void *data, void *hint); /* may run on any thread */

void frame_init_empty(struct frame *f);
void *frame_init_size(struct frame *f, size_t len); /* the memory to fill, len bytes */
void frame_init_copy(struct frame *f, struct bytes data);
/* Up to CHUNK_BYTES, of memory that is used again (chunk_memory.h).  NULL: the kernel has none, and f
 * is not initialised. */
void *frame_init_chunk(struct frame *f, size_t len);
/* Gives data to the frame; free_fn is called once nobody uses it. */
void frame_init_take(struct frame *f, void *data, size_t len, frame_free_fn *free_fn, void *hint);
void frame_init_buf(struct frame *f, struct buf *b); /* takes b's memory; b is empty after */
void frame_init_share(struct frame *f, const struct frame *of); /* a second reference */
/* A part of another frame's memory, which lives until both are finished. */
void frame_init_slice(struct frame *f, const struct frame *of, size_t offset, size_t len);
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

#endif
