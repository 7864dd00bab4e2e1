/* trainer.c - one job at a time, each step started by the end of the one before.
 *
 *     claim -> list files -> fetch each -> run on a thread -> upload -> commit
 *
 * While there is a job its lease is renewed with each report of progress.  A registry that is
 * away delays a step; a lease that has passed on ends the job here without a word.
 */
#include "services/trainer/checkpoint.h"
#include "services/trainer/job.h"
#include "services/trainer/profiler.h"
#include "services/trainer/publish.h"

#include "common/base/cache.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BEAT_MS     300 /* between reports of progress; the lease lasts 15 s */
#define CALL_MS     10000
#define CANCEL_MS   500 /* for the thread to hear of a cancel, before it is said without it */
#define RETRY_MS    500
#define DAMAGED_MAX 3    /* times that the cache may spoil a file of one job */
#define STOP_MS     8000 /* for the last words to the registry, before the process ends anyway */
#define TRIES_MAX   60   /* of one step, RETRY_MS apart */

static void fetch_next(struct trainer *t);
static void give_up(struct trainer *t, enum training_state state, const char *error);

/* ---- the end of a job ---------------------------------------------------------------------------- */

/* Nothing that was begun for the job may come back any more. */
static void stop_work(struct trainer *t)
{
    loop_timer_stop(t->beat);
    loop_timer_stop(t->timer);
    rpc_cancel(t->update);
    t->update = NULL;
    rpc_cancel(t->call);
    t->call = NULL;
    download_destroy(t->download);
    t->download = NULL;
    publish_stop(t);
    checkpoint_stop(t);
}

static void wait_for_work(struct trainer *t)
{
    t->state = TRAINER_IDLE;
    if (t->stopping)
        loop_stop(t->loop);
    else
        loop_timer_start(t->timer, t->config->poll_ms, 0);
}

static void trim(void *arg) /* pool thread */
{
    struct trainer *t = arg;
    t->trimmed = cache_trim(t->config->cache, t->config->cache_bytes, &(struct digest_list){ 0 });
}

static void on_trimmed(void *arg)
{
    struct trainer *t = arg;
    if (t->finished)
        return;
    if (t->trimmed)
        log_info("data files removed from the cache", LOG_U("files", t->trimmed));
    wait_for_work(t);
}

/* The cache is trimmed while no job needs it, so it holds at most its limit and the files of the
 * job that runs. */
void trainer_go_idle(struct trainer *t)
{
    bool grown = t->has_run && t->config->cache_bytes && !t->stopping;
    stop_work(t);
    if (t->has_run)
        run_finish(&t->run);
    t->has_run = t->lost = false;
    t->id[0] = 0;
    t->tries = 0;
    reporter_now(t->reporter);
    if (!grown) {
        wait_for_work(t);
        return;
    }
    t->state = TRAINER_TRIMMING;
    loop_work(t->loop, trim, on_trimmed, t);
}

/* Nobody waits for the job here any more; a thread that still runs is awaited first. */
static void drop_job(struct trainer *t)
{
    if (t->state == TRAINER_RUNNING) {
        t->lost = true;
        atomic_store(&t->run.cancel, true);
        return;
    }
    trainer_go_idle(t);
}

void trainer_lost(struct trainer *t)
{
    log_warn("the lease has passed on; the job is dropped here", LOG_S("job", t->id));
    drop_job(t);
}

/* Said until it is heard, or until the lease has passed on: a job that this trainer does not let
 * go of would be given to it again.  A registry that refuses it is asked until the lease must
 * have run out. */
static void on_given_up(void *arg, const struct rpc_reply *reply)
{
    struct trainer *t = arg;
    t->call = NULL;
    if (reply->status == STATUS_CANCELLED)
        return;
    bool heard = reply->status == STATUS_OK || reply->status == STATUS_CONFLICT ||
                 reply->status == STATUS_NOT_FOUND;
    if (!heard && (status_retryable(reply->status) || ++t->tries < TRIES_MAX))
        loop_timer_start(t->timer, RETRY_MS, 0);
    else
        trainer_go_idle(t);
}

