/* redis.c - connections to Redis on the loop. */
#include "services/registry/redis.h"

#include "common/base/log.h"
#include "common/base/metrics.h"
#include "services/registry/functions.h"

#include <hiredis/adapters/libuv.h>
#include <hiredis/async.h>
#include <stdlib.h>

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 2000

static struct metric_family reconnects = {
    .name = "maas_registry_redis_reconnects_total",
    .help = "connections to Redis that were lost or refused",
    .type = METRIC_COUNTER,
};

struct redis_link {
    struct loop       *loop;
    redisAsyncContext *context;    /* NULL while there is none; hiredis frees it */
    bool               up;
    bool               closing;
    bool               told;       /* the loss has been logged */
    struct loop_timer *timer;
    uint64_t           backoff_ms;
    char               host[256];
    int                port;
    size_t             pending;
    loop_fn           *connected;
    void              *arg;
};

struct redis {
    struct redis_link *commands;
    struct redis_link *bulk;
    bool               loaded;    /* Redis has our functions */
};

struct command {
    struct redis_link *link;
    redis_fn          *fn;
    void              *arg;
};

/* 1 to 65535; 0: not a port. */
static int parse_port(const char *text)
{
    char *end;
    long  port = strtol(text, &end, 10);
    return *end == 0 && port > 0 && port < 65536 ? (int)port : 0;
}

enum status redis_address(const char *address, char host[256], int *port, struct error *err)
{
    const char *colon = strrchr(address, ':');
    if (strncmp(address, "unix:", 5) == 0) {
        *port = 0;
        if (address[5] && !bytes_copy_str(bytes_str(address + 5), host, 256))
            return STATUS_OK;
    } else if (strncmp(address, "tcp:", 4) == 0 && colon > address + 4) {
        *port = parse_port(colon + 1);
        if (*port &&
            !bytes_copy_str(bytes_of(address + 4, (size_t)(colon - address) - 4), host, 256))
            return STATUS_OK;
    }
    return error_set(err, STATUS_INVALID, "\"%s\" is neither unix:PATH nor tcp:HOST:PORT", address);
}

/* ---- life of a connection ---------------------------------------------------------------- */

static void again_later(struct redis_link *k)
{
    metric_count(&reconnects);
    k->context = NULL;
    k->up      = false;
    if (k->closing)
        return;
    if (!k->told)
        log_warn("redis is away", LOG_S("address", k->host));
    k->told = true;
    loop_timer_start(k->timer, k->backoff_ms, 0);
    k->backoff_ms = k->backoff_ms < BACKOFF_MAX_MS ? 2 * k->backoff_ms : BACKOFF_MAX_MS;
}

static void on_connect(const redisAsyncContext *c, int status)
{
    struct redis_link *k = c->data;
    if (status != REDIS_OK) {
        again_later(k);
        return;
    }
    if (k->told)
        log_info("redis is back", LOG_S("address", k->host));
    k->told       = false;
    k->up         = true;
    k->backoff_ms = BACKOFF_MIN_MS;
    if (k->connected)
        k->connected(k->arg);
}

static void on_disconnect(const redisAsyncContext *c, int status)
{
    (void)status;
    again_later(c->data);
}

static void connect_now(void *arg)
{
    struct redis_link *k       = arg;
    redisOptions       options = { 0 };
    struct timeval     timeout = { REDIS_TIMEOUT_MS / 1000, 0 };
    if (k->port)
        REDIS_OPTIONS_SET_TCP(&options, k->host, k->port);
    else
        REDIS_OPTIONS_SET_UNIX(&options, k->host);
    options.connect_timeout = &timeout;
    options.command_timeout = &timeout;
    redisAsyncContext *c    = redisAsyncConnectWithOptions(&options);
    if (!c || c->err) {
        if (c)
            redisAsyncFree(c);
        again_later(k);
        return;
    }
    c->data                = k;
    c->c.reader->maxbuf    = 0;    /* give a chunk's memory back after each reply */
    k->context             = c;
    redisLibuvAttach(c, loop_uv(k->loop));
    redisAsyncSetConnectCallback(c, on_connect);
    redisAsyncSetDisconnectCallback(c, on_disconnect);
}

struct redis_link *redis_link_create(struct loop *l, const char *address, loop_fn *connected,
                                     void *arg, struct error *err)
{
    struct redis_link *k = mem_zalloc(sizeof *k);
    if (redis_address(address, k->host, &k->port, err)) {
        free(k);
        return NULL;
    }
    k->loop       = l;
    k->connected  = connected;
    k->arg        = arg;
    k->backoff_ms = BACKOFF_MIN_MS;
    k->timer      = loop_timer_create(l, connect_now, k);
    connect_now(k);
    return k;
}

void redis_link_destroy(struct redis_link *k)
{
    if (!k)
        return;
    k->closing = true;
    if (k->context)
        redisAsyncFree(k->context);    /* callbacks of open commands run inside */
    loop_timer_destroy(k->timer);
    free(k);
}

/* ---- commands ---------------------------------------------------------------------------- */

