/* link.c - the life of a connection to Redis, and the commands on it; see link.h.
 *
 * hiredis frees a context after its disconnect callback and after a connect callback that
 * failed; so a link never reuses one, it makes the next from a timer.  Its own command timeout
 * begins anew with each command that is sent, so on a busy link it would never come: the
 * deadlines are kept here.  Redis answers in order, so only the first command is watched.
 */
#include "services/registry/link.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "services/registry/redis.h"
#include "services/registry/siphon.h"
#include "services/registry/tls.h"

#include <assert.h>
#include <hiredis/adapters/libuv.h>
#include <hiredis/async.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 1000
#define WATCH_MS       250 /* how often the deadline of the first command is looked at */

static struct metric_family reconnects = {
    .name = "maas_registry_redis_reconnects_total",
    .help = "connections to Redis and its sentinels that were lost or refused",
    .type = METRIC_COUNTER,
};

/* What has been logged since the link was up: each once, and the reason of a refusal always. */
enum told { TOLD_NOTHING, TOLD_AWAY, TOLD_REFUSED };

struct redis_link {
    struct redis_target *target;
    struct redis_link *prev, *next; /* on the target */
    redisAsyncContext *context;     /* NULL while there is none; hiredis frees it */
    bool siphons;                   /* each connection gets one */
    struct siphon siphon;
    struct lookup *lookup;    /* while it is under way */
    struct redis_place place; /* of the connection, or of the attempt */
    struct greeting greeting;
    bool greeted;  /* it has ended, in whichever way */
    bool up;       /* it ended well, and the connection holds */
    bool outdated; /* it ended so the last time */
    bool leaving;  /* for the next place, and that is no failure */
    bool closing;  /* redis_link_destroy has begun */
    enum told told;
    struct loop_timer *timer; /* the next attempt */
    struct loop_timer *watch; /* runs while commands are under way */
    char why[ERROR_TEXT_MAX]; /* why we break the connection ourselves, or empty */
    uint64_t backoff_ms;
    unsigned attempts;
    struct command *commands; /* under way, in the order of their answers */
    size_t pending;           /* how many */
    loop_fn *connected;
    void *arg;
};

struct command {
    struct redis_link *link;
    struct command *prev, *next;
    uint64_t sent_ms;
    redis_fn *fn; /* or */
    redis_value_fn *value_fn;
    void *arg;
};

/* ---- life of a connection ---------------------------------------------------------------- */

static const char *log_text(const struct redis_link *k, const char *redis, const char *sentinel)
{
    return k->greeting.kind == GREETING_SENTINEL ? sentinel : redis;
}

static bool logs(const struct redis_link *k)
{
    return k->greeting.kind != GREETING_PING;
}

static void tell(struct redis_link *k, enum told what, const char *reason)
{
    if (what > k->told && logs(k))
        log_warn(log_text(k, "redis is away", "a sentinel is away"),
                 LOG_S("address", k->place.host), LOG_I("port", k->place.port),
                 LOG_S("reason", reason));
    if (what > k->told)
        k->told = what;
}

/* reason: NULL when it is no failure. */
static void again_later(struct redis_link *k, enum told what, const char *reason)
{
    k->context = NULL;
    k->up = false;
    siphon_finish(&k->siphon);
    if (k->closing)
        return;
    if (reason) {
        metric_count(&reconnects);
        tell(k, what, reason);
    }
    k->why[0] = 0;
    loop_timer_start(k->timer, k->backoff_ms, 0);
    k->backoff_ms = k->backoff_ms < BACKOFF_MAX_MS / 2 ? 2 * k->backoff_ms : BACKOFF_MAX_MS;
}

void redis_link_break(struct redis_link *k, const char *reason)
{
    k->up = false;
    if (!k->context)
        return;
    snprintf(k->why, sizeof k->why, "%s", reason);
    redisAsyncDisconnect(k->context);
}

void redis_link_next(struct redis_link *k)
{
    k->leaving = true;
    k->backoff_ms = BACKOFF_MIN_MS;
    redis_link_break(k, "the next one is asked");
}

