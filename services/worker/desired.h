/* desired.h - which versions of a model a worker shall serve.  Pure: no I/O, any thread. */
#ifndef SERVICES_WORKER_DESIRED_H
#define SERVICES_WORKER_DESIRED_H

#include "common/msg/catalog.h"

/* Wanted is the deployed version, and the previous one until our own engine of the deployed
 * one has been ready: a crash of the new one later does not call the old one back.  A version
 * whose check failed is not wanted. */
bool desired_wants(const struct catalog_model *m, uint32_t number, bool deployed_was_ready);

/* Does any version wait for a check? */
bool desired_checks(const struct catalog *c);

#endif