/* "NOT_FOUND there is no ..." -> the status and the text behind its name. */
static enum status status_of_error(const struct redisReply *reply, const char **text)
{
    struct bytes all = bytes_of(reply->str, reply->len);
    for (int st = 1; st < STATUS_COUNT; st++) {
        const char *name = status_name((enum status)st);
        size_t      len  = strlen(name);
        if (all.len > len && memcmp(all.data, name, len) == 0 && reply->str[len] == ' ') {
            *text = reply->str + len + 1;
            return (enum status)st;
        }
    }
    *text = reply->str;
    return strncmp(reply->str, "OOM", 3) == 0 ? STATUS_FULL : STATUS_INTERNAL;
}

static void on_reply(redisAsyncContext *c, void *reply_data, void *privdata)
{
    const struct redisReply *reply   = reply_data;
    struct command           command = *(struct command *)privdata;
    (void)c;
    free(privdata);
    command.link->pending--;
    if (!reply) {
        bool closing = command.link->closing;
        command.fn(command.arg, closing ? STATUS_CANCELLED : STATUS_UNAVAILABLE,
                   "Redis did not answer; try again", NULL);
    } else if (reply->type == REDIS_REPLY_ERROR) {
        const char *text;
        enum status st = status_of_error(reply, &text);
        if (st == STATUS_INTERNAL)
            log_error("redis refuses a command", LOG_S("reason", text));
        command.fn(command.arg, st, text, reply);
    } else {
        command.fn(command.arg, STATUS_OK, "", reply);
    }
}

void redis_link_send(struct redis_link *k, redis_fn *fn, void *arg, const struct bytes *argv,
                     size_t argc)
{
    const char *text[REDIS_ARGS_MAX];
    size_t      len[REDIS_ARGS_MAX];
    if (!k->up) {
        fn(arg, STATUS_UNAVAILABLE, "Redis is away; try again", NULL);
        return;
    }
    if (k->pending >= REDIS_PENDING_MAX) {
        fn(arg, STATUS_BUSY, "too many requests wait for Redis; try again", NULL);
        return;
    }
    for (size_t i = 0; i < argc; i++) {
        text[i] = argv[i].len ? argv[i].data : "";
        len[i]  = argv[i].len;
    }
    struct command *command = mem_alloc(sizeof *command);
    *command                = (struct command){ k, fn, arg };
    if (redisAsyncCommandArgv(k->context, on_reply, command, (int)argc, text, len) != REDIS_OK) {
        free(command);
        fn(arg, STATUS_UNAVAILABLE, "Redis is away; try again", NULL);
        return;
    }
    k->pending++;
}

/* ---- the pair of connections -------------------------------------------------------------- */

static void on_loaded(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct redis *r = arg;
    (void)reply;
    r->loaded = st == STATUS_OK;
    if (st && st != STATUS_UNAVAILABLE && st != STATUS_CANCELLED)
        log_error("redis does not take the function library", LOG_S("reason", text));
}

/* Each setting that durability needs, and what it must be. */
static void on_config(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    static const char *const want[][2] = { { "appendonly", "yes" },
                                           { "appendfsync", "always" },
                                           { "maxmemory-policy", "noeviction" } };
    (void)arg;
    (void)text;
    if (st || reply->type != REDIS_REPLY_ARRAY)
        return;
    for (size_t i = 0; i + 1 < reply->elements; i += 2)
        for (size_t w = 0; w < sizeof want / sizeof *want; w++)
            if (strcmp(reply->element[i]->str, want[w][0]) == 0 &&
                strcmp(reply->element[i + 1]->str, want[w][1]) != 0)
                log_warn("redis is not durable: what is acknowledged may be lost",
                         LOG_S("setting", want[w][0]), LOG_S("is", reply->element[i + 1]->str),
                         LOG_S("should_be", want[w][1]));
}

static void on_commands_up(void *arg)
{
    struct redis *r      = arg;
    struct bytes  load[] = { bytes_str("FUNCTION"), bytes_str("LOAD"), bytes_str("REPLACE"),
                             bytes_of(functions_lua, (size_t)(functions_lua_end - functions_lua)) };
    struct bytes config[] = { bytes_str("CONFIG"), bytes_str("GET"), bytes_str("appendonly"),
                              bytes_str("appendfsync"), bytes_str("maxmemory-policy") };
    redis_link_send(r->commands, on_loaded, r, load, 4);
    redis_link_send(r->commands, on_config, r, config, 5);
}

struct redis *redis_create(struct loop *l, const char *address, struct error *err)
{
    struct redis *r = mem_zalloc(sizeof *r);
    r->commands     = redis_link_create(l, address, on_commands_up, r, err);
    if (!r->commands) {
        free(r);
        return NULL;
    }
    r->bulk = redis_link_create(l, address, NULL, NULL, err);
    return r;
}

void redis_destroy(struct redis *r)
{
    if (!r)
        return;
    redis_link_destroy(r->commands);
    redis_link_destroy(r->bulk);
    free(r);
}

bool redis_connected(const struct redis *r)
{
    return r->commands->up;
}

void redis_send(struct redis *r, redis_fn *fn, void *arg, const struct bytes *argv, size_t argc)
{
    redis_link_send(r->commands, fn, arg, argv, argc);
}

void redis_send_bulk(struct redis *r, redis_fn *fn, void *arg, const struct bytes *argv,
                     size_t argc)
{
    if (r->loaded)
        redis_link_send(r->bulk, fn, arg, argv, argc);
    else
        fn(arg, STATUS_UNAVAILABLE, "Redis is away; try again", NULL);
}
