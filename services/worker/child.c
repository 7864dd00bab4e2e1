/* child.c - spawns, watches and reaps one engine. */
#include "services/worker/child.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#define PAUSE_FIRST_MS 100
#define PAUSE_LAST_MS  30000
#define HEALTHY_MS     30000 /* ready for so long: the next crash is a first one again */
#define REPORT_WAIT_MS 10000 /* for the answer to VERSION_CHECKED */
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

static void start(void *arg);

static void set_state(struct child *c, enum engine_state state, const char *reason)
{
    c->state = state;
    snprintf(c->reason, sizeof c->reason, "%s", reason);
    host_child_changed(c->host);
}

static void retry_later(struct child *c)
{
    loop_timer_start(c->timer, c->pause_ms, 0);
    c->pause_ms = c->pause_ms < PAUSE_LAST_MS / 2 ? 2 * c->pause_ms : PAUSE_LAST_MS;
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
                                     .reason = bytes_str(reason) };
    if (c->reported)
        return;
    c->reported = true;
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
static void fail_for_good(struct child *c, const char *reason)
{
    log_warn("version cannot be loaded", LOG_S("model", c->model), LOG_U("version", c->version),
             LOG_S("reason", reason));
    loop_timer_stop(c->timer);
    send_checked(c, CHECK_FAILED, reason);
    set_state(c, ENGINE_FAILED, reason);
}

/* ---- the engine speaks ------------------------------------------------------------------------ */

static void on_ready(struct child *c, const struct msg_engine_status *m)
{
    c->status.len = 0;
    msg_pack(&c->status, &schema_engine_status, m);
    loop_timer_stop(c->timer);
    c->ready_ms = clock_ms();
    send_checked(c, CHECK_PASSED, "");
    if (c->check) {
        child_stop(c);
        return;
    }
    log_info("engine ready", LOG_S("model", c->model), LOG_U("version", c->version),
             LOG_U("pid", (uint64_t)c->pid));
    set_state(c, ENGINE_READY, "");
}

static void on_message(void *arg, const struct msg *m)
{
    struct child *c = arg;
    if (!m) { /* the end, or garbage: either way this engine is no use */
        if (c->pid)
            kill(c->pid, SIGTERM);
        return;
    }
    if (m->kind != MSG_ENGINE_STATUS)
        return;
    const struct msg_engine_status *status = m->body;
    if (status->bad_messages > c->bad_messages) {
        const struct metric_label labels[] = { { "model", c->model } };
        metric_add(metrics_series(&bad_messages, labels, 1),
                   status->bad_messages - c->bad_messages);
        c->bad_messages = status->bad_messages;
    }
    if (c->spoke || c->stopping)
        return;
    c->spoke = true;
    if (status->state == ENGINE_READY) {
        on_ready(c, status);
    } else if (status->state == ENGINE_FETCHING) {
        log_warn("a file of the cache is damaged and fetched again", LOG_S("path", c->path));
        unlink(c->path);
        set_state(c, ENGINE_FETCHING, "its file in the cache was damaged");
    } else {
        char reason[MAX_REASON + 1];
        if (bytes_copy_str(status->reason, reason, sizeof reason))
            snprintf(reason, sizeof reason, "the engine gave an unreadable reason");
        fail_for_good(c, reason);
    }
}

void child_tell_gateways(struct child *c)
{
    struct msg_endpoint list[MAX_GATEWAYS];
    struct msg_gateways m;
    if (!c->pipe || c->check)
        return;
    host_list_gateways(c->host, list, &m);
    if (pipe_send(c->pipe, MSG_GATEWAYS, &m))
        log_debug("an engine does not listen", LOG_S("model", c->model));
}

/* ---- the engine ends -------------------------------------------------------------------------- */

static void destroy(struct child *c)
{
    struct host *h = c->host;
    download_destroy(c->download);
    loop_timer_destroy(c->timer);
    buf_finish(&c->status);
    free(c->path);
    DL_DELETE(h->children, c);
    h->children_count--;
    free(c);
    host_child_changed(h);
}

/* The last line of stderr that is not empty. */
static const char *last_line(struct child *c)
{
    while (c->words_len && c->words[c->words_len - 1] == '\n')
        c->words_len--;
    c->words[c->words_len] = 0;
    const char *newline = strrchr(c->words, '\n');
    return newline ? newline + 1 : c->words;
}

static void describe_end(struct child *c, int64_t exit_status, int signal_number, char *out,
                         size_t size)
{
    const char *words = last_line(c);
    if (signal_number)
        snprintf(out, size, "the engine was ended by signal %d (%s)%s%s", signal_number,
                 strsignal(signal_number), *words ? ": " : "", words);
    else
        snprintf(out, size, "the engine ended with status %d%s%s", (int)exit_status,
                 *words ? ": " : "", words);
}

