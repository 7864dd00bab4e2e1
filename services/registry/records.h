/* records.h - from what Redis keeps (see functions.lua) to the structs of schema.h.
 *
 * Strings borrow from the reply, lists from the decoders in struct records: both are good
 * until the next use of the same decoder.
 */
#ifndef SERVICES_REGISTRY_RECORDS_H
#define SERVICES_REGISTRY_RECORDS_H

#include "common/msg/codec.h"

struct redisReply;

struct records {
    struct msg_decoder *decoders;    /* one per packed value: all live until records_finish */
    size_t              count;
};

void records_finish(struct records *r);

struct bytes record_text(const struct redisReply *reply);      /* empty when it is no string */
uint64_t     record_number(const struct redisReply *reply);    /* 0 when it is no number */
/* The value of a field in a reply of the form {name, value, name, value ...}; NULL: not there. */
const struct redisReply *record_field(const struct redisReply *pairs, const char *name);

/* A version from its record, the state of its check and what the check found.
 * CORRUPT: the record cannot be decoded. */
enum status record_version(struct records *r, struct bytes model, uint64_t number,
                           struct bytes record, uint64_t check, struct bytes checked,
                           struct msg_version *out) MUST_CHECK;
enum status record_training(struct records *r, const struct redisReply *pairs,
                            struct msg_training *out) MUST_CHECK;
enum status record_dataset(struct records *r, const struct redisReply *entry,
                           struct msg_dataset *out) MUST_CHECK;
/* out->files of record_dataset belongs to the caller: free it with free(). */

/* {version, previous, revision, changed_ms, max_batch} */
enum status record_deployment(struct bytes model, const struct redisReply *values,
                              struct msg_deployment *out) MUST_CHECK;

/* Decodes a packed struct with a decoder of its own. */
enum status record_unpack(struct records *r, const struct schema_struct *s, struct bytes packed,
                          const void **body) MUST_CHECK;

#endif
