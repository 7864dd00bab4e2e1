/* codec.h - envelopes to and from bytes, by the tables that schema.h makes.
 *
 * The only user of msgpack.  Hostile input costs what its length allows, not what it says:
 * declared counts are bounded by the bytes that are there and by the field's limit before
 * anything is allocated, and an envelope has at most MAX_ENVELOPE bytes.
 */
#ifndef COMMON_MSG_CODEC_H
#define COMMON_MSG_CODEC_H

#include "common/msg/schema.h"

/* Appends the envelope of body (struct msg_x of this kind) to out. */
void msg_encode(struct buf *out, enum msg_kind kind, uint64_t id, const void *body);

/* Keeps the memory of one decoded envelope at a time and reuses it for the next. */
struct msg_decoder {
    void *memory; /* private: msgpack's zone and the arena of lists */
    size_t chunk; /* what the memory grows by; 0: 8 KiB.  Set before the first decode */
};

struct msg {
    enum msg_kind kind;
    uint64_t id;
    const void *body; /* struct msg_x of this kind; good until the next decode */
};

/* Decodes one envelope.  INVALID: not an envelope, an unknown kind, a value of the wrong
 * type, or one beyond its limit; *err names the message, the field and the limit. */
enum status msg_decode(struct msg_decoder *d, struct bytes frame, struct msg *out,
                       struct error *err) MUST_CHECK;
void msg_decoder_finish(struct msg_decoder *d); /* zeroed is fine */

/* The same for a bare struct, as the registry keeps them in Redis: `name` of STRUCT_LIST. */
struct schema_struct; /* private to codec.c */
#define X(name, FIELDS) extern const struct schema_struct schema_##name;
STRUCT_LIST(X)
#undef X
void msg_pack(struct buf *out, const struct schema_struct *s, const void *body);
enum status msg_unpack(struct msg_decoder *d, const struct schema_struct *s, struct bytes packed,
                       const void **body, struct error *err) MUST_CHECK;

/* The whole schema as one JSON text: for peers in other languages and for tests. */
void schema_json(struct buf *out);

#endif