/* Without waiting for answers.  Not from a callback of this connection. */
static void drop(struct redis_link *k, const char *reason)
{
    redisAsyncContext *c = k->context;
    snprintf(k->why, sizeof k->why, "%s", reason);
    k->up = false;
    redisAsyncFree(c); /* open commands end inside; then on_disconnect, if it was connected */
    if (k->context == c)
        again_later(k, TOLD_AWAY, reason);
}

static void on_connect(const redisAsyncContext *c, int status)
{
    struct redis_link *k = c->data;
    if (status == REDIS_OK)
        greeting_begin(&k->greeting);
    else
        again_later(k, TOLD_AWAY, c->errstr);
}

static void on_disconnect(const redisAsyncContext *c, int status)
{
    struct redis_link *k = c->data;
    char reason[ERROR_TEXT_MAX];
    const char *tls = tls_reason(k->target->tls);
    snprintf(reason, sizeof reason, "%s",
             k->why[0]            ? k->why
             : tls                ? tls
             : status == REDIS_OK ? "closed"
                                  : c->errstr);
    again_later(k, tls ? TOLD_REFUSED : TOLD_AWAY, k->leaving ? NULL : reason);
    k->leaving = false;
}

static redisAsyncContext *open_context(struct redis_link *k, const char *host, struct error *err)
{
    const struct redis_target *t = k->target;
    redisOptions options = { 0 };
    struct timeval timeout = { (time_t)(t->timeout_ms / 1000), 0 };
    if (k->place.port)
        REDIS_OPTIONS_SET_TCP(&options, host, k->place.port);
    else
        REDIS_OPTIONS_SET_UNIX(&options, host);
    options.connect_timeout = &timeout;
    redisAsyncContext *c = redisAsyncConnectWithOptions(&options);
    enum status st = STATUS_OK;
    if (!c || c->err)
        st = error_set(err, STATUS_UNAVAILABLE, "%s", c ? c->errstr : "out of memory");
    else if (t->tls)
        st = tls_begin(t->tls, &c->c, k->place.host, err);
    if (!st)
        return c;
    if (c)
        redisAsyncFree(c);
    return NULL;
}

static void open_connection(struct redis_link *k, const char *host)
{
    struct error err;
    redisAsyncContext *c = open_context(k, host, &err);
    k->greeted = false;
    if (!c) {
        again_later(k, TOLD_AWAY, err.text);
        return;
    }
    c->data = k;
    k->context = c;
    if (k->siphons && !k->target->tls)
        siphon_begin(&k->siphon, &c->c);
    redisLibuvAttach(c, loop_uv(k->target->loop));
    redisAsyncSetConnectCallback(c, on_connect);
    redisAsyncSetDisconnectCallback(c, on_disconnect);
}

static void run_lookup(void *arg) /* pool thread */
{
    lookup_run(arg);
}

static void on_looked_up(void *arg)
{
    struct lookup *l = arg;
    struct redis_link *k = l->owner;
    if (k) {
        k->lookup = NULL;
        memcpy(k->greeting.password, l->password, sizeof l->password);
        if (l->err.status)
            again_later(k, TOLD_REFUSED, l->err.text);
        else
            open_connection(k, l->place.port ? l->ip : l->place.host);
    }
    explicit_bzero(l->password, sizeof l->password);
    free(l);
}

static void connect_now(void *arg)
{
    struct redis_link *k = arg;
    const struct redis_target *t = k->target;
    if (!t->places_count)
        return; /* redis_target_move begins */
    struct lookup *l = mem_zalloc(sizeof *l);
    k->place = t->places[k->attempts % t->places_count];
    l->place = k->place;
    l->attempt = k->attempts++ / (unsigned)t->places_count;
    l->password_file = t->password_file;
    l->owner = k;
    k->lookup = l;
    loop_work(t->loop, run_lookup, on_looked_up, l);
}

