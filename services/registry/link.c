/* link.c - one connection to Redis: its life, and the commands on it.
 *
 * hiredis frees a context after its disconnect callback and after a connect callback that
 * failed; so a link never reuses one, it makes the next from a timer.  Its own command timeout
 * begins anew with each command that is sent, so on a busy link it would never come: the
 * deadlines are kept here.  Redis answers in order, so only the first command is watched.
 */
#include "services/registry/redis.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "services/registry/functions.h"

#include <hiredis/adapters/libuv.h>
#include <hiredis/async.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 1000
#define WATCH_MS       250 /* how often the deadline of the first command is looked at */

static struct metric_family reconnects = {
    .name = "maas_registry_redis_reconnects_total",
    .help = "connections to Redis that were lost or refused",
    .type = METRIC_COUNTER,
};

struct redis_link {
    struct loop *loop;
    redisAsyncContext *context; /* NULL while there is none; hiredis frees it */
    struct lookup *lookup;      /* of the host name, while it is under way */
    enum redis_greeting greeting;
    bool up;                  /* the greeting was answered */
    bool closing;             /* redis_link_destroy has begun */
    bool told;                /* the loss has been logged */
    struct loop_timer *timer; /* the next attempt */
    struct loop_timer *watch; /* runs while commands are under way */
    const char *reason;       /* why we break the connection ourselves, or NULL */
    uint64_t backoff_ms;
    unsigned attempts;
    char host[REDIS_HOST_MAX];
    int port;
    struct command *commands; /* under way, in the order of their answers */
    size_t pending;           /* how many */
    loop_fn *connected;
    void *arg;
};

/* A name on its way to an address: the resolver may block for seconds. */
struct lookup {
    struct redis_link *link; /* NULL: nobody waits any more */
    char host[REDIS_HOST_MAX];
    unsigned attempt;
    char ip[64]; /* empty: the name is not known */
};

struct command {
    struct redis_link *link;
    struct command *prev, *next;
    uint64_t sent_ms;
    redis_fn *fn;
    void *arg;
};

/* ---- life of a connection ---------------------------------------------------------------- */

static void again_later(struct redis_link *k, const char *reason)
{
    k->context = NULL;
    k->up = false;
    if (k->closing)
        return;
    metric_count(&reconnects);
    if (!k->told && k->greeting == GREETING_LIBRARY)
        log_warn("redis is away", LOG_S("address", k->host), LOG_S("reason", reason));
    k->told = true;
    loop_timer_start(k->timer, k->backoff_ms, 0);
    k->backoff_ms = k->backoff_ms < BACKOFF_MAX_MS / 2 ? 2 * k->backoff_ms : BACKOFF_MAX_MS;
}

static enum status send_command(struct redis_link *k, redis_fn *fn, void *arg,
                                const struct bytes *argv, size_t argc);

static void break_link(struct redis_link *k, const char *reason)
{
    k->up = false;
    k->reason = reason;
    redisAsyncDisconnect(k->context);
}

static void on_greeted(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct redis_link *k = arg;
    if (st && !reply)
        return; /* on_disconnect follows */
    if (st) {
        if (!k->told && k->greeting == GREETING_LIBRARY)
            log_warn("redis is not ready", LOG_S("address", k->host), LOG_S("reason", text));
        k->told = true;
        break_link(k, "not ready");
        return;
    }
    if (k->told && k->greeting == GREETING_LIBRARY)
        log_info("redis is back", LOG_S("address", k->host));
    k->told = false;
    k->up = true;
    k->backoff_ms = BACKOFF_MIN_MS;
    if (k->connected)
        k->connected(k->arg);
}

/* The library is there; what an older one has left gets its present form. */
static void on_loaded(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct redis_link *k = arg;
    struct bytes move[] = { bytes_str("FCALL"), bytes_str("maas_move"), bytes_str("0") };
    if (st)
        on_greeted(k, st, text, reply);
    else if (send_command(k, on_greeted, k, move, 3))
        break_link(k, "the greeting cannot be sent");
}

static void greet(struct redis_link *k)
{
    size_t size = (size_t)(functions_lua_end - functions_lua);
    struct bytes load[] = { bytes_str("FUNCTION"), bytes_str("LOAD"), bytes_str("REPLACE"),
                            bytes_of(functions_lua, size) };
    struct bytes ping[] = { bytes_str("PING") };
    bool library = k->greeting == GREETING_LIBRARY;
    if (send_command(k, library ? on_loaded : on_greeted, k, library ? load : ping,
                     library ? 4 : 1))
        break_link(k, "the greeting cannot be sent");
}

static void on_connect(const redisAsyncContext *c, int status)
{
    struct redis_link *k = c->data;
    if (status == REDIS_OK)
        greet(k);
    else
        again_later(k, c->errstr);
}

static void on_disconnect(const redisAsyncContext *c, int status)
{
    struct redis_link *k = c->data;
    const char *reason = k->reason ? k->reason : status == REDIS_OK ? "closed" : c->errstr;
    k->reason = NULL;
    again_later(k, reason);
}

static void open_connection(struct redis_link *k, const char *host)
{
    redisOptions options = { 0 };
    struct timeval timeout = { REDIS_TIMEOUT_MS / 1000, 0 };
    if (k->port)
        REDIS_OPTIONS_SET_TCP(&options, host, k->port);
    else
        REDIS_OPTIONS_SET_UNIX(&options, host);
    options.connect_timeout = &timeout;
    redisAsyncContext *c = redisAsyncConnectWithOptions(&options);
    if (!c || c->err) {
        char reason[128];
        snprintf(reason, sizeof reason, "%s", c ? c->errstr : "out of memory");
        if (c)
            redisAsyncFree(c);
        again_later(k, reason);
        return;
    }
    c->data = k;
    k->context = c;
    redisLibuvAttach(c, loop_uv(k->loop));
    redisAsyncSetConnectCallback(c, on_connect);
    redisAsyncSetDisconnectCallback(c, on_disconnect);
}

