/* checks.h - what a peer sends is looked at before Redis hears of it.  Pure.
 *
 * Each returns INVALID (or TOO_LARGE) with a sentence in *err that names the field and, where
 * there is one, the limit.  Lengths are within the limits of schema.h already: the codec has
 * seen to that.
 */
#ifndef SERVICES_REGISTRY_CHECKS_H
#define SERVICES_REGISTRY_CHECKS_H

#include "common/msg/schema.h"

enum status check_digest(struct bytes digest, struct error *err) MUST_CHECK;
/* Of a whole artifact; TOO_LARGE beyond what a manifest can say. */
enum status check_size(uint64_t size_bytes, struct error *err) MUST_CHECK;
/* A piece of an upload: it begins at offset and lies within one CHUNK_BYTES. */
enum status check_piece(struct bytes upload, uint64_t offset, size_t length,
                        struct error *err) MUST_CHECK;
/* An artifact: its size, and one digest per chunk of CHUNK_BYTES. */
enum status check_artifact(struct bytes digest, uint64_t size_bytes, struct bytes chunks,
                           struct error *err) MUST_CHECK;
/* The files of a version besides its first one, and the uploads that they were. */
enum status check_parts(const struct msg_version_commit *m, struct error *err) MUST_CHECK;
/* Text that clients will get as JSON; empty is fine. */
enum status check_json_object(struct bytes text, const char *what, struct error *err) MUST_CHECK;
enum status check_json_array(struct bytes text, const char *what, struct error *err) MUST_CHECK;
/* Text that clients will get inside JSON: UTF-8; empty is fine. */
enum status check_text(struct bytes text, const char *what, struct error *err) MUST_CHECK;
/* Who asks for a change, for the history: like a name, or empty. */
enum status check_who(struct bytes who, struct error *err) MUST_CHECK;

/* Words of a library (MAX_REASON bytes at most), cut at some byte: what is no UTF-8, which would make
 * no JSON, becomes a question mark. */
struct bytes check_readable(struct bytes words, char out[MAX_REASON + 1]);

#endif
