/* child.c - fetches, starts and restarts one engine; see child.h. */
#include "services/worker/child.h"

#include "common/base/cache.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/resources.h"
#include "services/worker/placement.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#define HEALTHY_MS     30000  /* ready for so long: the next crash is a first one again */
#define LEAVE_MAX_MS   600000 /* an engine that leaves may go on with its jobs for so long */
#define REPORT_WAIT_MS 10000  /* for the answer to VERSION_CHECKED */
#define ARGS_MAX       24

static struct metric_family crashes = {
    .name = "maas_worker_engine_crashes_total",
    .help = "engines that ended without being told to",
    .type = METRIC_COUNTER,
};
static struct metric_family bad_messages = {
    .name = "maas_worker_engine_bad_messages_total",
    .help = "messages from gateways that engines could not make sense of",
    .type = METRIC_COUNTER,
};
static struct metric_family fetch_failures = {
    .name = "maas_worker_fetch_failures_total",
    .help = "downloads of artifacts that failed",
    .type = METRIC_COUNTER,
};
static struct metric_family checks = {
    .name = "maas_worker_checks_total",
    .help = "new versions that were checked, by result",
    .type = METRIC_COUNTER,
};

static void set_state(struct child *c, enum engine_state state, const char *reason)
{
    c->state = state;
    snprintf(c->reason, sizeof c->reason, "%s", reason);
    host_child_changed(c->host);
}

/* ---- what the registry is told -------------------------------------------------------------- */

static void on_checked(void *arg, const struct rpc_reply *reply)
{
    (void)arg; /* unanswered: the claim runs out and another worker checks */
    (void)reply;
}

static void send_checked(struct child *c, enum version_check check, const char *reason)
{
    struct msg_decoder decoder = { 0 };
    const void *body = NULL;
    struct msg_version_checked m = { .model = bytes_str(c->model),
                                     .version = c->version,
                                     .check = check,
                                     .reason = bytes_str(reason),
                                     .process = bytes_str(reporter_id(c->host->reporter)) };
    const struct metric_label labels[] = { { "result",
                                             check == CHECK_PASSED ? "passed" : "failed" } };
    if (c->reported)
        return;
    c->reported = true;
    metric_add(metrics_series(&checks, labels, 1), 1);
    if (check == CHECK_PASSED &&
        !msg_unpack(&decoder, &schema_engine_status, buf_bytes(&c->status), &body, NULL)) {
        const struct msg_engine_status *s = body;
        m.inputs = s->inputs;
        m.inputs_count = s->inputs_count;
        m.outputs = s->outputs;
        m.outputs_count = s->outputs_count;
        m.batchable = s->batchable;
    }
    struct rpc_call *call = rpc_call(c->host->registry, MSG_VERSION_CHECKED, &m, NULL,
                                     REPORT_WAIT_MS, on_checked, NULL);
    (void)call;
    msg_decoder_finish(&decoder);
}

/* The model is to blame: no other try would help. */
static void give_up(struct child *c, const char *reason)
{
    log_warn("version cannot be loaded", LOG_S("model", c->model), LOG_U("version", c->version),
             LOG_S("reason", reason));
    loop_timer_stop(c->timer);
    send_checked(c, CHECK_FAILED, reason);
    c->given_up = true;
    set_state(c, ENGINE_FAILED, reason);
}

/* ---- the engine speaks ------------------------------------------------------------------------ */

static void on_ready(struct child *c, const struct msg_engine_status *m)
{
    c->said = SAID_READY;
    c->status.len = 0;
    msg_pack(&c->status, &schema_engine_status, m);
    loop_timer_stop(c->timer);
    c->ready_ms = c->used_ms = clock_ms();
    child_measure(c);
    send_checked(c, CHECK_PASSED, "");
    bool fits = placement_loaded(c->host->placement, c);
    if (c->check) {
        child_stop(c);
        return;
    }
    if (!fits) {
        child_refuse(c, c->bytes, placement_view(c->host->placement).budget_bytes);
        return;
    }
    log_info("engine ready", LOG_S("model", c->model), LOG_U("version", c->version),
             LOG_U("pid", (uint64_t)c->process.pid));
    set_state(c, ENGINE_READY, "");
}

