/* job.h - a job between the registry's messages and the run: what is taken from them, and what
 * is said. */
#ifndef SERVICES_TRAINER_JOB_H
#define SERVICES_TRAINER_JOB_H

#include "services/trainer/trainer.h"

/* Makes the run.  INVALID: the record makes no sense; the job's id and lease are taken all the
 * same, where they do, so that it can be given up. */
enum status job_take(struct trainer *t, const struct msg_training *m) MUST_CHECK;
/* The run's files, each with its path in the cache.  INVALID: as above. */
enum status job_take_files(struct trainer *t, const struct msg_datasets *m) MUST_CHECK;
/* How far the job is.  history: filled; *u borrows from it and from t. */
void job_fill_update(struct trainer *t, struct msg_training_update *u, struct buf *history);

#endif