/* All handles of this start are closed: what next? */
static void ended(struct child *c)
{
    if (c->stopping) {
        destroy(c);
        return;
    }
    if (c->state == ENGINE_FAILED)
        return;
    bool loading = !c->spoke;
    if (c->state == ENGINE_FETCHING) {
        retry_later(c);
        return;
    }
    metric_count(&crashes);
    log_warn("engine ended by itself", LOG_S("model", c->model), LOG_U("version", c->version),
             LOG_S("reason", c->reason), LOG_U("next_try_ms", c->pause_ms));
    if (loading && ++c->load_crashes >= LOAD_CRASHES_MAX && !c->reported) {
        char reason[MAX_REASON + 1];
        snprintf(reason, sizeof reason, "loading it crashed %u times; %.400s", c->load_crashes,
                 c->reason);
        fail_for_good(c, reason);
        return;
    }
    c->restarts++;
    retry_later(c);
    host_child_changed(c->host);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct child *c = handle->data;
    if (--c->handles == 0)
        ended(c);
}

static void on_exit_status(uv_process_t *process, int64_t exit_status, int signal_number)
{
    struct child *c = process->data;
    char reason[MAX_REASON + 1];
    c->pid = 0;
    pipe_destroy(c->pipe);
    c->pipe = NULL;
    loop_timer_stop(c->timer);
    if (c->state == ENGINE_READY && clock_ms() - c->ready_ms > HEALTHY_MS)
        c->pause_ms = PAUSE_FIRST_MS;
    if (c->state != ENGINE_FAILED && c->state != ENGINE_FETCHING && !c->stopping) {
        describe_end(c, exit_status, signal_number, reason, sizeof reason);
        c->state = ENGINE_LOADING;
        snprintf(c->reason, sizeof c->reason, "%s", reason);
    }
    uv_close((uv_handle_t *)&c->process, on_handle_closed);
    uv_close((uv_handle_t *)&c->err_pipe, on_handle_closed);
}

/* ---- stderr: forwarded, and its end kept as last words ---------------------------------------- */

static void on_err_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct child *c = handle->data;
    (void)suggested;
    *buf = uv_buf_init(c->err_chunk, sizeof c->err_chunk);
}

static void on_err(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
    struct child *c = stream->data;
    if (count < 0) {
        uv_read_stop(stream);
        return;
    }
    size_t len = (size_t)count;
    if (write(STDERR_FILENO, buf->base, len) < 0)
        log_debug("stderr is closed");
    const char *from = buf->base;
    if (len > LAST_WORDS_BYTES) {
        from += len - LAST_WORDS_BYTES;
        len = LAST_WORDS_BYTES;
    }
    if (c->words_len + len > LAST_WORDS_BYTES) {
        size_t drop = c->words_len + len - LAST_WORDS_BYTES;
        memmove(c->words, c->words + drop, c->words_len - drop);
        c->words_len -= drop;
    }
    memcpy(c->words + c->words_len, from, len);
    c->words_len += len;
}

/* ---- spawn ------------------------------------------------------------------------------------ */

static void arguments(struct child *c, char **argv, char numbers[3][16], char hex[DIGEST_HEX_SIZE])
{
    const struct host_config *config = c->host->config;
    size_t n = 0;
    digest_hex(&c->digest, hex);
    snprintf(numbers[0], 16, "%u", c->version);
    snprintf(numbers[1], 16, "%u", config->threads);
    snprintf(numbers[2], 16, "%u", c->max_batch ? c->max_batch : config->max_batch);
    const char *const list[] = { "maas-worker",  "engine",
                                 "--model",      c->model,
                                 "--version",    numbers[0],
                                 "--format",     c->format,
                                 "--path",       c->path,
                                 "--digest",     hex,
                                 "--worker",     reporter_id(c->host->reporter),
                                 "--threads",    numbers[1],
                                 "--max-batch",  numbers[2],
                                 "--log-format", config->log_format,
                                 "--log-level",  config->log_level };
    for (; n < sizeof list / sizeof *list; n++)
        argv[n] = (char *)(uintptr_t)list[n];
    if (c->check)
        argv[n++] = (char *)(uintptr_t)"--check";
    if (config->allow_fake)
        argv[n++] = (char *)(uintptr_t)"--allow-fake";
    argv[n] = NULL;
}

/* Gives the engine: nothing on stdin and stdout, a pipe for stderr, a socket pair as fd 3. */
static int spawn(struct child *c, int theirs)
{
    char *argv[ARGS_MAX + 4];
    char numbers[3][16], hex[DIGEST_HEX_SIZE];
    uv_stdio_container_t stdio[4] = { { .flags = UV_IGNORE },
                                      { .flags = UV_IGNORE },
                                      { .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
                                        .data.stream = (uv_stream_t *)&c->err_pipe },
                                      { .flags = UV_INHERIT_FD, .data.fd = theirs } };
    uv_process_options_t options = { .exit_cb = on_exit_status,
                                     .file = "/proc/self/exe",
                                     .args = argv,
                                     .stdio = stdio,
                                     .stdio_count = 4 };
    arguments(c, argv, numbers, hex);
    c->process.data = c->err_pipe.data = c;
    uv_pipe_init(loop_uv(c->host->loop), &c->err_pipe, 0);
    return uv_spawn(loop_uv(c->host->loop), &c->process, &options);
}