static void look_up(void *arg) /* pool thread */
{
    struct lookup *l = arg;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *all = NULL;
    unsigned count = 0;
    if (getaddrinfo(l->host, NULL, &hints, &all) != 0)
        return;
    for (struct addrinfo *a = all; a; a = a->ai_next)
        count++;
    struct addrinfo *pick = all; /* another one with each attempt */
    for (unsigned skip = count ? l->attempt % count : 0; skip; skip--)
        pick = pick->ai_next;
    if (pick && getnameinfo(pick->ai_addr, pick->ai_addrlen, l->ip, sizeof l->ip, NULL, 0,
                            NI_NUMERICHOST) != 0)
        l->ip[0] = 0;
    freeaddrinfo(all);
}

static void on_looked_up(void *arg)
{
    struct lookup *l = arg;
    struct redis_link *k = l->link;
    if (k) {
        k->lookup = NULL;
        if (l->ip[0])
            open_connection(k, l->ip);
        else
            again_later(k, "the host name is not known");
    }
    free(l);
}

static void connect_now(void *arg)
{
    struct redis_link *k = arg;
    if (!k->port) {
        open_connection(k, k->host);
        return;
    }
    k->lookup = mem_zalloc(sizeof *k->lookup);
    k->lookup->link = k;
    k->lookup->attempt = k->attempts++;
    memcpy(k->lookup->host, k->host, sizeof k->host);
    loop_work(k->loop, look_up, on_looked_up, k->lookup);
}

static void watch(void *arg)
{
    struct redis_link *k = arg;
    if (k->commands && clock_ms() - k->commands->sent_ms >= REDIS_TIMEOUT_MS) {
        k->reason = "no answer in time";
        k->up = false;
        redisAsyncFree(k->context); /* open commands end inside, then on_disconnect runs */
    }
}

struct redis_link *redis_link_create(struct loop *l, const char *address,
                                     enum redis_greeting greeting, loop_fn *connected, void *arg,
                                     struct error *err)
{
    struct redis_link *k = mem_zalloc(sizeof *k);
    if (redis_address(address, k->host, &k->port, err)) {
        free(k);
        return NULL;
    }
    k->loop = l;
    k->greeting = greeting;
    k->connected = connected;
    k->arg = arg;
    k->backoff_ms = BACKOFF_MIN_MS;
    k->timer = loop_timer_create(l, connect_now, k);
    k->watch = loop_timer_create(l, watch, k);
    connect_now(k);
    return k;
}

void redis_link_destroy(struct redis_link *k)
{
    if (!k)
        return;
    k->closing = true;
    if (k->lookup)
        k->lookup->link = NULL;
    if (k->context)
        redisAsyncFree(k->context); /* callbacks of open commands run inside */
    loop_timer_destroy(k->timer);
    loop_timer_destroy(k->watch);
    free(k);
}

bool redis_link_up(const struct redis_link *k)
{
    return k->up;
}

/* ---- commands ---------------------------------------------------------------------------- */

static void on_error(const struct command *command, const struct redisReply *reply)
{
    struct redis_link *k = command->link;
    const char *text;
    enum status st = redis_error_status(reply->str, &text);
    if (strstr(reply->str, "Function not found") && k->up) {
        break_link(k, "its functions are gone"); /* the next greeting brings them back */
        st = STATUS_UNAVAILABLE;
    } else if (st == STATUS_INTERNAL && k->up) {
        log_error("redis refuses a command", LOG_S("reason", text));
    }
    command->fn(command->arg, st, text, reply);
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
        command->fn(command->arg, STATUS_CANCELLED, "the registry is stopping", NULL);
    else if (!reply)
        command->fn(command->arg, STATUS_UNAVAILABLE, "Redis did not answer; try again", NULL);
    else if (reply->type == REDIS_REPLY_ERROR)
        on_error(command, reply);
    else
        command->fn(command->arg, STATUS_OK, "", reply);
    free(command);
}

static enum status send_command(struct redis_link *k, redis_fn *fn, void *arg,
                                const struct bytes *argv, size_t argc)
{
    const char *text[REDIS_ARGS_MAX];
    size_t len[REDIS_ARGS_MAX];
    for (size_t i = 0; i < argc; i++) {
        text[i] = argv[i].len ? argv[i].data : "";
        len[i] = argv[i].len;
    }
    struct command *command = mem_alloc(sizeof *command);
    *command = (struct command){ .link = k, .sent_ms = clock_ms(), .fn = fn, .arg = arg };
    if (redisAsyncCommandArgv(k->context, on_reply, command, (int)argc, text, len) != REDIS_OK) {
        free(command);
        return STATUS_UNAVAILABLE;
    }
    DL_APPEND(k->commands, command);
    if (!k->pending++)
        loop_timer_start(k->watch, WATCH_MS, WATCH_MS);
    return STATUS_OK;
}

void redis_link_send(struct redis_link *k, redis_fn *fn, void *arg, const struct bytes *argv,
                     size_t argc)
{
    if (k->up && k->pending >= REDIS_PENDING_MAX)
        fn(arg, STATUS_BUSY, "too many requests wait for Redis; try again", NULL);
    else if (!k->up || send_command(k, fn, arg, argv, argc))
        fn(arg, STATUS_UNAVAILABLE, "Redis is away; try again", NULL);
}