/* It could not load, and ends by itself now. */
static void on_trouble(struct child *c, const struct msg_engine_status *m)
{
    char reason[MAX_REASON + 1];
    if (bytes_copy_str(m->reason, reason, sizeof reason))
        snprintf(reason, sizeof reason, "the engine gave an unreadable reason");
    if (m->state == ENGINE_FETCHING) {
        log_warn("a file of the cache is damaged and fetched again", LOG_S("path", c->path));
        c->said = SAID_DAMAGED;
        c->was_damaged = true;
        files_remove(c->host->config->cache, &c->files);
        set_state(c, ENGINE_FETCHING, "its file in the cache was damaged");
    } else if (m->state == ENGINE_FAILED && !c->reported) {
        c->said = SAID_REFUSED;
        give_up(c, reason);
    } else { /* not for the model's sake, or it has passed its check elsewhere */
        log_warn("engine cannot load here", LOG_S("model", c->model), LOG_U("version", c->version),
                 LOG_S("reason", reason));
        c->said = SAID_UNABLE;
        set_state(c, ENGINE_FAILED, reason);
    }
}

static void on_use(struct child *c, bool busy)
{
    c->busy = busy;
    if (busy)
        c->used_ms = clock_ms();
}

static void on_message(void *arg, const struct msg *m)
{
    struct child *c = arg;
    if (!m) { /* the end, or garbage: either way this engine is no use */
        process_signal(&c->process, SIGTERM);
        return;
    }
    if (m->kind == MSG_ENGINE_BUSY || m->kind == MSG_ENGINE_IDLE)
        on_use(c, m->kind == MSG_ENGINE_BUSY);
    if (m->kind != MSG_ENGINE_STATUS)
        return;
    const struct msg_engine_status *status = m->body;
    if (status->bad_messages > c->bad_messages) {
        const struct metric_label labels[] = { { "model", c->model } };
        metric_add(metrics_series(&bad_messages, labels, 1),
                   status->bad_messages - c->bad_messages);
        c->bad_messages = status->bad_messages;
    }
    if (c->said != SAID_NOTHING || c->state == ENGINE_LEAVING)
        return;
    if (status->state == ENGINE_READY)
        on_ready(c, status);
    else
        on_trouble(c, status);
}

void child_tell_gateways(struct child *c)
{
    struct msg_endpoint list[MAX_GATEWAYS];
    struct msg_gateways m;
    if (!c->pipe || c->check)
        return;
    gateways_list(&c->host->gateways, list, &m);
    if (pipe_send(c->pipe, MSG_GATEWAYS, &m))
        log_debug("an engine does not listen", LOG_S("model", c->model));
}

/* ---- the engine ends -------------------------------------------------------------------------- */

static void end_fetch(struct child *c)
{
    struct child *other;
    if (!c->fetch)
        return;
    fetch_destroy(c->fetch);
    c->fetch = NULL;
    DL_FOREACH(c->host->children, other)
    if (other->waits && digest_equal(&other->files.key, &c->files.key))
        loop_timer_start(other->timer, 0, 0);
}

static void destroy(struct child *c)
{
    struct host *h = c->host;
    bool comes_back = c->comes_back; /* and its file is still of use */
    end_fetch(c);
    loop_timer_destroy(c->timer);
    buf_finish(&c->status);
    free(c->path);
    free(c->list);
    files_finish(&c->files);
    DL_DELETE(h->children, c);
    h->children_count--;
    free(c);
    host_child_changed(h);
    if (!comes_back)
        host_trim_cache(h);
}

static void retry_later(struct child *c)
{
    uint64_t pause_ms = backoff_next(&c->backoff);
    if (c->state == ENGINE_FAILED)
        log_warn("engine is started again", LOG_S("model", c->model), LOG_U("version", c->version),
                 LOG_S("reason", c->reason), LOG_U("next_try_ms", pause_ms));
    loop_timer_start(c->timer, pause_ms, 0);
}