static void on_load_timeout(struct child *c)
{
    log_warn("engine does not get ready in time and is killed", LOG_S("model", c->model),
             LOG_U("version", c->version));
    if (c->pid)
        kill(c->pid, SIGKILL);
}

static void launch(struct child *c)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        retry_later(c);
        return;
    }
    c->spoke = false;
    c->words_len = 0;
    c->handles = 2;
    int rc = spawn(c, pair[1]);
    close(pair[1]);
    if (rc) {
        log_error("cannot start an engine", LOG_S("reason", uv_strerror(rc)));
        close(pair[0]);
        snprintf(c->reason, sizeof c->reason, "cannot start an engine: %s", uv_strerror(rc));
        c->spoke = true; /* not a crash of the model */
        uv_close((uv_handle_t *)&c->process, on_handle_closed);
        uv_close((uv_handle_t *)&c->err_pipe, on_handle_closed);
        return;
    }
    c->pid = c->process.pid;
    c->pipe = pipe_create(c->host->loop, pair[0], on_message, c);
    c->bad_messages = 0;
    uv_read_start((uv_stream_t *)&c->err_pipe, on_err_alloc, on_err);
    c->state = ENGINE_LOADING; /* the reason of the last end stays to be seen */
    host_child_changed(c->host);
    loop_timer_start(c->timer, c->host->config->load_timeout_ms, 0);
    child_tell_gateways(c);
}

/* ---- fetch ------------------------------------------------------------------------------------ */

static void on_fetched(void *arg, const struct error *err)
{
    struct child *c = arg;
    download_destroy(c->download);
    c->download = NULL;
    if (err) {
        log_warn("artifact cannot be fetched", LOG_S("model", c->model),
                 LOG_U("version", c->version), LOG_S("reason", err->text));
        set_state(c, ENGINE_FETCHING, err->text);
        retry_later(c);
        return;
    }
    launch(c);
}

static void fetch(struct child *c)
{
    c->download = download_create(c->host->loop, c->host->registry, &c->digest, c->path,
                                  c->host->config->max_artifact_bytes, NULL, on_fetched, c);
}

/* The timer of a child: the next try, or the end of patience. */
static void start(void *arg)
{
    struct child *c = arg;
    if (c->stopping) {
        if (c->pid)
            kill(c->pid, SIGKILL);
    } else if (c->pid) {
        on_load_timeout(c);
    } else if (access(c->path, R_OK) == 0) {
        launch(c);
    } else {
        fetch(c);
    }
}

/* The file's name is the digest: versions with equal artifacts share it. */
static char *cache_path(struct host *h, const struct digest *digest)
{
    struct buf path = { 0 };
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    buf_printf(&path, "%s/%s", h->config->cache, hex);
    buf_cstr(&path);
    return buf_take(&path, NULL);
}

struct child *child_create(struct host *h, const struct msg_version *v, uint32_t max_batch,
                           bool check)
{
    struct child *c = mem_zalloc(sizeof *c);
    c->host = h;
    c->version = v->number;
    c->max_batch = max_batch;
    c->check = check;
    c->pause_ms = PAUSE_FIRST_MS;
    c->timer = loop_timer_create(h->loop, start, c);
    c->reported = v->check == CHECK_PASSED;
    bool bad = v->digest.len != DIGEST_SIZE ||
               bytes_copy_str(v->model, c->model, sizeof c->model) ||
               bytes_copy_str(v->format, c->format, sizeof c->format);
    if (!bad)
        memcpy(c->digest.byte, v->digest.data, DIGEST_SIZE);
    c->path = cache_path(h, &c->digest);
    DL_APPEND(h->children, c);
    h->children_count++;
    if (bad)
        fail_for_good(c, "the version's record is damaged");
    else
        loop_timer_start(c->timer, 0, 0);
    return c;
}

void child_stop(struct child *c)
{
    if (c->stopping)
        return;
    c->stopping = true;
    c->state = ENGINE_LEAVING;
    if (c->pid) {
        kill(c->pid, SIGTERM);
        loop_timer_start(c->timer, c->host->config->stop_timeout_ms, 0);
    } else if (!c->handles) {
        destroy(c);
    }
}

uint64_t child_rss_bytes(const struct child *c)
{
    char path[32];
    unsigned long long size, resident = 0;
    if (!c->pid)
        return 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)c->pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    if (fscanf(file, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
