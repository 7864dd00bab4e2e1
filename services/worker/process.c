/* process.c - see process.h. */
#include "services/worker/process.h"

#include "common/base/log.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SELF "/proc/self/exe"

/* What an engine gets of our environment: where libraries are, how text and time look, and
 * what sanitizers are told.  No secrets, and none of our own options. */
static const char *const inherited[] = {
    "LD_LIBRARY_PATH", "LANG",         "LC_ALL",        "TZ",          "TMPDIR",
    "ASAN_OPTIONS",    "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"
};
#define INHERITED_COUNT (sizeof inherited / sizeof *inherited)

static void on_closed(uv_handle_t *handle)
{
    struct process *p = handle->data;
    if (--p->handles == 0)
        p->ended(p->arg);
}

static void close_all(struct process *p)
{
    uv_close((uv_handle_t *)&p->uv, on_closed);
    uv_close((uv_handle_t *)&p->err, on_closed);
}

/* ---- stderr -------------------------------------------------------------------------------- */

static void hear(struct process *p, struct bytes said)
{
    words_add(&p->words, said);
    if (write(STDERR_FILENO, said.data, said.len) < 0)
        log_debug("stderr is closed");
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct process *p = handle->data;
    (void)suggested;
    *buf = uv_buf_init(p->chunk, sizeof p->chunk);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
    struct process *p = stream->data;
    if (count < 0)
        uv_read_stop(stream);
    else
        hear(p, bytes_of(buf->base, (size_t)count));
}

/* Its end may be known before its last words were read. */
static void hear_the_rest(struct process *p)
{
    uv_os_fd_t fd;
    ssize_t n;
    uv_read_stop((uv_stream_t *)&p->err);
    if (uv_fileno((uv_handle_t *)&p->err, &fd) != 0)
        return;
    while ((n = read(fd, p->chunk, sizeof p->chunk)) > 0) /* does not block */
        hear(p, bytes_of(p->chunk, (size_t)n));
}

/* ---- life ---------------------------------------------------------------------------------- */

static void on_exit_status(uv_process_t *uv, int64_t exit_status, int signal_number)
{
    struct process *p = uv->data;
    p->pid = 0;
    p->exit_status = exit_status;
    p->exit_signal = signal_number;
    hear_the_rest(p);
    close_all(p);
}

static void make_environment(char *env[INHERITED_COUNT + 1])
{
    size_t n = 0;
    for (size_t i = 0; i < INHERITED_COUNT; i++) {
        const char *value = getenv(inherited[i]);
        struct buf entry = { 0 };
        if (!value)
            continue;
        buf_printf(&entry, "%s=%s", inherited[i], value);
        buf_cstr(&entry);
        env[n++] = buf_take(&entry, NULL);
    }
    env[n] = NULL;
}

void process_start(struct process *p, struct loop *l, char **argv, int fd, process_ended_fn *ended,
                   void *arg)
{
    char *env[INHERITED_COUNT + 1];
    uv_stdio_container_t stdio[PROCESS_PIPE_FD + 1] = {
        { .flags = UV_IGNORE },
        { .flags = UV_IGNORE },
        { .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&p->err },
        { .flags = UV_INHERIT_FD, .data.fd = fd },
    };
    uv_process_options_t options = { .exit_cb = on_exit_status,
                                     .file = SELF,
                                     .args = argv,
                                     .env = env,
                                     .stdio = stdio,
                                     .stdio_count = PROCESS_PIPE_FD + 1 };
    *p = (struct process){ .handles = 2, .ended = ended, .arg = arg };
    p->uv.data = p->err.data = p;
    make_environment(env);
    uv_pipe_init(loop_uv(l), &p->err, 0);
    p->start_error = uv_spawn(loop_uv(l), &p->uv, &options);
    for (char **entry = env; *entry; entry++)
        free(*entry);
    if (p->start_error) {
        close_all(p);
        return;
    }
    p->pid = p->uv.pid;
    uv_read_start((uv_stream_t *)&p->err, on_alloc, on_read);
}

bool process_busy(const struct process *p)
{
    return p->handles > 0;
}

void process_signal(const struct process *p, int number)
{
    if (p->pid)
        kill(p->pid, number);
}

void process_describe_end(struct process *p, char *out, size_t size)
{
    const char *words = words_last_line(&p->words);
    const char *between = *words ? ": " : "";
    if (p->start_error)
        snprintf(out, size, "the engine cannot be started: %s", uv_strerror(p->start_error));
    else if (p->exit_signal)
        snprintf(out, size, "the engine was ended by signal %d (%s)%s%s", p->exit_signal,
                 strsignal(p->exit_signal), between, words);
    else
        snprintf(out, size, "the engine ended with status %d%s%s", (int)p->exit_status, between,
                 words);
}

/* In bytes; both 0: it does not run. */
static void read_statm(const struct process *p, uint64_t *resident, uint64_t *shared)
{
    char path[32];
    unsigned long long size, all = 0, files = 0;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    *resident = *shared = 0;
    if (!p->pid)
        return;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)p->pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    if (fscanf(file, "%llu %llu %llu", &size, &all, &files) == 3) {
        *resident = all * page;
        *shared = files * page;
    }
    fclose(file);
}

uint64_t process_rss_bytes(const struct process *p)
{
    uint64_t resident, shared;
    read_statm(p, &resident, &shared);
    return resident;
}

uint64_t process_private_bytes(const struct process *p)
{
    uint64_t resident, shared;
    read_statm(p, &resident, &shared);
    return resident > shared ? resident - shared : 0;
}
