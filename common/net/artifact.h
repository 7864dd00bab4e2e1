/* artifact.h - artifacts to and from the registry, in verified 1 MiB chunks.
 *
 * Both ways at most ARTIFACT_WINDOW chunks are under way, hashing and disk are on
 * pool threads, and a transfer that stops half-way leaves nothing visible: an upload
 * counts only once its manifest is committed by the caller (VERSION_COMMIT or
 * FILE_COMMIT), a download only once the file has its final name.
 */
#ifndef COMMON_NET_ARTIFACT_H
#define COMMON_NET_ARTIFACT_H

#include "common/base/digest.h"
#include "common/net/rpc.h"

#define ARTIFACT_WINDOW     8     /* chunks under way */
#define ARTIFACT_TIMEOUT_MS 30000 /* for one chunk, with its retries */

struct manifest {
    struct digest digest; /* of the whole */
    uint64_t size_bytes;
    struct buf chunks; /* DIGEST_SIZE bytes per chunk, in order */
};

/* A copy of its own, for an empty one; the owner finishes chunks. */
void manifest_copy(struct manifest *to, const struct manifest *from);
/* The same as a file of that name of a version; borrows from both. */
struct msg_part manifest_part(const struct manifest *m, const char *name);

/* ---- upload: the caller writes, then ends ---- */

struct upload;

struct upload_events {
    /* There is room again after upload_write returned false. */
    void (*drained)(void *arg);
    /* Once, after upload_end or on failure; perhaps before upload_end or upload_write returns.
     * manifest: valid until it returns; NULL on failure. */
    void (*done)(void *arg, const struct manifest *manifest, const struct error *err);
    /* NULL, or: is this chunk, the one of that index, with the registry already? */
    bool (*known)(void *arg, size_t index, const struct digest *digest);
};

/* size_max: TOO_LARGE beyond it, and beyond what a manifest can say (16 GiB). */
struct upload *upload_create(struct loop *l, struct rpc_client *registry, uint64_t size_max,
                             const struct upload_events *events, void *arg);
/* What is written becomes pieces of an upload that the registry keeps (UPLOAD_BEGIN), from offset
 * on; size_max limits offset and size together.  done gets a manifest that has the size alone. */
struct upload *upload_create_range(struct loop *l, struct rpc_client *registry, const char *id,
                                   uint64_t offset, uint64_t size_max,
                                   const struct upload_events *events, void *arg);
/* Takes a copy of data, always.  false: stop until drained (or done, on failure). */
bool upload_write(struct upload *u, struct bytes data);
void upload_end(struct upload *u);
/* NULL is fine; allowed at any time, in the events too; done is not called any more. */
void upload_destroy(struct upload *u);

/* ---- download: into a file ---- */

struct download;

typedef void download_progress_fn(void *arg, uint64_t bytes, uint64_t of);
/* err: NULL when the file is at its path, complete, each chunk verified (but see download_trust).
 * That these chunks make the artifact of this digest is the manifest's word: who uploaded them has
 * hashed chunks and whole out of the same bytes.  The file is not synced.  So who opens it verifies
 * the whole, as it has to anyway: disks forget. */
typedef void download_done_fn(void *arg, const struct error *err);

/* Fetches the artifact to path (by way of path.part, which a later try resumes).
 * progress may be NULL.  size_max as above. */
struct download *download_create(struct loop *l, struct rpc_client *registry,
                                 const struct digest *digest, const char *path, uint64_t size_max,
                                 download_progress_fn *progress, download_done_fn *done, void *arg);
/* Right after create: chunks are not verified as they come, for who verifies the whole before using
 * it and then, if it is damaged, fetches it once more without this. */
void download_trust(struct download *d);
/* NULL is fine; allowed at any time, in the events too; done is not called any more.
 * A pool thread may still be at work on path.part until the loop ends. */
void download_destroy(struct download *d);

#endif
