/* address.c - see address.h. */
#include "services/registry/address.h"

#include <stdlib.h>

#define FORMS "unix:PATH, tcp:HOST:PORT, redis://HOST or sentinel:HOST:PORT,.../NAME"

static bool takes(const char **text, const char *prefix)
{
    size_t len = strlen(prefix);
    if (strncmp(*text, prefix, len) != 0)
        return false;
    *text += len;
    return true;
}

static struct bytes until(const char *from, const char *end)
{
    return bytes_of(from, (size_t)(end - from));
}

/* 1 to 65535; 0: not a port. */
static int parse_port(struct bytes text)
{
    const char *digits = text.data;
    int port = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (digits[i] < '0' || digits[i] > '9' || port > 65535)
            return 0;
        port = 10 * port + digits[i] - '0';
    }
    return port <= 65535 ? port : 0;
}

/* HOST:PORT, or HOST alone where a port is meant then: not 0. */
static enum status parse_place(struct bytes text, int port, struct redis_place *out,
                               struct error *err)
{
    const char *begin = text.data, *end = begin + text.len;
    const char *close = text.len && *begin == '[' ? memchr(begin, ']', text.len) : NULL;
    const char *colon = close && close + 1 < end ? close + 1 : NULL;
    if (!close)
        colon = memrchr(begin, ':', text.len);
    if (colon)
        port = *colon == ':' ? parse_port(until(colon + 1, end)) : 0;
    struct bytes host = close ? until(begin + 1, close) : until(begin, colon ? colon : end);
    out->port = port;
    if (!host.len || !port)
        return error_set(err, STATUS_INVALID, "\"%.*s\" is not HOST:PORT; Redis is at " FORMS,
                         (int)(text.len < REDIS_HOST_MAX ? text.len : REDIS_HOST_MAX), begin);
    if (bytes_copy_str(host, out->host, sizeof out->host))
        return error_set(err, STATUS_INVALID, "a Redis host has at most %d bytes",
                         REDIS_HOST_MAX - 1);
    return STATUS_OK;
}

static enum status parse_url(const char *text, struct redis_address *out, struct error *err)
{
    const char *at = strrchr(text, '@');
    const char *host = at ? at + 1 : text;
    const char *end = host + strcspn(host, "/");
    if (at && memchr(text, ':', (size_t)(at - text)))
        return error_set(err, STATUS_INVALID,
                         "a password in the address of Redis can be read by everybody on this "
                         "machine; it belongs into --redis-password-file");
    if (at && bytes_copy_str(until(text, at), out->user, sizeof out->user))
        return error_set(err, STATUS_INVALID, "a Redis user has at most %d bytes",
                         REDIS_USER_MAX - 1);
    if (strcmp(end, "") != 0 && strcmp(end, "/") != 0 && strcmp(end, "/0") != 0)
        return error_set(err, STATUS_INVALID, "only database 0 of Redis is used, not \"%s\"", end);
    out->places_count = 1;
    return parse_place(until(host, end), REDIS_PORT, &out->places[0], err);
}

static enum status parse_sentinels(const char *text, struct redis_address *out, struct error *err)
{
    const char *slash = strrchr(text, '/');
    if (!slash || !slash[1])
        return error_set(err, STATUS_INVALID,
                         "the name of the primary is missing: sentinel:HOST:PORT,.../NAME");
    if (bytes_copy_str(bytes_str(slash + 1), out->primary, sizeof out->primary))
        return error_set(err, STATUS_INVALID, "the primary's name has at most %d bytes",
                         REDIS_HOST_MAX - 1);
    for (const char *end; text <= slash; text = end + 1) {
        end = text + strcspn(text, ",/");
        if (out->places_count == REDIS_PLACES_MAX)
            return error_set(err, STATUS_INVALID, "at most %d sentinels can be named",
                             REDIS_PLACES_MAX);
        if (parse_place(until(text, end), 0, &out->places[out->places_count++], err))
            return err->status;
    }
    return STATUS_OK;
}

enum status redis_address(const char *text, struct redis_address *out, struct error *err)
{
    *out = (struct redis_address){ .places_count = 0 };
    if (takes(&text, "sentinel:"))
        return parse_sentinels(text, out, err);
    if (takes(&text, "redis://") || (out->tls = takes(&text, "rediss://")))
        return parse_url(text, out, err);
    out->places_count = 1;
    if (takes(&text, "tcp:"))
        return parse_place(bytes_str(text), 0, &out->places[0], err);
    if (!takes(&text, "unix:") || !*text)
        return error_set(err, STATUS_INVALID, "the address of Redis is not one of " FORMS);
    if (bytes_copy_str(bytes_str(text), out->places[0].host, REDIS_HOST_MAX))
        return error_set(err, STATUS_INVALID, "the path of Redis' socket has at most %d bytes",
                         REDIS_HOST_MAX - 1);
    return STATUS_OK;
}

bool redis_place_equal(const struct redis_place *a, const struct redis_place *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}
