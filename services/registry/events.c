/* events.c - publishes the catalog's changes in their order.
 *
 * The stream in Redis is the order.  Each registry follows it with a blocking XREAD on a
 * connection of its own and publishes what it reads; it never publishes what it has merely
 * done.  A tick each second carries the last number, so that a subscriber that missed the
 * last change learns of it; without Redis the tick says only that the registry lives.
 */
#include "services/registry/registry.h"

#include "common/base/log.h"
#include "services/registry/records.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SUBSCRIBER_QUEUE_MAX 10000 /* events that wait for one subscriber */
#define READ_COUNT           "256"
#define BLOCK_MS             "1000"
#define TICK_MS              1000

struct events {
    struct registry *registry;
    struct redis_link *link;
    struct sock *pub;
    struct loop_timer *tick;
    uint64_t seq; /* the last number that was read */
    bool known;   /* seq is set */
    bool waiting; /* Redis owes an answer on the link */
};

static void publish(struct events *e, const struct msg_catalog *catalog)
{
    struct frames frames = { .count = 0 };
    struct buf envelope = { 0 };
    msg_encode(&envelope, MSG_CATALOG, 0, catalog);
    frame_init_buf(frames_add(&frames), &envelope);
    if (sock_send(e->pub, &frames))
        frames_finish(&frames); /* a subscriber that lags sees a gap and asks for a snapshot */
}

/* One entry {"SEQ-0", {name, value ...}}. */
static void publish_entry(struct events *e, const struct redisReply *entry)
{
    struct records records = { 0 };
    const struct redisReply *f = entry->element[1];
    struct msg_catalog catalog = { .seq = strtoull(entry->element[0]->str, NULL, 10),
                                   .history = redis_link_history(e->link) };
    struct msg_version version;
    struct msg_deployment deployment;
    struct msg_aliases aliases;
    struct bytes what = record_text(record_field(f, "what"));
    enum status st = STATUS_OK;
    if (bytes_equal_str(what, "version")) {
        st = record_version_event(&records, f, &version);
        catalog.versions = &version;
        catalog.versions_count = 1;
    } else if (bytes_equal_str(what, "restored")) {
        log_info("a backup was restored"); /* its number leaves a gap: all take a snapshot */
    } else if (bytes_equal_str(what, "aliases")) {
        st = record_aliases_event(&records, f, &aliases);
        catalog.aliases = &aliases;
        catalog.aliases_count = 1;
    } else {
        st = record_deployment(&records, f, &deployment);
        catalog.deployments = &deployment;
        catalog.deployments_count = 1;
    }
    e->seq = catalog.seq;
    if (st) /* subscribers see a gap and ask for a snapshot */
        log_error("an event in redis cannot be read", LOG_U("seq", catalog.seq));
    else
        publish(e, &catalog);
    records_finish(&records);
}

static void read_on(struct events *e);

static void on_entries(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct events *e = arg;
    (void)text;
    e->waiting = false;
    if (st || redis_outdated(e->registry->redis))
        return; /* on_connected or the next tick starts again */
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 1) {
        const struct redisReply *entries = reply->element[0]->element[1];
        for (size_t i = 0; i < entries->elements; i++)
            publish_entry(e, entries->element[i]);
    }
    read_on(e);
}

static void read_on(struct events *e)
{
    char after[32];
    snprintf(after, sizeof after, "%" PRIu64 "-0", e->seq);
    struct bytes argv[] = { bytes_str("XREAD"),       bytes_str("COUNT"),  bytes_str(READ_COUNT),
                            bytes_str("BLOCK"),       bytes_str(BLOCK_MS), bytes_str("STREAMS"),
                            bytes_str("maas:events"), bytes_str(after) };
    e->waiting = true;
    redis_link_send(e->link, on_entries, e, argv, sizeof argv / sizeof *argv);
}

static void on_seq(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct events *e = arg;
    (void)text;
    e->waiting = false;
    if (st)
        return;
    uint64_t seq = record_number(reply);
    if (!e->known || seq < e->seq)
        e->seq = seq; /* what came before is in every snapshot; less: Redis lost its data */
    e->known = true;
    read_on(e);
}

static void on_connected(void *arg)
{
    struct events *e = arg;
    struct bytes argv[] = { bytes_str("GET"), bytes_str("maas:seq") };
    e->waiting = true;
    redis_link_send(e->link, on_seq, e, argv, 2);
}

static void tick(void *arg)
{
    struct events *e = arg;
    uint64_t history = redis_outdated(e->registry->redis) ? 0 : redis_link_history(e->link);
    if (e->known)
        publish(e, &(struct msg_catalog){ .seq = e->seq, .history = history });
    if (!e->waiting && redis_link_up(e->link))
        on_connected(e); /* Redis had refused the read */
}

static void on_message(void *arg, struct frames *frames)
{
    (void)arg; /* a publisher hears nothing */
    (void)frames;
}

struct events *events_create(struct registry *g, struct error *err)
{
    static const struct sock_config config = { SOCK_PUB, SUBSCRIBER_QUEUE_MAX, MAX_SMALL_ENVELOPE,
                                               false };
    struct events *e = mem_zalloc(sizeof *e);
    e->registry = g;
    e->pub = sock_create(g->loop, &config, on_message, e);
    e->tick = loop_timer_create(g->loop, tick, e);
    loop_timer_start(e->tick, TICK_MS, TICK_MS);
    if (!sock_bind(e->pub, g->config->events, err))
        e->link = redis_link_add(g->redis, on_connected, e);
    if (e->link)
        return e;
    events_destroy(e);
    return NULL;
}

void events_destroy(struct events *e)
{
    if (!e)
        return;
    redis_link_destroy(e->link);
    sock_destroy(e->pub);
    loop_timer_destroy(e->tick);
    free(e);
}
