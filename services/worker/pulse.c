/* pulse.c - the heartbeat thread of an engine. */
#include "services/worker/pulse.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/msg/codec.h"
#include "common/net/chunk_memory.h"
#include "common/net/sock.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#define BEATS_WAITING_MAX 4     /* more are useless: a gateway that does not read is gone */
#define ORPHAN_MS         30000 /* the job thread must have left this long after its host */

struct line {
    char id[MAX_NAME + 1];
    char endpoint[MAX_ENDPOINT + 1];
    struct sock *sock;
    struct pulse *pulse;
};

struct pulse {
    struct loop *jobs; /* the other thread's */
    struct loop *loop; /* this thread's */
    uv_thread_t thread;
    struct loop_timer *timer;
    struct loop_timer *overdue; /* the run's deadline, when it is before the next beat */
    struct line *lines[MAX_GATEWAYS];
    size_t lines_count;
    char engine[MAX_NAME + 1];
    struct watch *watch;
    pulse_unknown_fn *unknown;
    void *arg;
    pid_t host;
    uint64_t orphan_ms; /* since when the host is gone, as seen here; 0: it lives */
    struct msg_decoder decoder;
};

/* On its way from the pulse thread to the job loop. */
struct notice {
    pulse_unknown_fn *unknown;
    void *arg;
    char gateway[MAX_NAME + 1];
};

/* On its way from the job loop to the pulse thread. */
struct update {
    struct pulse *pulse;
    size_t count;
    struct {
        char id[MAX_NAME + 1];
        char endpoint[MAX_ENDPOINT + 1];
    } gateways[MAX_GATEWAYS];
};

static void deliver(void *arg) /* job loop */
{
    struct notice *n = arg;
    n->unknown(n->arg, n->gateway);
    free(n);
}

static void on_message(void *arg, struct frames *frames)
{
    struct line *line = arg;
    struct pulse *p = line->pulse;
    struct msg m;
    if (msg_decode(&p->decoder, frame_bytes(&frames->at[0]), &m, NULL) || m.kind != MSG_BEAT)
        return;
    if (((const struct msg_beat *)m.body)->known)
        return;
    struct notice *n = mem_alloc(sizeof *n);
    *n = (struct notice){ p->unknown, p->arg, "" };
    memcpy(n->gateway, line->id, sizeof n->gateway);
    if (loop_post(p->jobs, deliver, n))
        free(n); /* the next beat tells it again */
}

/* The host would kill an engine that does not leave; when the host is gone, nobody but this
 * thread can: the other one may be in a run without end. */
static void watch_host(struct pulse *p)
{
    if (getppid() == p->host)
        return;
    if (!p->orphan_ms)
        p->orphan_ms = clock_ms();
    else if (clock_ms() - p->orphan_ms > ORPHAN_MS)
        _exit(1);
}

static struct watch_state look(struct pulse *p)
{
    struct watch_state s = watch_look(p->watch, clock_ms());
    if (s.stuck) {
        log_error("a run does not heed its interruption; the engine ends", LOG_U("job", s.job),
                  LOG_U("busy_ms", s.busy_ms));
        _exit(1);
    }
    if (s.left_ms < PULSE_INTERVAL_MS)
        loop_timer_start(p->overdue, s.left_ms, 0);
    return s;
}

static void on_overdue(void *arg)
{
    look(arg);
}

static void beat(void *arg)
{
    struct pulse *p = arg;
    watch_host(p);
    chunk_memory_tidy(); /* what large tensors have taken */
    struct watch_state s = look(p);
    struct msg_beat body = { .engine = bytes_str(p->engine), .job = s.job, .busy_ms = s.busy_ms };
    for (size_t i = 0; i < p->lines_count; i++) {
        struct frames frames = { .count = 0 };
        struct buf envelope = { 0 };
        msg_encode(&envelope, MSG_BEAT, 0, &body);
        frame_init_buf(frames_add(&frames), &envelope);
        if (sock_send(p->lines[i]->sock, &frames))
            frames_finish(&frames); /* not connected: the silence says the same */
    }
}