/* It ended without having been told to, and without having said why. */
static void on_crash(struct child *c)
{
    char reason[MAX_REASON + 1], all[MAX_REASON + 1];
    bool loading = c->said == SAID_NOTHING && !c->process.start_error;
    metric_count(&crashes);
    process_describe_end(&c->process, reason, sizeof reason);
    if (c->late)
        snprintf(reason, sizeof reason, "it was not ready within %u ms",
                 c->host->config->load_timeout_ms);
    if (loading && c->process.exit_signal == SIGKILL && !c->late) {
        c->said = SAID_UNABLE; /* by the kernel, for want of memory, or by hand: not its fault */
        log_warn("engine was killed while it loaded", LOG_S("model", c->model),
                 LOG_U("version", c->version));
    } else if (loading && ++c->load_crashes >= LOAD_CRASHES_MAX && !c->reported) {
        snprintf(all, sizeof all, "loading it %s %u times; %.400s", c->late ? "failed" : "crashed",
                 c->load_crashes, reason);
        give_up(c, all);
        return;
    }
    if (c->said == SAID_READY && clock_ms() - c->ready_ms > HEALTHY_MS)
        backoff_reset(&c->backoff);
    set_state(c, ENGINE_FAILED, reason);
}

static void on_ended(void *arg)
{
    struct child *c = arg;
    pipe_destroy(c->pipe);
    c->pipe = NULL;
    loop_timer_stop(c->timer);
    if (c->state == ENGINE_LEAVING) {
        destroy(c);
        return;
    }
    if (!c->given_up && (c->said == SAID_NOTHING || c->said == SAID_READY))
        on_crash(c);
    if (c->given_up) {
        host_child_changed(c->host); /* its memory is free */
        return;
    }
    if (c->check && c->said == SAID_UNABLE) {
        child_stop(c); /* the claim runs out: perhaps another worker can */
        return;
    }
    c->restarts++;
    retry_later(c);
}

/* ---- launch ----------------------------------------------------------------------------------- */

static void arguments(struct child *c, char **argv, char numbers[4][16], char hex[DIGEST_HEX_SIZE])
{
    const struct host_config *config = c->host->config;
    size_t n = 0;
    digest_hex(c->files.count ? &c->files.at[0].digest : &c->files.key, hex);
    snprintf(numbers[0], 16, "%u", c->version);
    snprintf(numbers[1], 16, "%u",
             resources_threads(config->threads, c->host->cores, placement_engines(c->host)));
    snprintf(numbers[2], 16, "%u", c->max_batch ? c->max_batch : config->max_batch);
    snprintf(numbers[3], 16, "%u", c->check || config->threads ? 0 : config->short_run_us);
    const char *const list[] = { "maas-worker",    "engine",
                                 "--model",        c->model,
                                 "--version",      numbers[0],
                                 "--format",       c->format,
                                 "--path",         c->path,
                                 "--digest",       hex,
                                 "--worker",       reporter_id(c->host->reporter),
                                 "--threads",      numbers[1],
                                 "--max-batch",    numbers[2],
                                 "--short-run-us", numbers[3],
                                 "--log-format",   config->log_format,
                                 "--log-level",    config->log_level };
    for (; n < sizeof list / sizeof *list; n++)
        argv[n] = (char *)(uintptr_t)list[n];
    if (c->list) {
        argv[n++] = (char *)(uintptr_t)"--files";
        argv[n++] = c->list;
    }
    if (c->check)
        argv[n++] = (char *)(uintptr_t)"--check";
    if (config->allow_fake)
        argv[n++] = (char *)(uintptr_t)"--allow-fake";
    argv[n] = NULL;
}

static void launch(struct child *c)
{
    char *argv[ARGS_MAX + 6], numbers[4][16], hex[DIGEST_HEX_SIZE];
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        set_state(c, ENGINE_FAILED, "no file descriptor is left for an engine");
        retry_later(c);
        return;
    }
    c->said = SAID_NOTHING;
    c->late = c->busy = false;
    c->bytes = 0;
    c->bad_messages = 0;
    cache_touch(c->path);
    if (c->list)
        cache_touch(c->list);
    arguments(c, argv, numbers, hex);
    process_start(&c->process, c->host->loop, argv, pair[1], on_ended, c);
    close(pair[1]);
    c->pipe = pipe_create(c->host->loop, pair[0], on_message, c);
    c->state = ENGINE_LOADING; /* the reason of the last end stays to be seen */
    host_child_changed(c->host);
    loop_timer_start(c->timer, c->host->config->load_timeout_ms, 0);
    child_tell_gateways(c);
}

/* ---- fetch ------------------------------------------------------------------------------------ */

