/* store_redis.c - chunks as values in Redis; and the choice between the stores. */
#include "services/registry/fcall.h"
#include "services/registry/records.h"
#include "services/registry/store.h"

#include <stdio.h>
#include <stdlib.h>

#define CHUNK_KEY "maas:chunk:"

struct store_redis {
    struct store base;
    struct redis *redis;
    uint64_t ttl_ms;
};

struct put {
    struct store_redis *store;
    const struct digest *digest; /* the caller's */
    struct frame data;           /* until the command has a copy */
    store_put_fn *done;
    void *arg;
};

struct chunk_key {
    unsigned char text[sizeof CHUNK_KEY - 1 + DIGEST_SIZE];
};

static struct chunk_key key_of(const struct digest *digest)
{
    struct chunk_key key;
    memcpy(key.text, CHUNK_KEY, sizeof CHUNK_KEY - 1);
    memcpy(key.text + sizeof CHUNK_KEY - 1, digest->byte, DIGEST_SIZE);
    return key;
}

static void finish_put(struct put *put, enum status st, const char *text, bool repaired)
{
    struct put copy = *put;
    free(put);
    copy.done(copy.arg, st, text, repaired);
}

/* What waits for Redis is in memory once: as the command. */
static void send_data(struct put *put, redis_fn *fn, const struct bytes *argv, size_t argc)
{
    struct frame data;
    frame_init_empty(&data);
    frame_move(&data, &put->data);
    redis_send_bulk(put->store->redis, fn, put, argv, argc); /* put may be gone */
    frame_finish(&data);
}

static void on_compared(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    finish_put(arg, st, text, !st && bytes_equal_str(record_text(reply), "REPAIRED"));
}

/* There is one under this digest, or somebody counts on it: a function sees to all that. */
static void compare(struct put *put)
{
    struct fcall call;
    fcall_begin(&call, "maas_chunk_put");
    fcall_add(&call, bytes_of(put->digest->byte, DIGEST_SIZE));
    fcall_add(&call, frame_bytes(&put->data));
    fcall_add_number(&call, put->store->ttl_ms);
    send_data(put, on_compared, call.argv, call.argc);
}

static void on_set(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    (void)reply; /* nil: not written (NX), as another has put the same bytes since we asked */
    finish_put(arg, st, text, false);
}

/* Redis keeps what comes in a plain SET as it came; through a function it would be copied thrice. */
static void set(struct put *put)
{
    struct chunk_key key = key_of(put->digest);
    char ttl[24];
    snprintf(ttl, sizeof ttl, "%llu", (unsigned long long)put->store->ttl_ms);
    struct bytes argv[] = { bytes_str("SET"),        bytes_of(key.text, sizeof key.text),
                            frame_bytes(&put->data), bytes_str("NX"),
                            bytes_str("PX"),         bytes_str(ttl) };
    send_data(put, on_set, argv, 6);
}

static void on_known(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct put *put = arg;
    if (st) {
        frame_finish(&put->data);
        finish_put(put, st, text, false);
    } else if (reply->integer)
        compare(put);
    else
        set(put);
}

static void put_chunk(struct store *base, const struct digest *digest, struct frame *data,
                      store_put_fn *done, void *arg)
{
    struct store_redis *s = (struct store_redis *)base;
    struct put *put = mem_alloc(sizeof *put);
    struct fcall call;
    *put = (struct put){ .store = s, .digest = digest, .done = done, .arg = arg };
    frame_init_empty(&put->data);
    frame_move(&put->data, data);
    fcall_begin(&call, "maas_chunk_known");
    fcall_add(&call, bytes_of(digest->byte, DIGEST_SIZE));
    redis_send(s->redis, on_known, put, call.argv, call.argc);
}

static void get_chunk(struct store *base, const struct digest *digest, store_get_fn *done,
                      void *arg)
{
    struct store_redis *s = (struct store_redis *)base;
    struct chunk_key key = key_of(digest);
    redis_get_bulk(s->redis, bytes_of(key.text, sizeof key.text), done, arg);
}

static void destroy(struct store *base)
{
    free(base);
}

static const struct store_ops ops = { put_chunk, get_chunk, destroy };

struct store *store_redis_create(struct redis *redis, uint64_t ttl_ms)
{
    struct store_redis *s = mem_alloc(sizeof *s);
    *s = (struct store_redis){ { &ops }, redis, ttl_ms };
    return &s->base;
}

struct store *store_create(struct loop *l, struct redis *redis, const struct store_config *config,
                           struct error *err)
{
    const char *where = config->where;
    if (strcmp(where, "redis") == 0)
        return store_redis_create(redis, config->ttl_ms);
    if (strncmp(where, "file:", 5) == 0 && where[5])
        return store_file_create(l, redis, config, where + 5, err);
    error_set(err, STATUS_INVALID, "artifact-store is \"%s\"; it must be redis or file:DIR", where);
    return NULL;
}
