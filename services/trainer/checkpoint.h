/* checkpoint.h - a job's newest state goes to the registry now and then, so that another trainer can go
 * on from it; and comes from there.  On the loop; the run's thread only leaves states (progress.c).
 *
 * All of it is a help and no more: what fails is tried again with the next state, or the job begins
 * at its begin.
 */
#ifndef SERVICES_TRAINER_CHECKPOINT_H
#define SERVICES_TRAINER_CHECKPOINT_H

#include "services/trainer/trainer.h"

/* What the claim says of a checkpoint becomes the run's. */
void checkpoint_take(struct trainer *t, const struct msg_training *m);
/* true: it is being fetched, and trainer_next is called when it has come or cannot be had. */
bool checkpoint_fetch(struct trainer *t);
/* With each beat of a job that runs: is there a new state, and time for it? */
void checkpoint_beat(struct trainer *t);
/* Nothing of it comes back any more. */
void checkpoint_stop(struct trainer *t);

#endif
