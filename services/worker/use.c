/* use.c - see use.h. */
#include "services/worker/use.h"

#include "common/base/log.h"

#include <stdlib.h>

#define USE_MS 100

struct use {
    struct pipe *host;
    struct loop_timer *timer; /* active while the host believes that there is work */
    bool some;                /* since its last tick */
};

static void tell(struct use *u, enum msg_kind kind)
{
    if (pipe_send(u->host, kind, NULL))
        log_debug("the host does not listen");
}

static void on_tick(void *arg)
{
    struct use *u = arg;
    tell(u, u->some ? MSG_ENGINE_BUSY : MSG_ENGINE_IDLE);
    if (!u->some)
        loop_timer_stop(u->timer);
    u->some = false;
}

void use_note(struct use *u)
{
    u->some = true;
    if (loop_timer_active(u->timer))
        return;
    tell(u, MSG_ENGINE_BUSY);
    loop_timer_start(u->timer, USE_MS, USE_MS);
}

struct use *use_create(struct loop *l, struct pipe *host)
{
    struct use *u = mem_zalloc(sizeof *u);
    u->host = host;
    u->timer = loop_timer_create(l, on_tick, u);
    return u;
}

void use_destroy(struct use *u)
{
    if (!u)
        return;
    loop_timer_destroy(u->timer);
    free(u);
}
