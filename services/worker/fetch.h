/* fetch.h - brings the files of a version into the cache, one after the other. */
#ifndef SERVICES_WORKER_FETCH_H
#define SERVICES_WORKER_FETCH_H

#include "services/worker/files.h"

struct fetch;

/* err: NULL when all is there, at its place. */
typedef void fetch_done_fn(void *arg, const struct error *err);

/* folder is borrowed, files copied.  careful: each chunk is verified as it comes; without, the engine
 * finds out. */
struct fetch *fetch_create(struct loop *l, struct rpc_client *registry, const char *folder,
                           const struct version_files *files, uint64_t size_max, bool careful,
                           fetch_done_fn *done, void *arg);
/* NULL is fine; in the event too; done is not called any more. */
void fetch_destroy(struct fetch *f);

#endif