static void call_verdict(struct trainer *t, rpc_reply_fn *done)
{
    struct msg_training_update u;
    struct buf history = { 0 };
    job_fill_update(t, &u, &history);
    u.state = (uint32_t)t->verdict;
    u.error = bytes_str(t->reason);
    t->call = rpc_call(t->registry, MSG_TRAINING_UPDATE, &u, NULL, CALL_MS, done, t);
    buf_finish(&history);
}

static void say_verdict(struct trainer *t)
{
    call_verdict(t, on_given_up);
    if (!t->call)
        loop_timer_start(t->timer, RETRY_MS, 0);
}

static void on_said_early(void *arg, const struct rpc_reply *reply)
{
    struct trainer *t = arg;
    t->call = NULL;
    if (reply->status == STATUS_OK || reply->status == STATUS_CONFLICT ||
        reply->status == STATUS_NOT_FOUND)
        t->lost = true; /* nobody waits for what the thread will leave */
}

/* A single tree of a large table cannot be interrupted: who has cancelled the job does not wait for
 * it, only this trainer's next job does.  With each beat, until it is heard. */
static void say_early(struct trainer *t)
{
    if (t->call || t->lost)
        return;
    t->verdict = TRAINING_CANCELLED;
    t->reason[0] = 0;
    call_verdict(t, on_said_early);
}

static void give_up(struct trainer *t, enum training_state state, const char *error)
{
    log_info("job given up", LOG_S("job", t->id), LOG_S("state", training_state_name(state)),
             LOG_S("reason", error));
    t->state = TRAINER_GIVING_UP;
    t->verdict = state;
    t->tries = 0;
    snprintf(t->reason, sizeof t->reason, "%s", error);
    stop_work(t);
    say_verdict(t);
}

/* A step failed: again in a moment, or for good. */
void trainer_retry_or_fail(struct trainer *t, enum status st, const char *text)
{
    if (st == STATUS_CANCELLED)
        return; /* the process is stopping */
    if (st == STATUS_CONFLICT) {
        drop_job(t);
    } else if (status_retryable(st) && ++t->tries < TRIES_MAX) {
        loop_timer_start(t->timer, RETRY_MS, 0);
    } else {
        give_up(t, TRAINING_FAILED, text);
    }
}

/* ---- progress and lease -------------------------------------------------------------------------- */

static void on_updated(void *arg, const struct rpc_reply *reply)
{
    struct trainer *t = arg;
    t->update = NULL;
    if (reply->status == STATUS_CONFLICT || reply->status == STATUS_NOT_FOUND) {
        trainer_lost(t);
    } else if (reply->status == STATUS_OK && reply->kind == MSG_TRAINING &&
               ((const struct msg_training *)reply->body)->cancel) {
        atomic_store(&t->run.cancel, true);
        t->cancel_ms = t->cancel_ms ? t->cancel_ms : clock_ms();
        /* the thread ends by itself; a commit may be done */
        if (t->state != TRAINER_RUNNING && t->state < TRAINER_COMMITTING)
            give_up(t, TRAINING_CANCELLED, "");
    }
}

static void beat(void *arg)
{
    struct trainer *t = arg;
    struct buf history = { 0 };
    struct msg_training_update u;
    checkpoint_beat(t);
    if (t->end_ms && t->state == TRAINER_RUNNING && clock_ms() >= t->end_ms) {
        t->late = true;
        atomic_store(&t->run.cancel, true);
    }
    if (t->cancel_ms && t->state == TRAINER_RUNNING && clock_ms() - t->cancel_ms >= CANCEL_MS) {
        say_early(t);
        return;
    }
    if (t->update || t->state == TRAINER_GIVING_UP)
        return;
    job_fill_update(t, &u, &history);
    t->update = rpc_call(t->registry, MSG_TRAINING_UPDATE, &u, NULL, CALL_MS, on_updated, t);
    buf_finish(&history);
}

/* ---- run ----------------------------------------------------------------------------------------- */

