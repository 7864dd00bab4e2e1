/* publish.h - from a run's result to a version: the model and the files that go with it become chunks, and the
 * job's commit makes them a version. */
#ifndef SERVICES_TRAINER_PUBLISH_H
#define SERVICES_TRAINER_PUBLISH_H

#include "services/trainer/trainer.h"

/* From the start, after a failed commit too: equal chunks cost nothing. */
void publish_start(struct trainer *t);
/* Nothing of it comes back any more. */
void publish_stop(struct trainer *t);

#endif
