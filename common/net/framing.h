/* framing.h - messages in a stream of bytes: u32 count, count times u64 length, then the frames,
 * little-endian.  Pure: no sockets.
 *
 * The reader copies what is small; the rest of a large frame can be read straight to its place.
 */
#ifndef COMMON_NET_FRAMING_H
#define COMMON_NET_FRAMING_H

#include "common/net/frame.h"

#define FRAMING_HEAD_MAX (4 + 8 * MAX_FRAMES)

struct framing {
    /* set by the owner, zeroed otherwise */
    size_t from;              /* frames that are in `frames` before those of the stream come */
    uint64_t frame_bytes_max; /* a longer frame is refused */
    struct frames frames;

    /* private */
    unsigned char head[FRAMING_HEAD_MAX];
    size_t head_len;
    uint64_t lengths[MAX_FRAMES];
    size_t expected; /* frames; 0: the head is not whole */
    size_t filled;   /* bytes of the last frame */
    char *place;     /* of the last frame */
};

/* Takes bytes off the front of data until they are used up or a message is whole.
 * INVALID: this is no message.  FULL: no memory for a frame. */
enum status framing_take(struct framing *f, struct bytes *data) MUST_CHECK;
/* A message is in f->frames, behind the `from` first.  The owner uses them and starts anew. */
bool framing_whole(const struct framing *f);
void framing_next(struct framing *f);
void framing_finish(struct framing *f);

/* Where the rest of the frame that has begun goes, and how long it is; NULL and 0: none has. */
void *framing_room(const struct framing *f, uint64_t *len);
void framing_filled(struct framing *f, size_t len); /* so many bytes were put there */

/* The head for these frames, but the first `from`; its length. */
size_t framing_head(const struct frames *frames, size_t from, unsigned char head[FRAMING_HEAD_MAX]);

#endif
