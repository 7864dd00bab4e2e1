/* job.h - a job between the registry's messages and the run: what is taken from them, and what
 * is said. */
#ifndef SERVICES_TRAINER_JOB_H
#define SERVICES_TRAINER_JOB_H

#include "services/trainer/trainer.h"

/* Makes the run.  INVALID: *err says why it cannot be; id and lease are taken all the same, so
 * that the job can be given up. */
enum status job_take(struct trainer *t, const struct msg_training *m, struct error *err) MUST_CHECK;
/* The run's files, each with its path in the cache.  INVALID: the record makes no sense. */
enum status job_take_files(struct trainer *t, const struct msg_datasets *m) MUST_CHECK;
/* The same of a moment that is past. */
void job_fill_progress(struct trainer *t, const struct run_progress *p,
                       struct msg_training_update *u, struct buf *history);
/* How far the job is.  history: filled; *u borrows from it and from t. */
void job_fill_update(struct trainer *t, struct msg_training_update *u, struct buf *history);

#endif
