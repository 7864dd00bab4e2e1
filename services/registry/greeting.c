/* greeting.c - see greeting.h. */
#include "services/registry/greeting.h"

#include "common/base/digest.h"
#include "services/registry/fcall.h"
#include "services/registry/functions.h"
#include "services/registry/link.h"

#include <stdio.h>
#include <stdlib.h>

#define LIBRARY_KEY "maas:library" /* "VERSION DIGEST" of the functions that Redis has */

/* ---- pure --------------------------------------------------------------------------------- */

/* The value of a line "name:value"; empty: it is not there. */
static struct bytes info_field(struct bytes info, const char *name)
{
    size_t len = strlen(name);
    const char *p = info.data, *end = p + info.len;
    while (p < end) {
        const char *stop = memchr(p, '\r', (size_t)(end - p));
        stop = stop ? stop : end;
        if ((size_t)(stop - p) > len && memcmp(p, name, len) == 0 && p[len] == ':')
            return bytes_of(p + len + 1, (size_t)(stop - p) - len - 1);
        p = stop + 2 < end ? stop + 2 : end;
    }
    return bytes_of(NULL, 0);
}

enum status greeting_primary(struct bytes info, struct error *err)
{
    struct bytes role = info_field(info, "role");
    if (bytes_equal_str(role, "master"))
        return STATUS_OK;
    return error_set(err, STATUS_UNAVAILABLE, "it is a %.*s, not a primary",
                     role.len && role.len < 32 ? (int)role.len : 7,
                     role.len && role.len < 32 ? (const char *)role.data : "replica");
}

uint64_t greeting_history(struct bytes info)
{
    struct bytes id = info_field(info, "master_replid");
    char hex[17];
    if (id.len < 16)
        return 1;
    memcpy(hex, id.data, 16);
    hex[16] = 0;
    uint64_t history = strtoull(hex, NULL, 16);
    return history ? history : 1;
}

unsigned greeting_version(struct bytes library)
{
    const char *p = library.data;
    unsigned n = 0;
    for (size_t i = 0; i < library.len && p[i] >= '0' && p[i] <= '9' && n < 100000000; i++)
        n = 10 * n + (unsigned)(p[i] - '0');
    return n;
}

/* ---- the functions ------------------------------------------------------------------------ */

static struct bytes text_of(const struct redisReply *reply)
{
    return reply && reply->str ? bytes_of(reply->str, reply->len) : bytes_of(NULL, 0);
}

static void refuse(struct greeting *g, const char *why)
{
    redis_link_greeted(g->link, GREETING_REFUSED, why);
}

static void say(struct greeting *g, redis_fn *fn, const struct bytes *argv, size_t argc)
{
    if (redis_link_say(g->link, fn, g, argv, argc))
        refuse(g, "the greeting cannot be sent");
}

/* What matters comes with a later reply: of EXEC, or of the connection's end. */
static void on_passed_over(void *arg, enum status st, const char *text,
                           const struct redisReply *reply)
{
    (void)arg;
    (void)st;
    (void)text;
    (void)reply;
}

static void on_loaded(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct greeting *g = arg;
    if (!reply)
        return; /* the connection has ended, and the link knows */
    if (st) {
        refuse(g, text);
        return;
    }
    for (size_t i = 0; i < reply->elements; i++)
        if (reply->element[i]->type == REDIS_REPLY_ERROR) {
            refuse(g, reply->element[i]->str);
            return;
        }
    if (reply->type == REDIS_REPLY_NIL) {
        refuse(g, "another registry loads its functions");
        return;
    }
    g->reload = false;
    redis_link_greeted(g->link, GREETING_DONE, "");
}

static struct bytes library_code(void)
{
    return bytes_of(functions_lua, (size_t)(functions_lua_end - functions_lua));
}

