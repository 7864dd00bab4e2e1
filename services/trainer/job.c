/* job.c - a job between the registry's messages and the run. */
#include "services/trainer/job.h"

#include "common/base/cache.h"
#include "common/base/clock.h"
#include "services/trainer/checkpoint.h"

#include <stdio.h>

static enum status refuse_learner(const char *name, struct error *err)
{
    struct buf names = { 0 };
    learner_names(&names);
    enum status st =
        error_set(err, STATUS_INVALID, "this trainer has no learner '%.64s'; it has: %s", name,
                  buf_cstr(&names));
    buf_finish(&names);
    return st;
}

enum status job_take(struct trainer *t, const struct msg_training *m, struct error *err)
{
    struct run *r = &t->run;
    char learner[MAX_NAME + 1] = "";
    if (bytes_copy_str(m->id, t->id, sizeof t->id))
        return error_set(err, STATUS_INVALID, "the job has no id");
    t->lease = m->lease;
    t->deploy = m->deploy;
    t->next_file = 0;
    t->state_ms = clock_ms();
    t->max_seconds = m->max_seconds;
    t->end_ms = m->max_seconds ? clock_ms() + (uint64_t)m->max_seconds * 1000 : 0;
    t->late = false;
    t->cancel_ms = 0;
    t->tries = t->damaged = 0;
    run_init(r);
    t->has_run = true;
    r->seed = m->seed;
    r->threads = t->config->threads;
    r->memory_bytes = t->config->memory_bytes;
    buf_append_bytes(&r->params_json, m->params);
    if (bytes_copy_str(m->model, t->model, sizeof t->model) ||
        bytes_copy_str(m->dataset, r->dataset, sizeof r->dataset) ||
        bytes_copy_str(m->target, r->target, sizeof r->target) ||
        bytes_copy_str(m->learner, learner, sizeof learner))
        return error_set(err, STATUS_INVALID, "the job's record makes no sense");
    r->learner = learner_find(learner);
    if (!r->learner)
        return refuse_learner(learner, err);
    checkpoint_take(t, m);
    /* Not by which job: what was trained alike is alike, byte by byte. */
    snprintf(r->description, sizeof r->description, "trained on the data set %s", r->dataset);
    return STATUS_OK;
}

enum status job_take_files(struct trainer *t, const struct msg_datasets *m)
{
    if (m->datasets_count != 1 || m->datasets[0].files_count > RUN_FILES_MAX)
        return STATUS_INVALID;
    for (size_t i = 0; i < m->datasets[0].files_count; i++) {
        const struct msg_file *f = &m->datasets[0].files[i];
        struct run_file *to = &t->run.files[i];
        if (f->digest.len != DIGEST_SIZE || bytes_copy_str(f->name, to->name, sizeof to->name))
            return STATUS_INVALID;
        memcpy(to->digest.byte, f->digest.data, DIGEST_SIZE);
        to->has_digest = true;
        to->path = cache_path(t->config->cache, &to->digest);
        t->run.files_count++;
    }
    return STATUS_OK;
}

void job_fill_progress(struct trainer *t, const struct run_progress *p,
                       struct msg_training_update *u, struct buf *history)
{
    *u = (struct msg_training_update){ .id = bytes_str(t->id),
                                       .lease = t->lease,
                                       .state = TRAINING_RUNNING,
                                       .epoch = p->last.number,
                                       .epochs = p->epochs,
                                       .progress = p->fraction,
                                       .train_loss = p->last.train_loss,
                                       .validation_loss = p->last.validation_loss,
                                       .validation_accuracy = p->last.validation_accuracy };
    run_history(p, history);
    u->history = buf_bytes(history);
}

void job_fill_update(struct trainer *t, struct msg_training_update *u, struct buf *history)
{
    if (!t->has_run) {
        job_fill_progress(t, &(struct run_progress){ 0 }, u, history);
        return;
    }
    uv_mutex_lock(&t->run.lock);
    job_fill_progress(t, &t->run.progress, u, history);
    uv_mutex_unlock(&t->run.lock);
}
