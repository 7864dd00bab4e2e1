/* desired.h - which versions of a model a worker shall serve.  Pure: no I/O, any thread. */
#ifndef SERVICES_WORKER_DESIRED_H
#define SERVICES_WORKER_DESIRED_H

#include "common/msg/catalog.h"

/* Wanted is the deployed version, and the previous one until our own engine of the deployed
 * one has been ready: a crash of the new one later does not call the old one back.  A version
 * whose check failed is not wanted. */
bool desired_wants(const struct catalog_model *m, uint32_t number, bool deployed_was_ready);

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