static void forget_lookup(struct redis_link *k)
{
    if (k->lookup)
        k->lookup->owner = NULL;
    k->lookup = NULL;
}

void redis_link_greeted(struct redis_link *k, enum greeting_end end, const char *why)
{
    if (k->greeted)
        return;
    k->greeted = true;
    k->outdated = end == GREETING_OUTDATED;
    if (end != GREETING_DONE) {
        bool loading = strncmp(why, "LOADING ", strlen("LOADING ")) == 0; /* still on its way */
        tell(k, loading ? TOLD_AWAY : TOLD_REFUSED, why);
        redis_link_break(k, why);
        return;
    }
    if (k->told != TOLD_NOTHING && logs(k))
        log_info(log_text(k, "redis is back", "a sentinel is back"),
                 LOG_S("address", k->place.host), LOG_I("port", k->place.port));
    k->told = TOLD_NOTHING;
    k->up = true;
    k->backoff_ms = BACKOFF_MIN_MS;
    if (k->connected)
        k->connected(k->arg);
}

static void watch(void *arg)
{
    struct redis_link *k = arg;
    if (k->commands && clock_ms() - k->commands->sent_ms >= k->target->timeout_ms)
        drop(k, "no answer in time");
}

void redis_target_move(struct redis_target *t, const struct redis_place *place)
{
    struct redis_link *k;
    t->places[0] = *place;
    t->places_count = 1;
    DL_FOREACH(t->links, k)
    {
        if ((k->context || k->lookup) && redis_place_equal(&k->place, place))
            continue;
        forget_lookup(k);
        k->backoff_ms = BACKOFF_MIN_MS;
        if (k->context)
            drop(k, "the primary is another one now");
        loop_timer_stop(k->timer);
        connect_now(k);
    }
}

/* ---- life of a link ----------------------------------------------------------------------- */

struct redis_link *redis_link_create(struct redis_target *t, enum redis_greeting greeting,
                                     loop_fn *connected, void *arg)
{
    struct redis_link *k = mem_zalloc(sizeof *k);
    k->target = t;
    k->greeting = (struct greeting){ .link = k, .kind = greeting, .user = t->user };
    k->connected = connected;
    k->arg = arg;
    k->backoff_ms = BACKOFF_MIN_MS;
    k->timer = loop_timer_create(t->loop, connect_now, k);
    k->watch = loop_timer_create(t->loop, watch, k);
    DL_APPEND(t->links, k);
    connect_now(k);
    return k;
}

void redis_link_destroy(struct redis_link *k)
{
    if (!k)
        return;
    k->closing = true;
    DL_DELETE(k->target->links, k);
    forget_lookup(k);
    if (k->context)
        redisAsyncFree(k->context); /* callbacks of open commands run inside */
    siphon_finish(&k->siphon);
    loop_timer_destroy(k->timer);
    loop_timer_destroy(k->watch);
    free(k);
}

bool redis_link_up(const struct redis_link *k)
{
    return k->up;
}

size_t redis_link_pending(const struct redis_link *k)
{
    return k->pending;
}

bool redis_link_outdated(const struct redis_link *k)
{
    return k->outdated;
}

uint64_t redis_link_history(const struct redis_link *k)
{
    return k->up ? k->greeting.history : 0;
}

/* ---- commands ---------------------------------------------------------------------------- */

static bool take_value(struct redis_link *k, const struct redisReply *reply, struct frame *out)
{
    if (reply->type == REDIS_REPLY_INTEGER)
        return siphon_take(&k->siphon, out);
    if (reply->type != REDIS_REPLY_STRING)
        return false;
    frame_finish(out);
    frame_init_copy(out, bytes_of(reply->str, reply->len));
    return true;
}

static void answer(const struct command *command, enum status st, const char *text,
                   const struct redisReply *reply)
{
    struct frame data;
    if (command->fn) {
        command->fn(command->arg, st, text, reply);
        return;
    }
    frame_init_empty(&data);
    if (!st && !take_value(command->link, reply, &data)) {
        st = STATUS_NOT_FOUND;
        text = "there is no such chunk";
    }
    assert(command->value_fn);
    command->value_fn(command->arg, st, text, &data);
    frame_finish(&data);
}

