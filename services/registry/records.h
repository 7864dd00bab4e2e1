/* records.h - from what Redis keeps (see functions.lua) to the structs of schema.h.
 *
 * Strings borrow from the reply; lists live in struct records until records_finish.
 * CORRUPT: the reply does not have the shape that functions.lua gives it.
 */
#ifndef SERVICES_REGISTRY_RECORDS_H
#define SERVICES_REGISTRY_RECORDS_H

#include "common/msg/codec.h"

struct redisReply;

/* Memory of the lists of many structs; one decoder serves them all, one after the other. */
struct records {
    struct msg_decoder decoder; /* private */
    void **blocks;              /* private */
    size_t count;               /* private */
};

void records_finish(struct records *r); /* zeroed is fine */

struct bytes record_text(const struct redisReply *reply); /* empty when it is no string */
uint64_t record_number(const struct redisReply *reply);   /* 0 when it is no number */
/* The value of a field in a reply of the form {name, value, name, value ...}; NULL: not there. */
const struct redisReply *record_field(const struct redisReply *pairs, const char *name);

/* {model, number, record, check, checked, tags, description, revision}: the version as it was
 * committed, what its check found, and what was said of it since. */
enum status record_version(struct records *r, const struct redisReply *values,
                           struct msg_version *out) MUST_CHECK;
/* The same from an event: {name, value ...}; it may also tell that the version was deleted. */
enum status record_version_event(struct records *r, const struct redisReply *pairs,
                                 struct msg_version *out) MUST_CHECK;
/* {name, value ...}, from a function and from an event alike. */
enum status record_deployment(struct records *r, const struct redisReply *pairs,
                              struct msg_deployment *out) MUST_CHECK;
/* {model, revision, "champion:7,next:8"} */
enum status record_aliases(struct records *r, const struct redisReply *values,
                           struct msg_aliases *out) MUST_CHECK;
enum status record_aliases_event(struct records *r, const struct redisReply *pairs,
                                 struct msg_aliases *out) MUST_CHECK;

/* {seq, more, model, number, {deployment, aliases, version...}...}: a page of the catalog. */
enum status record_catalog(struct records *r, const struct redisReply *reply,
                           struct msg_catalog *out) MUST_CHECK;
/* {more, {id, {name, value ...}}...} */
enum status record_history(struct records *r, const struct redisReply *reply,
                           struct msg_history *out) MUST_CHECK;
/* {{name, value ...}, {packed report ...}}: what gateways have counted is added up. */
struct rollout_record {
    struct msg_rollout rollout; /* but for the model */
    int64_t steps[MAX_STEPS];   /* private: what it borrows from */
};
enum status record_rollout(struct records *r, const struct redisReply *reply,
                           struct rollout_record *out) MUST_CHECK;
/* {name, value ...} */
enum status record_training(struct records *r, const struct redisReply *pairs,
                            struct msg_training *out) MUST_CHECK;
/* {{name, {file, packed ...}}...} */
enum status record_datasets(struct records *r, const struct redisReply *reply,
                            struct msg_datasets *out) MUST_CHECK;
/* {packed, age_ms ...}; what cannot be read is left out: the next report is a second away. */
void record_processes(struct records *r, const struct redisReply *reply, struct msg_suite *out);

#endif
