/* sentinel.c - see sentinel.h. */
#include "services/registry/sentinel.h"

#include "common/base/log.h"

#include <stdlib.h>

#define CONTENT_ASKS_EVERY 5 /* turns of the timer, while the primary serves */
#define TURN_MS            200
#define ASKS_MAX           5 /* of one sentinel while the primary is away; then the next */

struct sentinel {
    struct redis_link *link;
    struct loop_timer *timer;
    const char *primary;
    sentinel_fn *found;
    sentinel_content_fn *content;
    void *arg;
    bool waiting; /* for an answer */
    bool told;    /* that the sentinels do not know the primary */
    unsigned turns;
    unsigned asks; /* of this sentinel since the primary was away */
};

enum status sentinel_place(const struct redisReply *reply, struct redis_place *out)
{
    const struct redisReply *host, *port;
    if (reply->type == REDIS_REPLY_NIL ||
        (reply->type == REDIS_REPLY_ARRAY && reply->elements == 0))
        return STATUS_NOT_FOUND;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
        return STATUS_INVALID;
    host = reply->element[0];
    port = reply->element[1];
    if (host->type != REDIS_REPLY_STRING || port->type != REDIS_REPLY_STRING || !host->len)
        return STATUS_INVALID;
    char *end;
    long number = strtol(port->str, &end, 10);
    if (*end || number < 1 || number > 65535)
        return STATUS_INVALID;
    out->port = (int)number;
    return bytes_copy_str(bytes_of(host->str, host->len), out->host, sizeof out->host);
}

static void ask_next_one(struct sentinel *s)
{
    s->asks = 0;
    redis_link_next(s->link);
}

static void on_answer(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct sentinel *s = arg;
    struct redis_place place;
    s->waiting = false;
    if (!reply)
        return; /* the link connects to the next one */
    if (!st)
        st = sentinel_place(reply, &place);
    if (!st) {
        s->told = false;
        s->found(s->arg, &place);
        return;
    }
    if (!s->told)
        log_warn("a sentinel does not know the primary", LOG_S("name", s->primary),
                 LOG_S("reason", *text ? text : status_text(st)));
    s->told = true;
    ask_next_one(s);
}

static void ask(struct sentinel *s)
{
    struct bytes argv[] = { bytes_str("SENTINEL"), bytes_str("GET-MASTER-ADDR-BY-NAME"),
                            bytes_str(s->primary) };
    s->waiting = true;
    redis_link_send(s->link, on_answer, s, argv, 3);
}

static void turn(void *arg)
{
    struct sentinel *s = arg;
    bool content = s->content(s->arg);
    if (content)
        s->asks = 0;
    if (s->waiting || !redis_link_up(s->link) || (++s->turns % CONTENT_ASKS_EVERY && content))
        return;
    if (!content && s->asks++ >= ASKS_MAX)
        ask_next_one(s);
    else
        ask(s);
}

static void on_up(void *arg)
{
    struct sentinel *s = arg;
    if (!s->waiting)
        ask(s);
}

struct sentinel *sentinel_create(struct redis_target *sentinels, const char *primary,
                                 sentinel_fn *found, sentinel_content_fn *content, void *arg)
{
    struct sentinel *s = mem_zalloc(sizeof *s);
    s->primary = primary;
    s->found = found;
    s->content = content;
    s->arg = arg;
    s->timer = loop_timer_create(sentinels->loop, turn, s);
    loop_timer_start(s->timer, TURN_MS, TURN_MS);
    s->link = redis_link_create(sentinels, GREETING_SENTINEL, on_up, s);
    return s;
}

void sentinel_destroy(struct sentinel *s)
{
    if (!s)
        return;
    redis_link_destroy(s->link);
    loop_timer_destroy(s->timer);
    free(s);
}
