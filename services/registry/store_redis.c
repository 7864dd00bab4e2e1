/* store_redis.c - chunks as values in Redis; and the choice between the stores. */
#include "services/registry/fcall.h"
#include "services/registry/records.h"
#include "services/registry/store.h"

#include <stdlib.h>

#define CHUNK_KEY "maas:chunk:"

struct store_redis {
    struct store base;
    struct redis *redis;
    uint64_t ttl_ms;
};

struct put {
    store_put_fn *done;
    void *arg;
};

struct get {
    store_get_fn *done;
    void *arg;
};

static void on_put(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct put put = *(struct put *)arg;
    free(arg);
    put.done(put.arg, st, text, !st && bytes_equal_str(record_text(reply), "REPAIRED"));
}

static void put_chunk(struct store *base, const struct digest *digest, const struct frame *data,
                      store_put_fn *done, void *arg)
{
    struct store_redis *s = (struct store_redis *)base;
    struct put *put = mem_alloc(sizeof *put);
    struct fcall call;
    *put = (struct put){ done, arg };
    fcall_begin(&call, "maas_chunk_put");
    fcall_add(&call, bytes_of(digest->byte, DIGEST_SIZE));
    fcall_add(&call, frame_bytes(data));
    fcall_add_number(&call, s->ttl_ms);
    redis_send_bulk(s->redis, on_put, put, call.argv, call.argc);
}

static void on_got(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct get get = *(struct get *)arg;
    struct frame data;
    free(arg);
    frame_init_empty(&data);
    if (!st && reply->type != REDIS_REPLY_STRING) {
        st = STATUS_NOT_FOUND;
        text = "there is no such chunk";
    } else if (!st) {
        frame_finish(&data);
        frame_init_copy(&data, record_text(reply));
    }
    get.done(get.arg, st, text, &data);
    frame_finish(&data);
}

static void get_chunk(struct store *base, const struct digest *digest, store_get_fn *done,
                      void *arg)
{
    struct store_redis *s = (struct store_redis *)base;
    struct get *get = mem_alloc(sizeof *get);
    unsigned char key[sizeof CHUNK_KEY - 1 + DIGEST_SIZE];
    *get = (struct get){ done, arg };
    memcpy(key, CHUNK_KEY, sizeof CHUNK_KEY - 1);
    memcpy(key + sizeof CHUNK_KEY - 1, digest->byte, DIGEST_SIZE);
    struct bytes argv[] = { bytes_str("GET"), bytes_of(key, sizeof key) };
    redis_send_bulk(s->redis, on_got, get, argv, 2);
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