/* What the thread has left when the job is still this trainer's. */
static void take_result(struct trainer *t)
{
    enum status st = t->run.error.status;
    bool failed = st && st != STATUS_CANCELLED && st != STATUS_CORRUPT;
    if (failed) {
        give_up(t, TRAINING_FAILED, t->run.error.text);
    } else if (t->stopping) {
        give_up(t, TRAINING_QUEUED, "");
    } else if (st == STATUS_CANCELLED && t->late) {
        char text[96];
        snprintf(text, sizeof text, "it took longer than \"max_seconds\", which was %u",
                 t->max_seconds);
        give_up(t, TRAINING_FAILED, text);
    } else if (st == STATUS_CANCELLED) {
        give_up(t, TRAINING_CANCELLED, "");
    } else if (st == STATUS_CORRUPT && ++t->damaged < DAMAGED_MAX) {
        log_warn("a file of the cache is fetched again", LOG_S("reason", t->run.error.text));
        t->next_file = 0;
        fetch_next(t);
    } else if (st) {
        give_up(t, TRAINING_FAILED, t->run.error.text);
    } else {
        rpc_cancel(t->update); /* an older report must not be the last one */
        t->update = NULL;
        beat(t);
        if (t->kept)
            log_warn("predictions cannot be kept", LOG_S("folder", t->config->predictions));
        publish_start(t);
    }
}

static void on_ran(void *arg)
{
    struct trainer *t = arg;
    if (t->finished) {
        run_finish(&t->run);
        return;
    }
    t->state = TRAINER_UPLOADING;
    t->tries = 0;
    checkpoint_stop(t);
    if (t->run.refused[0])
        log_warn("a checkpoint was of no use; the job began anew", LOG_S("job", t->id),
                 LOG_S("reason", t->run.refused));
    if (t->lost)
        trainer_go_idle(t);
    else
        take_result(t);
}

static void execute(void *arg) /* pool thread */
{
    struct trainer *t = arg;
    run_execute(&t->run);
    t->kept = STATUS_OK;
    if (t->run.error.status == STATUS_OK)
        t->kept = run_keep_predictions(&t->run, t->config->predictions, t->id);
}

static void start_run(struct trainer *t)
{
    t->state = TRAINER_RUNNING;
    loop_work(t->loop, execute, on_ran, t);
}

/* ---- fetch --------------------------------------------------------------------------------------- */

static void on_fetched(void *arg, const struct error *err)
{
    struct trainer *t = arg;
    download_destroy(t->download);
    t->download = NULL;
    if (err) {
        trainer_retry_or_fail(t, err->status, err->text);
        return;
    }
    t->next_file++;
    t->tries = 0;
    trainer_next(t);
}

static void fetch_next(struct trainer *t)
{
    while (t->next_file < t->run.files_count && access(t->run.files[t->next_file].path, R_OK) == 0)
        cache_touch(t->run.files[t->next_file++].path); /* an earlier job has brought it */
    t->state = TRAINER_FETCHING;
    if (t->next_file == t->run.files_count) {
        if (!checkpoint_fetch(t))
            start_run(t);
        return;
    }
    t->download = download_create(t->loop, t->registry, &t->run.files[t->next_file].digest,
                                  t->run.files[t->next_file].path, t->config->max_artifact_bytes,
                                  NULL, on_fetched, t);
}

static void on_listed(void *arg, const struct rpc_reply *reply)
{
    struct trainer *t = arg;
    t->call = NULL;
    if (reply->status)
        trainer_retry_or_fail(t, reply->status, reply->text);
    else if (reply->kind != MSG_DATASETS || job_take_files(t, reply->body))
        give_up(t, TRAINING_FAILED, "the data set's record makes no sense");
    else
        fetch_next(t);
}

static void list_files(struct trainer *t)
{
    struct msg_name body = { .name = bytes_str(t->run.dataset) };
    t->state = TRAINER_LISTING;
    t->call = rpc_call(t->registry, MSG_DATASET_GET, &body, NULL, CALL_MS, on_listed, t);
    if (!t->call)
        trainer_retry_or_fail(t, STATUS_BUSY, "the registry has too many calls open");
}

/* ---- claim --------------------------------------------------------------------------------------- */