/* What LIBRARY_KEY says when Redis has our functions. */
static void library_mark(char out[DIGEST_HEX_SIZE + 16])
{
    struct digest digest;
    char hex[DIGEST_HEX_SIZE];
    digest_of(library_code(), &digest);
    digest_hex(&digest, hex);
    snprintf(out, DIGEST_HEX_SIZE + 16, "%d %s", LIBRARY_VERSION, hex);
}

static void load(struct greeting *g, const char *mark)
{
    struct bytes multi[] = { bytes_str("MULTI") };
    struct bytes functions[] = { bytes_str("FUNCTION"), bytes_str("LOAD"), bytes_str("REPLACE"),
                                 library_code() };
    struct fcall move;
    struct bytes exec[] = { bytes_str("EXEC") };
    g->reload = true;
    say(g, on_passed_over, multi, 1);
    say(g, on_passed_over, functions, 4);
    fcall_begin(&move, "maas_move"); /* what an older registry has left gets its present form, */
    fcall_add_str(&move, mark);      /* and then LIBRARY_KEY is written */
    say(g, on_passed_over, move.argv, move.argc);
    say(g, on_loaded, exec, 1);
}

static void on_version(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct greeting *g = arg;
    char mark[DIGEST_HEX_SIZE + 16], why[128];
    if (!reply)
        return;
    if (st) {
        refuse(g, text);
        return;
    }
    unsigned version = greeting_version(text_of(reply));
    library_mark(mark);
    if (version > LIBRARY_VERSION) {
        snprintf(why, sizeof why,
                 "Redis has the functions of a newer registry (%u, this one has %d); "
                 "use a newer registry",
                 version, LIBRARY_VERSION);
        redis_link_greeted(g->link, GREETING_OUTDATED, why);
    } else if (bytes_equal_str(text_of(reply), mark) && !g->reload) {
        struct bytes unwatch[] = { bytes_str("UNWATCH") };
        say(g, on_passed_over, unwatch, 1);
        redis_link_greeted(g->link, GREETING_DONE, "");
    } else {
        load(g, mark);
    }
}

/* ---- the first words ---------------------------------------------------------------------- */

static void on_ponged(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct greeting *g = arg;
    if (!reply)
        return;
    if (st) {
        refuse(g, text);
    } else if (g->kind == GREETING_LIBRARY) {
        struct bytes watch[] = { bytes_str("WATCH"), bytes_str(LIBRARY_KEY) };
        struct bytes get[] = { bytes_str("GET"), bytes_str(LIBRARY_KEY) };
        say(g, on_passed_over, watch, 2);
        say(g, on_version, get, 2);
    } else {
        redis_link_greeted(g->link, GREETING_DONE, "");
    }
}

/* A Redis that still loads its data refuses PING. */
static void ping(struct greeting *g)
{
    struct bytes argv[] = { bytes_str("PING") };
    say(g, on_ponged, argv, 1);
}

static void on_info(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct greeting *g = arg;
    struct error err = { .text = "" };
    if (!reply)
        return;
    if (!st) {
        g->history = greeting_history(text_of(reply));
        st = greeting_primary(text_of(reply), &err);
        text = err.text;
    }
    if (st)
        refuse(g, text);
    else
        ping(g);
}

static void know_each_other(struct greeting *g)
{
    struct bytes argv[] = { bytes_str("INFO"), bytes_str("replication") };
    if (g->kind == GREETING_SENTINEL)
        ping(g);
    else
        say(g, on_info, argv, 2);
}

static void on_let_in(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct greeting *g = arg;
    if (!reply)
        return;
    if (st)
        refuse(g, text);
    else
        know_each_other(g);
}

void greeting_begin(struct greeting *g)
{
    struct bytes argv[] = { bytes_str("AUTH"), bytes_str(g->user), bytes_str(g->password) };
    if (!g->user[0] && !g->password[0]) {
        know_each_other(g);
        return;
    }
    if (!g->user[0])
        argv[1] = argv[2];
    say(g, on_let_in, argv, g->user[0] ? 3 : 2);
    explicit_bzero(g->password, sizeof g->password);
}
