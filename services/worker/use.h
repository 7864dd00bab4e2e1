/* use.h - an engine tells its host whether it has work, so that nobody who works is evicted.
 *
 * Said before the first job, so that the host knows while it runs; then at most ten times a
 * second, and once more when there was no work since the last time.
 */
#ifndef SERVICES_WORKER_USE_H
#define SERVICES_WORKER_USE_H

#include "common/net/pipe.h"

struct use;

struct use *use_create(struct loop *l, struct pipe *host);
void use_note(struct use *u);    /* a job is about to run */
void use_destroy(struct use *u); /* NULL is fine; before the pipe */

#endif
