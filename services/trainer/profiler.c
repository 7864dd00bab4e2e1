/* profiler.c - see profiler.h.
 *
 *     claim -> fetch the file -> read it on a thread -> say what is in it
 */
#include "services/trainer/profiler.h"

#include "common/base/cache.h"
#include "common/base/log.h"
#include "services/trainer/data/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CALL_MS  10000
#define BEAT_MS  2000 /* the lease lasts 15 s */
#define RETRY_MS 1000
#define SAY_MAX  10 /* times that the result is said to a registry that does not answer */

enum profiler_state {
    PROFILER_IDLE,     /* the timer */
    PROFILER_CLAIMING, /* the registry's answer */
    PROFILER_FETCHING, /* a download */
    PROFILER_READING,  /* a pool thread */
    PROFILER_SAYING,   /* the registry's answer */
};

struct profiler {
    struct loop *loop;
    struct rpc_client *registry;
    const struct trainer_config *config;
    const char *id;
    enum profiler_state state;
    struct loop_timer *timer; /* polls while idle, says again */
    struct loop_timer *beat;  /* renews the lease */
    struct rpc_call *call;    /* what the state waits for */
    struct rpc_call *renewal;
    struct download *download;
    bool destroyed; /* a pool thread that is still at work finds nobody */
    uint32_t tries;

    /* the profile */
    char dataset[MAX_NAME + 1], file[MAX_NAME + 1], target[MAX_NAME + 1];
    uint64_t lease;
    char *path; /* in the cache; owned */
    atomic_bool cancel;
    struct buf json;
    struct error error; /* OK: json is there */
    bool given_back;    /* neither: somebody else is to make it */
};

static void go_idle(struct profiler *p)
{
    rpc_cancel(p->call);
    rpc_cancel(p->renewal);
    p->call = p->renewal = NULL;
    download_destroy(p->download);
    p->download = NULL;
    loop_timer_stop(p->beat);
    free(p->path);
    p->path = NULL;
    buf_finish(&p->json);
    p->state = PROFILER_IDLE;
    loop_timer_start(p->timer, p->config->poll_ms, 0);
}

/* ---- what is said to the registry --------------------------------------------------------------- */

static struct msg_profile word(const struct profiler *p, enum training_state state)
{
    return (struct msg_profile){ .dataset = bytes_str(p->dataset),
                                 .file = bytes_str(p->file),
                                 .lease = p->lease,
                                 .state = (uint32_t)state };
}

static void on_said(void *arg, const struct rpc_reply *reply)
{
    struct profiler *p = arg;
    p->call = NULL;
    if (reply->status == STATUS_CANCELLED)
        return;
    if (status_retryable(reply->status) && (p->given_back || ++p->tries < SAY_MAX))
        loop_timer_start(p->timer, RETRY_MS, 0);
    else
        go_idle(p); /* heard, or the files have changed meanwhile */
}

static void say(struct profiler *p)
{
    struct msg_profile body = word(p, p->given_back     ? TRAINING_QUEUED
                                      : p->error.status ? TRAINING_FAILED
                                                        : TRAINING_DONE);
    p->state = PROFILER_SAYING;
    if (p->given_back)
        loop_timer_stop(p->beat);
    else if (p->error.status)
        body.error = bytes_str(p->error.text);
    else
        body.json = buf_bytes(&p->json);
    p->call = rpc_call(p->registry, MSG_PROFILE_UPDATE, &body, NULL, CALL_MS, on_said, p);
    if (!p->call)
        loop_timer_start(p->timer, RETRY_MS, 0);
}

static void on_renewed(void *arg, const struct rpc_reply *reply)
{
    struct profiler *p = arg;
    p->renewal = NULL;
    if (reply->status != STATUS_CONFLICT)
        return;
    if (p->state == PROFILER_READING)
        atomic_store(&p->cancel, true); /* on_read comes */
    else
        go_idle(p);
}

static void on_beat(void *arg)
{
    struct profiler *p = arg;
    struct msg_profile body = word(p, TRAINING_RUNNING);
    if (!p->renewal)
        p->renewal = rpc_call(p->registry, MSG_PROFILE_UPDATE, &body, NULL, CALL_MS, on_renewed, p);
}

/* ---- reading ------------------------------------------------------------------------------------ */

