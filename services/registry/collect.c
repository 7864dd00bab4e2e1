/* collect.c - lets go what nobody keeps any more: uploads that were given up, chunks whose last
 * version or file was deleted.  A step at a time, so that Redis is never held up for long; any
 * number of registries may do it at once. */
#include "services/registry/registry.h"

#include "services/registry/records.h"

#include <stdlib.h>

#define IDLE_MS 1000 /* nothing was there to be done */
#define STEP_MS 5

struct collector {
    struct registry *registry;
    struct loop_timer *timer;
    bool asked; /* Redis owes an answer */
};

static void on_step(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct collector *c = arg;
    (void)text;
    c->asked = false;
    if (!c->timer)
        free(c);
    else
        loop_timer_start(c->timer, !st && record_number(reply) ? STEP_MS : IDLE_MS, 0);
}

static void step(void *arg)
{
    struct collector *c = arg;
    struct fcall call;
    fcall_begin(&call, "maas_collect");
    fcall_add_number(&call, c->registry->config->artifact_ttl_ms);
    c->asked = true;
    redis_send(c->registry->redis, on_step, c, call.argv, call.argc);
}

struct collector *collector_create(struct registry *g)
{
    struct collector *c = mem_zalloc(sizeof *c);
    c->registry = g;
    c->timer = loop_timer_create(g->loop, step, c);
    loop_timer_start(c->timer, STEP_MS, 0);
    return c;
}

void collector_destroy(struct collector *c)
{
    if (!c)
        return;
    loop_timer_destroy(c->timer);
    c->timer = NULL;
    if (!c->asked)
        free(c);
}