static void on_fetched(void *arg, const struct error *err)
{
    struct child *c = arg;
    struct error why = err ? *err : (struct error){ .status = STATUS_OK };
    end_fetch(c);
    if (!why.status) {
        host_trim_cache(c->host);
        launch(c);
        return;
    }
    metric_count(&fetch_failures);
    log_warn("artifact cannot be fetched", LOG_S("model", c->model), LOG_U("version", c->version),
             LOG_S("reason", why.text));
    if (c->check) {
        child_stop(c); /* the claim runs out; other versions need not wait */
        return;
    }
    set_state(c, ENGINE_FETCHING, why.text);
    retry_later(c);
}

static bool fetched_by_another(struct child *c)
{
    struct child *other;
    DL_FOREACH(c->host->children, other)
    if (other != c && other->fetch && digest_equal(&other->files.key, &c->files.key))
        return true;
    return false;
}

/* The next try. */
static void start(struct child *c)
{
    c->waits = false;
    if (access(c->path, R_OK) == 0) {
        launch(c);
    } else if (fetched_by_another(c)) {
        c->waits = true;
    } else {
        c->state = ENGINE_FETCHING;
        c->fetch = fetch_create(c->host->loop, c->host->registry, c->host->config->cache, &c->files,
                                c->host->config->max_artifact_bytes, c->was_damaged, on_fetched, c);
    }
}

static void on_timer(void *arg)
{
    struct child *c = arg;
    if (c->state == ENGINE_LEAVING || (c->given_up && c->process.pid)) {
        log_warn("engine does not leave in time and is killed", LOG_S("model", c->model),
                 LOG_U("version", c->version));
        process_signal(&c->process, SIGKILL);
    } else if (c->process.pid) {
        log_warn("engine does not get ready in time and is killed", LOG_S("model", c->model),
                 LOG_U("version", c->version));
        c->late = true;
        process_signal(&c->process, SIGKILL);
    } else if (!process_busy(&c->process)) {
        start(c);
    }
}

/* ---- life ------------------------------------------------------------------------------------- */

struct child *child_create(struct host *h, const struct msg_version *v, uint32_t max_batch,
                           uint64_t estimate_bytes, bool check)
{
    struct child *c = mem_zalloc(sizeof *c);
    c->host = h;
    c->version = v->number;
    c->max_batch = max_batch;
    c->check = check;
    c->estimate_bytes = estimate_bytes;
    c->timer = loop_timer_create(h->loop, on_timer, c);
    c->reported = v->check == CHECK_PASSED;
    bool bad = files_read(v, &c->files) || bytes_copy_str(v->model, c->model, sizeof c->model) ||
               bytes_copy_str(v->format, c->format, sizeof c->format);
    c->path = files_path(h->config->cache, &c->files);
    c->list = files_list_path(h->config->cache, &c->files);
    DL_APPEND(h->children, c);
    h->children_count++;
    if (bad)
        give_up(c, "the version's record is damaged");
    else
        loop_timer_start(c->timer, 0, 0);
    return c;
}

/* A job that runs is finished; when the host itself stops, within the time for that. */
static void end_process(struct child *c)
{
    process_signal(&c->process, SIGTERM);
    loop_timer_start(c->timer, c->host->stopping ? c->host->config->stop_timeout_ms : LEAVE_MAX_MS,
                     0);
}

void child_refuse(struct child *c, uint64_t bytes, uint64_t budget_bytes)
{
    char reason[MAX_REASON + 1];
    snprintf(reason, sizeof reason,
             "it needs %llu bytes of memory, and all engines of this worker may have %llu",
             (unsigned long long)bytes, (unsigned long long)budget_bytes);
    log_warn("version is larger than the memory of this worker", LOG_S("model", c->model),
             LOG_U("version", c->version), LOG_U("bytes", bytes), LOG_U("budget", budget_bytes));
    c->given_up = true;
    loop_timer_stop(c->timer);
    if (process_busy(&c->process))
        end_process(c);
    set_state(c, ENGINE_FAILED, reason);
}

void child_measure(struct child *c)
{
    uint64_t bytes = process_private_bytes(&c->process);
    if (bytes)
        c->bytes = bytes;
}

void child_stop(struct child *c)
{
    if (c->state == ENGINE_LEAVING && !c->host->stopping)
        return;
    c->state = ENGINE_LEAVING;
    if (process_busy(&c->process)) {
        end_process(c);
    } else {
        destroy(c);
    }
}
