/* persist.c - see persist.h. */
#include "services/gateway/api/persist.h"

#include "common/base/clock.h"

#define TRY_TIMEOUT_MS 8000 /* for one; the registry itself waits for Redis for less */
#define RETRY_MIN_MS   100  /* before the second try; doubles up to RETRY_MAX_MS */
#define RETRY_MAX_MS   2000

/* A store that is full stays full for longer than anybody waits. */
static void retry_or_end(struct persist *p, const struct rpc_reply *reply)
{
    bool passing = status_retryable(reply->status) && reply->status != STATUS_FULL;
    if (!passing || clock_ms() + p->pause_ms >= p->deadline_ms) {
        p->done(p->arg, reply);
        return;
    }
    loop_timer_start(p->retry, p->pause_ms, 0);
    p->pause_ms = p->pause_ms < RETRY_MAX_MS / 2 ? 2 * p->pause_ms : RETRY_MAX_MS;
}

static void on_reply(void *arg, const struct rpc_reply *reply)
{
    struct persist *p = arg;
    p->call = NULL;
    if (reply->status)
        retry_or_end(p, reply);
    else
        p->done(p->arg, reply);
}

void persist_send(struct persist *p, enum msg_kind kind, const void *body)
{
    uint64_t now = clock_ms();
    uint64_t left_ms = p->deadline_ms > now ? p->deadline_ms - now : 1;
    p->call = rpc_call(p->gateway->registry, kind, body, NULL,
                       left_ms < TRY_TIMEOUT_MS ? left_ms : TRY_TIMEOUT_MS, on_reply, p);
    if (!p->call)
        retry_or_end(
            p, &(struct rpc_reply){ .status = STATUS_BUSY,
                                    .text = "too many requests wait for the registry; try again" });
}

static void on_retry(void *arg)
{
    struct persist *p = arg;
    p->send(p->arg);
}

void persist_init(struct persist *p, struct gateway *g, loop_fn *send, persist_done_fn *done,
                  void *arg)
{
    *p = (struct persist){ .gateway = g, .send = send, .done = done, .arg = arg };
    p->retry = loop_timer_create(g->loop, on_retry, p);
}

void persist_start(struct persist *p, uint64_t timeout_ms)
{
    p->deadline_ms = clock_ms() + timeout_ms;
    p->pause_ms = RETRY_MIN_MS;
    p->send(p->arg);
}

void persist_finish(struct persist *p)
{
    rpc_cancel(p->call);
    loop_timer_destroy(p->retry);
    p->call = NULL;
    p->retry = NULL;
}
