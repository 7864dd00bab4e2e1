/* hosts.c - see hosts.h. */
#include "services/gateway/hosts.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "services/gateway/api/hold.h"
#include "services/gateway/rendezvous.h"

#include <stdlib.h>
#include <uthash.h>

#define HOSTS_MAX 4096 /* of one gateway */
#define TICK_MS   250  /* while something is wanted */
#define NEXT_MS   3000 /* then another host is asked too */

struct worker_host {
    UT_hash_handle hh;
    char id[MAX_NAME + 1];   /* of the worker */
    char pool[MAX_NAME + 1]; /* whose deployments it serves */
    unsigned char route[MAX_ROUTE];
    size_t route_len;
    uint64_t heard_ms;
};

struct want_key {
    char model[MAX_NAME + 1];
    uint32_t version;
};

struct want {
    UT_hash_handle hh;
    struct want_key key;
    uint64_t turn_ms; /* since when this turn's host is asked */
    size_t turn;
    bool renewed; /* since the last tick */
};

struct hosts {
    struct gateway *gateway;
    struct loop_timer *tick; /* active while there are wants */
    struct worker_host *list;
    struct want *wants;
};

/* ---- hosts ------------------------------------------------------------------------------------- */

static void remove_host(struct hosts *h, struct worker_host *host)
{
    HASH_DEL(h->list, host);
    free(host);
}

static void drop_silent(struct hosts *h, uint64_t now)
{
    struct worker_host *host, *next;
    HASH_ITER(hh, h->list, host, next)
    if (now - host->heard_ms > HOST_TIMEOUT_MS)
        remove_host(h, host);
}

static struct bytes pool_of(struct hosts *h, const struct want *w)
{
    const struct catalog *c = replica_catalog(h->gateway->replica);
    const struct catalog_model *m = catalog_find(c, bytes_str(w->key.model));
    return m ? deployment_pool(&m->deployment) : bytes_str(POOL_DEFAULT);
}

/* NULL: the pool has none.  turn: how many were asked before. */
static struct worker_host *choose(struct hosts *h, const struct want *w)
{
    struct bytes pool = pool_of(h, w);
    size_t all = HASH_COUNT(h->list), count = 0;
    uint64_t *scores = mem_alloc(all * sizeof *scores);
    struct worker_host **list = mem_alloc(all * sizeof *list), *chosen = NULL;
    for (struct worker_host *each = h->list; each; each = each->hh.next) {
        if (!bytes_equal_str(pool, each->pool))
            continue;
        scores[count] =
            rendezvous_score(bytes_str(each->id), bytes_str(w->key.model), w->key.version);
        list[count++] = each;
    }
    if (count)
        chosen = list[rendezvous_pick(scores, count, w->turn)];
    free(scores);
    free(list);
    return chosen;
}

static void ask(struct hosts *h, const struct want *w)
{
    struct worker_host *host;
    struct msg_version_ref body = { .model = bytes_str(w->key.model), .version = w->key.version };
    while ((host = choose(h, w))) {
        struct bytes route = bytes_of(host->route, host->route_len);
        if (!engines_tell(h->gateway->engines, route, MSG_WANT, &body))
            return;
        remove_host(h, host); /* gone, or it does not read */
    }
}

void hosts_hello(struct hosts *h, struct bytes route, const struct msg_name *m)
{
    struct worker_host *host;
    struct want *w;
    uint64_t now = clock_ms();
    struct bytes pool = m->pool.len ? m->pool : bytes_str(POOL_DEFAULT);
    if (name_check(m->name, "the worker's id", NULL) || route.len > MAX_ROUTE)
        return;
    HASH_FIND(hh, h->list, m->name.data, m->name.len, host);
    bool known = host != NULL;
    if (!known) {
        drop_silent(h, now);
        if (HASH_COUNT(h->list) >= HOSTS_MAX)
            return;
        host = mem_zalloc(sizeof *host);
        if (bytes_copy_str(m->name, host->id, sizeof host->id))
            host->id[0] = 0; /* cannot be: name_check has seen it */
        HASH_ADD_KEYPTR(hh, h->list, host->id, strlen(host->id), host);
    }
    if (bytes_copy_str(pool, host->pool, sizeof host->pool))
        host->pool[0] = 0; /* cannot be: the codec has bounded it */
    memcpy(host->route, route.data, route.len);
    host->route_len = route.len;
    host->heard_ms = now;
    for (w = known ? NULL : h->wants; w; w = w->hh.next)
        ask(h, w);
}

/* ---- wants ------------------------------------------------------------------------------------- */

void hosts_want(struct hosts *h, struct bytes model, uint32_t version)
{
    struct want_key key = { .version = version };
    struct want *w = NULL;
    if (!version || bytes_copy_str(model, key.model, sizeof key.model))
        return;
    HASH_FIND(hh, h->wants, &key, sizeof key, w);
    if (w) {
        w->renewed = true;
        return;
    }
    w = mem_zalloc(sizeof *w);
    w->key = key;
    w->turn_ms = clock_ms();
    w->renewed = true;
    HASH_ADD(hh, h->wants, key, sizeof w->key, w);
    ask(h, w);
    if (!loop_timer_active(h->tick))
        loop_timer_start(h->tick, TICK_MS, TICK_MS);
}

static void want_lane(void *arg, struct lane *l)
{
    struct hosts *h = arg;
    hosts_want(h, bytes_str(lane_model(l)), lane_version(l));
}

static void ask_again(struct hosts *h, struct want *w, uint64_t now)
{
    struct bytes model = bytes_str(w->key.model);
    bool on_its_way = suite_engines(h->gateway->suite, model, w->key.version).loading != 0;
    if (now - w->turn_ms >= NEXT_MS) {
        w->turn_ms = now;
        w->turn += !on_its_way;
    }
    ask(h, w);
}

/* Asks again for what requests still wait for, and forgets the rest. */
static void on_tick(void *arg)
{
    struct hosts *h = arg;
    struct want *w, *next;
    uint64_t now = clock_ms();
    drop_silent(h, now);
    for (w = h->wants; w; w = w->hh.next)
        w->renewed = false;
    queue_each_stranded(&h->gateway->queue, want_lane, h);
    hold_want(h->gateway);
    HASH_ITER(hh, h->wants, w, next)
    {
        if (w->renewed) {
            ask_again(h, w, now);
            continue;
        }
        HASH_DEL(h->wants, w);
        free(w);
    }
    if (!h->wants)
        loop_timer_stop(h->tick);
}

/* ---- life -------------------------------------------------------------------------------------- */

struct hosts *hosts_create(struct gateway *g)
{
    struct hosts *h = mem_zalloc(sizeof *h);
    h->gateway = g;
    h->tick = loop_timer_create(g->loop, on_tick, h);
    return h;
}

void hosts_destroy(struct hosts *h)
{
    struct want *w, *next;
    if (!h)
        return;
    HASH_ITER(hh, h->wants, w, next)
    {
        HASH_DEL(h->wants, w);
        free(w);
    }
    while (h->list)
        remove_host(h, h->list);
    loop_timer_destroy(h->tick);
    free(h);
}
