/* desired.h - which versions of a model a worker shall serve.  Pure: no I/O, any thread. */
#ifndef SERVICES_WORKER_DESIRED_H
#define SERVICES_WORKER_DESIRED_H

#include "common/msg/catalog.h"

/* Wanted are the versions that get a share of the traffic or copies of it, and those before until
 * our own engines of all that share the traffic have been ready: a crash of a new one later does
 * not call the old one back.  While a rollout is under way those before stay: it may go back to them.
 * A version whose check failed is not wanted. */
bool desired_wants(const struct catalog_model *m, uint32_t number, bool deployed_were_ready);
/* One of the versions that the deployment names now, not one from before. */
bool desired_is_present(const struct msg_deployment *d, uint32_t number);
bool desired_in_pool(const struct msg_deployment *d, const char *pool);

#define DESIRED_MAX (2 * MAX_SHARES + MAX_SHADOWS)
/* The versions that a deployment names, now or from before, each once; how many. */
size_t desired_versions(const struct msg_deployment *d, uint32_t list[DESIRED_MAX]);

/* How many engines of a version each worker shall run. */
static inline size_t desired_instances(const struct msg_deployment *d)
{
    return d->instances ? d->instances : 1;
}

/* An engine of one version, as far as their number matters. */
struct desired_engine {
    bool ready;
    bool stale; /* it was started with settings that the deployment has no more */
    bool stop;  /* set by desired_engines */
};

/* Marks those that are to end, so that `want` with the present settings remain; how many are to be
 * started.  As many as are wanted stay ready meanwhile: a stale one ends when one that replaces it
 * is ready.  Those that are not ready end first, then the youngest (they are in order of age). */
size_t desired_engines(struct desired_engine *list, size_t count, size_t want);

/* Does any version wait for a check? */
bool desired_checks(const struct catalog *c);

#endif
