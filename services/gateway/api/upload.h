/* upload.h - request bodies that stream into the artifact store.
 *
 * A route's stream handler starts one; the dispatcher hands it the body; when all chunks are
 * with the registry, commit sends the request that makes the artifact visible.
 */
#ifndef SERVICES_GATEWAY_API_UPLOAD_H
#define SERVICES_GATEWAY_API_UPLOAD_H

#include "common/net/artifact.h"
#include "services/gateway/api/api.h"

#define VERSION_BYTES_MAX ((unsigned long long)MAX_CHUNKS * CHUNK_BYTES) /* of all its files */
#define UPLOAD_TAGS_MAX   4096 /* bytes of tags in a query; more can be said of the version later */

struct body_upload;

/* What an upload becomes. */
struct upload_target {
    char name[MAX_NAME + 1];      /* model or dataset */
    char file[MAX_NAME + 1];      /* dataset's file, or the model's format */
    char digest[DIGEST_HEX_SIZE]; /* filled when the data is complete */
    uint64_t size_bytes;
    char key[MAX_NAME + 1];    /* makes a repeated commit harmless */
    char upload[MAX_NAME + 1]; /* the body is a range of this upload, or empty */
    uint64_t offset;           /* where it begins */
    char who[MAX_NAME + 1];    /* of a version: who uploads it, and what is said of it */
    char tags[UPLOAD_TAGS_MAX + 1];
    char description[MAX_DESCRIPTION + 1];
};

/* Fills the request to commit and sends it; called once for each try.  manifest is good until it
 * returns. */
typedef void upload_commit_fn(struct body_upload *u, const struct manifest *manifest);
/* The answer for the client. */
typedef int upload_answer_fn(struct gateway *g, const struct upload_target *t,
                             const struct rpc_reply *reply, struct buf *out);

/* commit: NULL when nothing is to be made visible; reply is NULL then. */
void upload_begin(struct call *c, const struct upload_target *target, upload_commit_fn *commit,
                  upload_answer_fn *answer);
/* What is asked of every upload: its time for the commit, its key, and room, which is taken then
 * (gateway->uploads).  limit: of the body's bytes.  false: it has been answered. */
bool upload_admit(struct call *c, uint64_t limit, uint64_t *timeout_ms, char key[MAX_NAME + 1]);
const struct upload_target *upload_what(const struct body_upload *u);
void upload_send_commit(struct body_upload *u, enum msg_kind kind, const void *body);

/* models.c: the answer to an upload that has become a version. */
upload_answer_fn upload_answer_version;

/* archive.c: the body is a tar archive, whose files become those of a version. */
bool archive_is_sent(const struct call *c);
void archive_begin(struct call *c, const struct upload_target *target);

#endif