static void on_error(const struct command *command, const struct redisReply *reply)
{
    struct redis_link *k = command->link;
    const char *text;
    enum status st = redis_error_status(reply->str, &text);
    if (strstr(reply->str, "Function not found") && k->up) {
        k->greeting.reload = true;
        redis_link_break(k, "its functions are gone"); /* the next greeting brings them back */
        st = STATUS_UNAVAILABLE;
        text = "the functions in Redis are gone; try again";
    } else if (strncmp(reply->str, "READONLY", 8) == 0 && k->up) {
        redis_link_break(k, "it is not the primary any more");
        text = "Redis is not the primary any more; try again";
    } else if (st == STATUS_INTERNAL && k->up) {
        log_error("redis refuses a command", LOG_S("reason", text));
    }
    answer(command, st, text, reply);
}

static void on_reply(redisAsyncContext *c, void *data, void *privdata)
{
    const struct redisReply *reply = data;
    struct command *command = privdata;
    struct redis_link *k = command->link;
    (void)c;
    DL_DELETE(k->commands, command);
    if (!--k->pending)
        loop_timer_stop(k->watch);
    if (!reply && k->closing)
        answer(command, STATUS_CANCELLED, "the registry is stopping", NULL);
    else if (!reply)
        answer(command, STATUS_UNAVAILABLE, "Redis did not answer; try again", NULL);
    else if (reply->type == REDIS_REPLY_ERROR)
        on_error(command, reply);
    else
        answer(command, STATUS_OK, "", reply);
    free(command);
}

/* what: link, functions and argument of the command. */
static enum status say(const struct command *what, const struct bytes *argv, size_t argc)
{
    struct redis_link *k = what->link;
    const char *text[REDIS_ARGS_MAX];
    size_t len[REDIS_ARGS_MAX];
    for (size_t i = 0; i < argc; i++) {
        text[i] = argv[i].len ? argv[i].data : "";
        len[i] = argv[i].len;
    }
    struct command *command = mem_alloc(sizeof *command);
    *command = *what;
    command->sent_ms = clock_ms();
    if (redisAsyncCommandArgv(k->context, on_reply, command, (int)argc, text, len) != REDIS_OK) {
        free(command);
        return STATUS_UNAVAILABLE;
    }
    DL_APPEND(k->commands, command);
    if (!k->pending++)
        loop_timer_start(k->watch, WATCH_MS, WATCH_MS);
    return STATUS_OK;
}

enum status redis_link_say(struct redis_link *k, redis_fn *fn, void *arg, const struct bytes *argv,
                           size_t argc)
{
    return say(&(struct command){ .link = k, .fn = fn, .arg = arg }, argv, argc);
}

static void send_or_fail(const struct command *what, const struct bytes *argv, size_t argc)
{
    const struct redis_link *k = what->link;
    if (k->up && k->pending >= REDIS_PENDING_MAX)
        answer(what, STATUS_BUSY, "too many requests wait for Redis; try again", NULL);
    else if (k->outdated)
        answer(what, STATUS_UNAVAILABLE,
               "Redis has the functions of a newer registry than this one", NULL);
    else if (!k->up || say(what, argv, argc))
        answer(what, STATUS_UNAVAILABLE, "Redis is away; try again", NULL);
}

void redis_link_send(struct redis_link *k, redis_fn *fn, void *arg, const struct bytes *argv,
                     size_t argc)
{
    send_or_fail(&(struct command){ .link = k, .fn = fn, .arg = arg }, argv, argc);
}

void redis_link_get(struct redis_link *k, struct bytes key, redis_value_fn *fn, void *arg)
{
    struct bytes argv[] = { bytes_str("GET"), key };
    send_or_fail(&(struct command){ .link = k, .value_fn = fn, .arg = arg }, argv, 2);
}

void redis_link_siphon(struct redis_link *k)
{
    k->siphons = true;
}