static void line_destroy(struct line *line)
{
    sock_destroy(line->sock);
    free(line);
}

static void add_line(struct pulse *p, const char *id, const char *endpoint)
{
    static const struct sock_config config = { SOCK_DEALER, BEATS_WAITING_MAX, MAX_SMALL_ENVELOPE,
                                               false };
    struct line *line = mem_zalloc(sizeof *line);
    line->pulse = p;
    snprintf(line->id, sizeof line->id, "%s", id);
    snprintf(line->endpoint, sizeof line->endpoint, "%s", endpoint);
    line->sock = sock_create(p->loop, &config, on_message, line);
    if (sock_connect(line->sock, endpoint, NULL))
        line_destroy(line);
    else
        p->lines[p->lines_count++] = line;
}

static void apply(void *arg) /* pulse thread */
{
    struct update *u = arg;
    struct pulse *p = u->pulse;
    for (size_t i = 0; i < p->lines_count;) {
        bool keep = false;
        for (size_t n = 0; n < u->count; n++)
            keep |= strcmp(u->gateways[n].id, p->lines[i]->id) == 0;
        if (keep) {
            i++;
        } else {
            line_destroy(p->lines[i]);
            p->lines[i] = p->lines[--p->lines_count];
        }
    }
    for (size_t n = 0; n < u->count; n++) {
        bool known = false;
        for (size_t i = 0; i < p->lines_count; i++)
            known |= strcmp(u->gateways[n].id, p->lines[i]->id) == 0;
        if (!known)
            add_line(p, u->gateways[n].id, u->gateways[n].endpoint);
    }
    free(u);
    beat(p);
}

void pulse_gateways(struct pulse *p, const struct msg_gateways *gateways)
{
    struct update *u = mem_zalloc(sizeof *u);
    u->pulse = p;
    for (size_t i = 0; i < gateways->gateways_count && u->count < MAX_GATEWAYS; i++) {
        const struct msg_endpoint *g = &gateways->gateways[i];
        if (!bytes_copy_str(g->id, u->gateways[u->count].id, MAX_NAME + 1) &&
            !bytes_copy_str(g->jobs, u->gateways[u->count].endpoint, MAX_ENDPOINT + 1))
            u->count++;
    }
    if (loop_post(p->loop, apply, u))
        free(u); /* 4096 wait for a thread that only sends beats: it hangs */
}

static void end(void *arg) /* pulse thread */
{
    struct pulse *p = arg;
    loop_stop(p->loop);
}

static void thread_main(void *arg)
{
    struct pulse *p = arg;
    loop_timer_start(p->timer, PULSE_INTERVAL_MS, PULSE_INTERVAL_MS);
    loop_run(p->loop);
    while (p->lines_count)
        line_destroy(p->lines[--p->lines_count]);
    loop_timer_destroy(p->timer);
    loop_timer_destroy(p->overdue);
    loop_destroy(p->loop);
}

struct pulse *pulse_create(struct loop *jobs, const char *engine, struct watch *watch,
                           pulse_unknown_fn *unknown, void *arg)
{
    struct pulse *p = mem_zalloc(sizeof *p);
    p->jobs = jobs;
    p->watch = watch;
    p->unknown = unknown;
    p->arg = arg;
    p->host = getppid();
    p->loop = loop_create();
    p->timer = loop_timer_create(p->loop, beat, p);
    p->overdue = loop_timer_create(p->loop, on_overdue, p);
    snprintf(p->engine, sizeof p->engine, "%s", engine);
    if (uv_thread_create(&p->thread, thread_main, p))
        die("cannot start the heartbeat thread");
    return p;
}

void pulse_destroy(struct pulse *p)
{
    if (!p)
        return;
    if (loop_post(p->loop, end, p))
        return; /* 4096 messages wait for a thread that only sends beats: it hangs, leave it */
    uv_thread_join(&p->thread);
    msg_decoder_finish(&p->decoder);
    free(p);
}
