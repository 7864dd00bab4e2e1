/* catch_up.c - see catch_up.h. */
#include "services/gateway/api/catch_up.h"

#include <assert.h>
#include <utlist.h>

/* From which change on the catalog has all that the reply tells of; seq 0: it tells of nothing there. */
static void place_of(const struct rpc_reply *reply, uint64_t *history, uint64_t *seq)
{
    const struct msg_trainings *list = reply->body;
    const struct msg_training *job = reply->body;
    const struct msg_rollout *rollout = reply->body;
    const struct msg_catalog *catalog = reply->body;
    *history = *seq = 0;
    switch (reply->kind) {
    case MSG_TRAINING:
        *history = job->catalog_history;
        *seq = job->catalog_seq;
        break;
    case MSG_TRAININGS: /* read in one step: all that are done have the same */
        for (size_t i = 0; i < list->trainings_count && !*seq; i++) {
            *history = list->trainings[i].catalog_history;
            *seq = list->trainings[i].catalog_seq;
        }
        break;
    case MSG_ROLLOUT:
        *history = rollout->catalog_history;
        *seq = rollout->catalog_seq;
        break;
    case MSG_CATALOG:
        *history = catalog->history;
        *seq = catalog->seq;
        break;
    default:
        break;
    }
}

void catch_up_finish(struct catch_up *c)
{
    if (!c->gateway)
        return;
    DL_DELETE(c->gateway->behind, c);
    loop_timer_destroy(c->timer);
    *c = (struct catch_up){ 0 };
}

static void end(void *arg)
{
    struct catch_up *c = arg;
    loop_fn *done = c->done;
    void *of = c->arg;
    assert(done); /* it waits */
    catch_up_finish(c);
    done(of);
}

bool catch_up_wait(struct catch_up *c, struct gateway *g, const struct rpc_reply *reply,
                   loop_fn *done, void *arg)
{
    uint64_t history, seq;
    place_of(reply, &history, &seq);
    if (!seq || replica_has(g->replica, history, seq))
        return false;
    *c =
        (struct catch_up){ .gateway = g, .history = history, .seq = seq, .done = done, .arg = arg };
    c->timer = loop_timer_create(g->loop, end, c);
    loop_timer_start(c->timer, CATCH_UP_MS, 0);
    DL_APPEND(g->behind, c);
    return true;
}

static struct catch_up *first_that_has_it(struct gateway *g)
{
    struct catch_up *c = g->behind;
    while (c && !replica_has(g->replica, c->history, c->seq))
        c = c->next;
    return c;
}

void catch_up_look(struct gateway *g)
{
    struct catch_up *c;
    while ((c = first_that_has_it(g))) /* from the head: who is told may end others */
        end(c);
}