static void on_claimed(void *arg, const struct rpc_reply *reply)
{
    struct trainer *t = arg;
    struct error err;
    t->call = NULL;
    if (reply->status == STATUS_CANCELLED)
        return;
    if (reply->status || reply->kind != MSG_TRAINING) {
        trainer_go_idle(t); /* nothing to do, or the registry is away */
        return;
    }
    if (job_take(t, reply->body, &err)) {
        give_up(t, TRAINING_FAILED, err.text);
        return;
    }
    log_info("job claimed", LOG_S("job", t->id), LOG_S("model", t->model),
             LOG_S("dataset", t->run.dataset));
    if (t->stopping) {
        give_up(t, TRAINING_QUEUED, "");
        return;
    }
    loop_timer_start(t->beat, BEAT_MS, BEAT_MS);
    reporter_now(t->reporter);
    list_files(t);
}

static void claim(struct trainer *t)
{
    struct msg_name body = { .name = bytes_str(reporter_id(t->reporter)) };
    t->state = TRAINER_CLAIMING;
    t->call = rpc_call(t->registry, MSG_TRAINING_CLAIM, &body, NULL, CALL_MS, on_claimed, t);
    if (!t->call)
        trainer_go_idle(t);
}

/* The timer comes here too. */
void trainer_next(struct trainer *t)
{
    switch (t->state) {
    case TRAINER_IDLE:
        claim(t);
        return;
    case TRAINER_LISTING:
        list_files(t);
        return;
    case TRAINER_FETCHING:
        fetch_next(t);
        return;
    case TRAINER_UPLOADING:
    case TRAINER_COMMITTING:
        publish_start(t);
        return;
    case TRAINER_GIVING_UP:
        say_verdict(t);
        return;
    case TRAINER_CLAIMING:
    case TRAINER_RUNNING:
    case TRAINER_TRIMMING:
        return; /* these wait for something else */
    }
}

static void on_timer(void *arg)
{
    trainer_next(arg);
}

/* ---- life ---------------------------------------------------------------------------------------- */

/* The registry is away: the lease will run out and the job go to somebody else. */
static void on_deadline(void *arg)
{
    struct trainer *t = arg;
    atomic_store(&t->run.cancel, true);
    loop_stop(t->loop);
}

static void on_stop(void *arg)
{
    struct trainer *t = arg;
    if (t->stopping)
        return;
    t->stopping = true;
    reporter_leave(t->reporter);
    log_info("stopping", LOG_S("job", t->id));
    loop_timer_start(t->deadline, STOP_MS, 0);
    if (t->state == TRAINER_RUNNING) {
        atomic_store(&t->run.cancel, true); /* the end of the batch comes back here */
    } else if (t->state == TRAINER_IDLE) {
        loop_stop(t->loop);
    } else if (t->state != TRAINER_CLAIMING && t->state < TRAINER_COMMITTING) {
        give_up(t, TRAINING_QUEUED, ""); /* a claim's answer comes first, then the same */
    }
}

static void fill_report(void *arg, struct msg_process *me)
{
    struct trainer *t = arg;
    me->training = bytes_str(t->id);
}

void trainer_init(struct trainer *t, const struct trainer_config *config, struct loop *l)
{
    *t = (struct trainer){ .config = config, .loop = l };
    if (mkdir(config->cache, 0700) != 0 && errno != EEXIST)
        die("cannot make the cache folder %s: %s", config->cache, strerror(errno));
    t->registry = rpc_client_create(l, config->registry);
    t->timer = loop_timer_create(l, on_timer, t);
    t->beat = loop_timer_create(l, beat, t);
    t->deadline = loop_timer_create(l, on_deadline, t);
    t->reporter = reporter_create(l, t->registry, ROLE_TRAINER, 0, fill_report, NULL, t);
    t->profiler = profiler_create(l, t->registry, config, reporter_id(t->reporter));
    loop_on_stop_signal(l, on_stop, t);
    loop_timer_start(t->timer, 0, 0);
}

void trainer_finish(struct trainer *t)
{
    rpc_cancel(t->call);
    rpc_cancel(t->update);
    download_destroy(t->download);
    publish_stop(t);
    checkpoint_stop(t);
    t->finished = true;
    if (t->state == TRAINER_RUNNING)
        atomic_store(&t->run.cancel, true); /* on_ran finishes it */
    else if (t->has_run)
        run_finish(&t->run);
    profiler_destroy(t->profiler);
    reporter_destroy(t->reporter);
    rpc_client_destroy(t->registry);
    loop_timer_destroy(t->timer);
    loop_timer_destroy(t->beat);
    loop_timer_destroy(t->deadline);
}
