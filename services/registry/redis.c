/* redis.c - the connections, what errors mean, and whether Redis is durable. */
#include "services/registry/redis.h"

#include "common/base/log.h"
#include "services/registry/sentinel.h"

#include <stdlib.h>

#define SENTINEL_TIMEOUT_MS 1000 /* there are others to ask */

struct redis {
    struct redis_address address;
    struct tls *tls; /* or NULL */
    struct redis_target target;
    struct redis_target sentinels;
    struct sentinel *sentinel; /* or NULL */
    struct redis_link *commands;
    struct redis_link *bulk[REDIS_BULK_LINKS];
    bool judged; /* durability was looked at */
};

/* ---- pure --------------------------------------------------------------------------------- */

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

enum status redis_error_status(const char *reply, const char **text)
{
    /* It will pass, or an operator has to act: the client may try again. */
    static const char *const passing[] = { "LOADING",    "MISCONF", "MASTERDOWN", "READONLY",
                                           "NOREPLICAS", "NOAUTH",  "UNBLOCKED" };
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

/* ---- the links ---------------------------------------------------------------------------- */

static void on_primary(void *arg, const struct redis_place *place)
{
    struct redis *r = arg;
    if (r->target.places_count && redis_place_equal(&r->target.places[0], place))
        return;
    log_info("the sentinels name the primary", LOG_S("address", place->host),
             LOG_I("port", place->port));
    redis_target_move(&r->target, place);
}

static bool primary_serves(void *arg)
{
    const struct redis *r = arg;
    return redis_link_up(r->commands) || redis_link_outdated(r->commands);
}

/* Fails only for what no later attempt can mend. */
static enum status configure(struct redis *r, const struct redis_config *config, struct error *err)
{
    const char *const files[] = { config->password_file, config->sentinel_password_file };
    struct redis_address *a = &r->address;
    enum status st = redis_address(config->address, a, err);
    for (size_t i = 0; i < 2 && !st; i++) {
        char password[REDIS_PASSWORD_MAX];
        if (files[i][0])
            st = password_read(files[i], password, err);
        explicit_bzero(password, sizeof password);
    }
    if (!st && (a->tls || config->use_tls)) {
        if (!a->places[0].port)
            return error_set(err, STATUS_INVALID, "TLS is not for unix sockets");
        r->tls = tls_create(&config->tls, err);
        st = r->tls ? STATUS_OK : err->status;
    }
    return st;
}

static void aim(struct redis *r, struct loop *l, const struct redis_config *config)
{
    const struct redis_address *a = &r->address;
    r->target = (struct redis_target){ .loop = l,
                                       .user = config->user[0] ? config->user : a->user,
                                       .password_file = config->password_file,
                                       .tls = r->tls,
                                       .timeout_ms = REDIS_TIMEOUT_MS };
    r->sentinels = (struct redis_target){ .loop = l,
                                          .user = "",
                                          .password_file = config->sentinel_password_file,
                                          .tls = r->tls,
                                          .timeout_ms = SENTINEL_TIMEOUT_MS };
    struct redis_target *named = a->primary[0] ? &r->sentinels : &r->target;
    memcpy(named->places, a->places, sizeof a->places);
    named->places_count = a->places_count;
}

struct redis *redis_create(struct loop *l, const struct redis_config *config, struct error *err)
{
    struct redis *r = mem_zalloc(sizeof *r);
    if (configure(r, config, err)) {
        redis_destroy(r);
        return NULL;
    }
    aim(r, l, config);
    r->commands = redis_link_create(&r->target, GREETING_LIBRARY, on_commands_up, r);
    for (size_t i = 0; i < REDIS_BULK_LINKS; i++) {
        r->bulk[i] = redis_link_create(&r->target, GREETING_PING, NULL, NULL);
        redis_link_siphon(r->bulk[i]);
    }
    if (r->address.primary[0])
        r->sentinel =
            sentinel_create(&r->sentinels, r->address.primary, on_primary, primary_serves, r);
    return r;
}

void redis_destroy(struct redis *r)
{
    if (!r)
        return;
    sentinel_destroy(r->sentinel);
    redis_link_destroy(r->commands);
    for (size_t i = 0; i < REDIS_BULK_LINKS; i++)
        redis_link_destroy(r->bulk[i]);
    tls_destroy(r->tls);
    free(r);
}

void redis_send(struct redis *r, redis_fn *fn, void *arg, const struct bytes *argv, size_t argc)
{
    redis_link_send(r->commands, fn, arg, argv, argc);
}

static size_t load_of(const struct redis_link *k)
{
    return redis_link_up(k) ? redis_link_pending(k) : SIZE_MAX;
}

/* Without the library the link for commands says what is wrong. */
static struct redis_link *bulk_link(struct redis *r)
{
    struct redis_link *idlest = r->bulk[0];
    for (size_t i = 1; i < REDIS_BULK_LINKS; i++)
        if (load_of(r->bulk[i]) < load_of(idlest))
            idlest = r->bulk[i];
    return redis_link_up(r->commands) ? idlest : r->commands;
}

void redis_send_bulk(struct redis *r, redis_fn *fn, void *arg, const struct bytes *argv,
                     size_t argc)
{
    redis_link_send(bulk_link(r), fn, arg, argv, argc);
}

void redis_get_bulk(struct redis *r, struct bytes key, redis_value_fn *fn, void *arg)
{
    redis_link_get(bulk_link(r), key, fn, arg);
}

struct redis_link *redis_link_add(struct redis *r, loop_fn *connected, void *arg)
{
    return redis_link_create(&r->target, GREETING_PING, connected, arg);
}

bool redis_outdated(const struct redis *r)
{
    return redis_link_outdated(r->commands);
}

uint64_t redis_history(const struct redis *r)
{
    return redis_link_history(r->commands);
}