static void read_file(void *arg) /* pool thread */
{
    struct profiler *p = arg;
    const struct source_file file = { p->file, p->path, &p->cancel, 0 };
    const struct profile_options options = { .target = p->target };
    p->error = (struct error){ .status = STATUS_OK };
    enum status st = profile_csv(&file, &options, &p->json, &p->error);
    if (!st && p->json.len > MAX_PROFILE)
        st = error_set(&p->error, STATUS_TOO_LARGE,
                       "%s: it has too many columns: their profile would have %zu bytes, and %u "
                       "is the limit",
                       p->file, p->json.len, MAX_PROFILE);
    p->error.status = st;
}

static void finish(struct profiler *p)
{
    free(p->path);
    buf_finish(&p->json);
    free(p);
}

static void on_read(void *arg)
{
    struct profiler *p = arg;
    if (p->destroyed)
        finish(p);
    else if (atomic_load(&p->cancel))
        go_idle(p);
    else
        say(p);
}

static void start_reading(struct profiler *p)
{
    p->state = PROFILER_READING;
    atomic_store(&p->cancel, false);
    loop_work(p->loop, read_file, on_read, p);
}

/* ---- the file ----------------------------------------------------------------------------------- */

static void on_fetched(void *arg, const struct error *err)
{
    struct profiler *p = arg;
    download_destroy(p->download);
    p->download = NULL;
    if (!err) {
        start_reading(p);
    } else if (status_retryable(err->status)) {
        p->given_back = true; /* an outage is no attempt */
        say(p);
    } else {
        p->error = *err;
        say(p);
    }
}

static enum status take(struct profiler *p, const struct msg_profile *m)
{
    struct digest digest = { { 0 } };
    if (bytes_copy_str(m->dataset, p->dataset, sizeof p->dataset) ||
        bytes_copy_str(m->file, p->file, sizeof p->file) ||
        bytes_copy_str(m->target, p->target, sizeof p->target))
        return STATUS_INVALID;
    p->lease = m->lease;
    p->tries = 0;
    p->given_back = false;
    for (size_t i = 0; i < m->files_count; i++)
        if (bytes_equal(m->files[i].name, m->file) && m->files[i].digest.len == DIGEST_SIZE) {
            memcpy(digest.byte, m->files[i].digest.data, DIGEST_SIZE);
            p->path = cache_path(p->config->cache, &digest);
            p->state = PROFILER_FETCHING;
            loop_timer_start(p->beat, BEAT_MS, BEAT_MS);
            if (access(p->path, R_OK) == 0) {
                cache_touch(p->path);
                start_reading(p);
            } else {
                p->download = download_create(p->loop, p->registry, &digest, p->path,
                                              p->config->max_artifact_bytes, NULL, on_fetched, p);
            }
            return STATUS_OK;
        }
    return STATUS_INVALID;
}

static void on_claimed(void *arg, const struct rpc_reply *reply)
{
    struct profiler *p = arg;
    p->call = NULL;
    if (reply->status == STATUS_CANCELLED)
        return;
    if (reply->status || reply->kind != MSG_PROFILE || take(p, reply->body))
        go_idle(p);
}

/* ---- life --------------------------------------------------------------------------------------- */

static void on_timer(void *arg)
{
    struct profiler *p = arg;
    struct msg_name body = { .name = bytes_str(p->id) };
    if (p->state == PROFILER_SAYING) {
        say(p);
        return;
    }
    p->state = PROFILER_CLAIMING;
    p->call = rpc_call(p->registry, MSG_PROFILE_CLAIM, &body, NULL, CALL_MS, on_claimed, p);
    if (!p->call)
        go_idle(p);
}

struct profiler *profiler_create(struct loop *l, struct rpc_client *registry,
                                 const struct trainer_config *config, const char *id)
{
    struct profiler *p = mem_zalloc(sizeof *p);
    p->loop = l;
    p->registry = registry;
    p->config = config;
    p->id = id;
    p->timer = loop_timer_create(l, on_timer, p);
    p->beat = loop_timer_create(l, on_beat, p);
    loop_timer_start(p->timer, 0, 0);
    return p;
}

void profiler_destroy(struct profiler *p)
{
    bool reading = p->state == PROFILER_READING;
    rpc_cancel(p->call);
    rpc_cancel(p->renewal);
    download_destroy(p->download);
    loop_timer_destroy(p->timer);
    loop_timer_destroy(p->beat);
    p->destroyed = true;
    if (reading)
        atomic_store(&p->cancel, true); /* on_read finishes it */
    else
        finish(p);
}
