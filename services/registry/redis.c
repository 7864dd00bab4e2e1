/* redis.c - the pair of connections, what errors mean, and whether Redis is durable. */
#include "services/registry/redis.h"

#include "common/base/log.h"

#include <stdlib.h>

struct redis {
    struct redis_link *commands;
    struct redis_link *bulk;
    bool judged; /* durability was looked at */
};

/* ---- pure --------------------------------------------------------------------------------- */

/* 1 to 65535; 0: not a port. */
static int parse_port(const char *text)
{
    char *end;
    if (*text < '0' || *text > '9')
        return 0;
    long port = strtol(text, &end, 10);
    return *end == 0 && port > 0 && port < 65536 ? (int)port : 0;
}

enum status redis_address(const char *address, char host[REDIS_HOST_MAX], int *port,
                          struct error *err)
{
    const char *colon = strrchr(address, ':');
    struct bytes name = { 0 };
    if (strncmp(address, "unix:", 5) == 0) {
        *port = 0;
        name = bytes_str(address + 5);
    } else if (strncmp(address, "tcp:", 4) == 0 && colon > address + 4) {
        *port = parse_port(colon + 1);
        if (*port)
            name = bytes_of(address + 4, (size_t)(colon - address) - 4);
        const char *first = name.data;
        if (name.len > 2 && first[0] == '[' && first[name.len - 1] == ']')
            name = bytes_of(first + 1, name.len - 2);
    }
    if (!name.len)
        return error_set(err, STATUS_INVALID, "\"%s\" is neither unix:PATH nor tcp:HOST:PORT",
                         address);
    if (bytes_copy_str(name, host, REDIS_HOST_MAX))
        return error_set(err, STATUS_INVALID, "a Redis address has at most %d bytes",
                         REDIS_HOST_MAX - 1);
    return STATUS_OK;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

enum status redis_error_status(const char *reply, const char **text)
{
    /* It will pass, or an operator has to act: the client may try again. */
    static const char *const passing[] = { "LOADING",  "MISCONF",    "MASTERDOWN",
                                           "READONLY", "NOREPLICAS", "NOAUTH" };
    *text = reply;
    for (int st = 1; st < STATUS_COUNT; st++) {
        const char *name = status_name((enum status)st);
        if (begins(reply, name) && reply[strlen(name)] == ' ') {
            *text = reply + strlen(name) + 1;
            return (enum status)st;
        }
    }
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
        if (begins(reply, passing[i]))
            return STATUS_UNAVAILABLE;
    return begins(reply, "OOM") ? STATUS_FULL : STATUS_INTERNAL;
}

/* ---- durability --------------------------------------------------------------------------- */

static void check_setting(const char *name, const char *value)
{
    static const struct {
        const char *name, *wanted;
    } settings[] = { { "appendonly", "yes" },
                     { "appendfsync", "always" },
                     { "maxmemory-policy", "noeviction" } };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (strcmp(name, settings[i].name) == 0 && strcmp(value, settings[i].wanted) != 0)
            log_warn("redis is not durable: what is acknowledged may be lost",
                     LOG_S("setting", name), LOG_S("is", value),
                     LOG_S("should_be", settings[i].wanted));
}

static void on_config(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct redis *r = arg;
    (void)text;
    if (st == STATUS_UNAVAILABLE || st == STATUS_CANCELLED)
        return;
    r->judged = true;
    if (st)
        log_warn("redis does not tell whether it is durable", LOG_S("reason", text));
    for (size_t i = 0; !st && i + 1 < reply->elements; i += 2)
        if (reply->element[i]->str && reply->element[i + 1]->str)
            check_setting(reply->element[i]->str, reply->element[i + 1]->str);
}

static void on_commands_up(void *arg)
{
    struct redis *r = arg;
    struct bytes argv[] = { bytes_str("CONFIG"), bytes_str("GET"), bytes_str("appendonly"),
                            bytes_str("appendfsync"), bytes_str("maxmemory-policy") };
    if (!r->judged)
        redis_link_send(r->commands, on_config, r, argv, 5);
}

/* ---- the pair ----------------------------------------------------------------------------- */

struct redis *redis_create(struct loop *l, const char *address, struct error *err)
{
    struct redis *r = mem_zalloc(sizeof *r);
    r->commands = redis_link_create(l, address, GREETING_LIBRARY, on_commands_up, r, err);
    if (r->commands)
        r->bulk = redis_link_create(l, address, GREETING_PING, NULL, NULL, err);
    if (r->bulk)
        return r;
    redis_destroy(r);
    return NULL;
}

void redis_destroy(struct redis *r)
{
    if (!r)
        return;
    redis_link_destroy(r->commands);
    redis_link_destroy(r->bulk);
    free(r);
}

void redis_send(struct redis *r, redis_fn *fn, void *arg, const struct bytes *argv, size_t argc)
{
    redis_link_send(r->commands, fn, arg, argv, argc);
}

void redis_send_bulk(struct redis *r, redis_fn *fn, void *arg, const struct bytes *argv,
                     size_t argc)
{
    if (redis_link_up(r->commands))
        redis_link_send(r->bulk, fn, arg, argv, argc);
    else /* the library may not be there yet */
        fn(arg, STATUS_UNAVAILABLE, "Redis is away; try again", NULL);
}
