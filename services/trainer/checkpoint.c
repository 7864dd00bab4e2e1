/* checkpoint.c - see checkpoint.h. */
#include "services/trainer/checkpoint.h"

#include "common/base/cache.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "services/trainer/job.h"

#include <stdlib.h>
#include <unistd.h>

#define CALL_MS 10000

/* ---- to the registry --------------------------------------------------------------------------- */

static void on_kept(void *arg, const struct rpc_reply *reply)
{
    struct trainer *t = arg;
    t->keep = NULL;
    if (reply->status == STATUS_CONFLICT || reply->status == STATUS_NOT_FOUND)
        trainer_lost(t);
    else if (reply->status && reply->status != STATUS_CANCELLED)
        log_debug("a checkpoint was not kept", LOG_S("job", t->id), LOG_S("reason", reply->text));
}

static void say(struct trainer *t, const struct manifest *manifest)
{
    struct buf history = { 0 };
    struct msg_training_update at;
    job_fill_progress(t, &t->state_progress, &at, &history);
    struct msg_checkpoint body = { .at = &at,
                                   .at_count = 1,
                                   .digest = bytes_of(manifest->digest.byte, DIGEST_SIZE),
                                   .size_bytes = manifest->size_bytes,
                                   .chunks = buf_bytes(&manifest->chunks) };
    t->keep = rpc_call(t->registry, MSG_TRAINING_CHECKPOINT, &body, NULL, CALL_MS, on_kept, t);
    buf_finish(&history);
}

static void on_uploaded(void *arg, const struct manifest *manifest, const struct error *err)
{
    struct trainer *t = arg;
    if (err)
        log_debug("a checkpoint was not uploaded", LOG_S("job", t->id), LOG_S("reason", err->text));
    else
        say(t, manifest);
    upload_destroy(t->state_upload);
    t->state_upload = NULL;
}

static void on_drained(void *arg)
{
    (void)arg; /* it is written in one piece */
}

/* The run's newest state, if there is one; to be freed. */
static struct buf take_state(struct trainer *t)
{
    uv_mutex_lock(&t->run.lock);
    struct buf state = t->run.state;
    t->run.state = (struct buf){ 0 };
    if (state.len)
        t->state_progress = t->run.state_progress;
    uv_mutex_unlock(&t->run.lock);
    return state;
}

void checkpoint_beat(struct trainer *t)
{
    static const struct upload_events events = { .drained = on_drained, .done = on_uploaded };
    uint64_t now = clock_ms();
    if (t->state != TRAINER_RUNNING || t->state_upload || t->keep ||
        now - t->state_ms < t->config->checkpoint_ms)
        return;
    struct buf state = take_state(t);
    if (state.len) {
        t->state_ms = now;
        t->state_upload =
            upload_create(t->loop, t->registry, t->config->max_artifact_bytes, &events, t);
        upload_write(t->state_upload, buf_bytes(&state));
        if (t->state_upload) /* else it is larger than the store takes */
            upload_end(t->state_upload);
    }
    buf_finish(&state);
}

/* ---- and from there ----------------------------------------------------------------------------- */

void checkpoint_take(struct trainer *t, const struct msg_training *m)
{
    struct run *r = &t->run;
    if (m->checkpoint.len != DIGEST_SIZE)
        return;
    memcpy(r->resume_digest.byte, m->checkpoint.data, DIGEST_SIZE);
    r->resume_path = cache_path(t->config->cache, &r->resume_digest);
    run_take_history(r, m->history);
    r->progress.last.number = m->epoch;
    r->progress.epochs = m->epochs;
    r->progress.fraction = m->progress;
    log_info("job goes on from a checkpoint", LOG_S("job", t->id), LOG_U("epoch", m->epoch));
}

static void on_fetched(void *arg, const struct error *err)
{
    struct trainer *t = arg;
    download_destroy(t->download);
    t->download = NULL;
    if (err && err->status == STATUS_CANCELLED)
        return;
    if (err && status_retryable(err->status)) {
        trainer_retry_or_fail(t, err->status, err->text);
        return;
    }
    if (err) {
        log_warn("a checkpoint cannot be had; the job begins anew", LOG_S("job", t->id),
                 LOG_S("reason", err->text));
        run_drop_resume(&t->run, "");
        free(t->run.resume_path);
        t->run.resume_path = NULL;
    }
    trainer_next(t);
}

bool checkpoint_fetch(struct trainer *t)
{
    struct run *r = &t->run;
    if (!r->resume_path || access(r->resume_path, R_OK) == 0)
        return false;
    t->download = download_create(t->loop, t->registry, &r->resume_digest, r->resume_path,
                                  t->config->max_artifact_bytes, NULL, on_fetched, t);
    return true;
}

void checkpoint_stop(struct trainer *t)
{
    upload_destroy(t->state_upload);
    t->state_upload = NULL;
    rpc_cancel(t->keep);
    t->keep = NULL;
}
