/* profiler.h - makes the profiles of data files that somebody has asked for, one at a time, beside the
 * training: a long job holds up no look at the data.  Loop thread; the file is read on a pool thread.
 */
#ifndef SERVICES_TRAINER_PROFILER_H
#define SERVICES_TRAINER_PROFILER_H

#include "services/trainer/trainer.h"

struct profiler;

/* All of these are borrowed; id: of this trainer, until profiler_destroy. */
struct profiler *profiler_create(struct loop *l, struct rpc_client *registry,
                                 const struct trainer_config *config, const char *id);
/* Before the client.  A thread that still reads ends soon, and its memory with it; the registry
 * gives the file to another trainer when its lease has run out. */
void profiler_destroy(struct profiler *p);

#endif
