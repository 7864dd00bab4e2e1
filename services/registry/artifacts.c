/* artifacts.c - chunks and manifests.  A chunk's digest is verified on a pool thread on its
 * way in and on its way out, so what rots in Redis is seen and never served. */
#include "services/registry/registry.h"

#include "common/base/log.h"
#include "common/base/metrics.h"
#include "services/registry/records.h"

#include <stdlib.h>

#define CHUNK_KEY    "maas:chunk:"
#define MANIFEST_KEY "maas:manifest:"

static struct metric_family corrupt_chunks = {
    .name = "maas_registry_corrupt_chunks_total",
    .help = "chunks whose digest was not the one they were stored under",
    .type = METRIC_COUNTER,
};

/* A chunk on its way, in or out. */
struct transfer {
    struct registry *registry;
    struct rpc_peer  peer;
    enum msg_kind    kind;
    struct digest    digest;    /* as it should be */
    struct digest    is;        /* as a pool thread found it */
    struct frame     data;
};

static struct transfer *transfer_create(struct registry *g, const struct rpc_request *request)
{
    const struct msg_chunk *m = request->body;
    if (!registry_check_digest(g, request, m->digest))
        return NULL;
    if (g->open_chunks >= CHUNK_REQUESTS_MAX) {
        rpc_fail(g->rpc, &request->peer, STATUS_BUSY, "%d chunks are under way; try again",
                 CHUNK_REQUESTS_MAX);
        return NULL;
    }
    struct transfer *t = mem_zalloc(sizeof *t);
    t->registry        = g;
    t->peer            = request->peer;
    t->kind            = request->kind;
    memcpy(t->digest.byte, m->digest.data, DIGEST_SIZE);
    frame_init_empty(&t->data);
    g->open_chunks++;
    return t;
}

static void transfer_destroy(struct transfer *t)
{
    t->registry->open_chunks--;
    frame_finish(&t->data);
    free(t);
}

static void fail(struct transfer *t, enum status st, const char *text)
{
    if (st != STATUS_CANCELLED)
        rpc_fail(t->registry->rpc, &t->peer, st, "%s", text);
    transfer_destroy(t);
}

static void hash(void *arg)    /* pool thread */
{
    struct transfer *t = arg;
    digest_of(frame_bytes(&t->data), &t->is);
}

/* ---- in ----------------------------------------------------------------------------------- */

static void on_stored(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct transfer *t = arg;
    (void)reply;
    if (st) {
        fail(t, st, text);
        return;
    }
    rpc_answer(t->registry->rpc, &t->peer, MSG_DONE, NULL, NULL);
    transfer_destroy(t);
}

static void on_hashed_in(void *arg)
{
    struct transfer *t = arg;
    if (!digest_equal(&t->is, &t->digest)) {
        metric_count(&corrupt_chunks);
        fail(t, STATUS_INVALID, "the chunk's data does not have the digest that it came with");
        return;
    }
    struct bytes argv[] = { bytes_str("FCALL"), bytes_str("maas_chunk_put"), bytes_str("0"),
                            bytes_of(t->digest.byte, DIGEST_SIZE), frame_bytes(&t->data) };
    redis_send_bulk(t->registry->redis, on_stored, t, argv, 5);
}

void on_chunk_put(void *arg, const struct rpc_request *request)
{
    struct registry *g = arg;
    if (!request->attachment || frame_bytes(request->attachment).len == 0 ||
        frame_bytes(request->attachment).len > CHUNK_BYTES) {
        rpc_fail(g->rpc, &request->peer, STATUS_INVALID, "a chunk has 1 to %u bytes", CHUNK_BYTES);
        return;
    }
    struct transfer *t = transfer_create(g, request);
    if (!t)
        return;
    frame_move(&t->data, request->attachment);
    loop_work(g->loop, hash, on_hashed_in, t);
}

/* ---- out ---------------------------------------------------------------------------------- */

static void on_hashed_out(void *arg)
{
    struct transfer *t = arg;
    char             hex[DIGEST_HEX_SIZE];
    if (!digest_equal(&t->is, &t->digest)) {
        digest_hex(&t->digest, hex);
        metric_count(&corrupt_chunks);
        log_error("a chunk in redis is corrupt", LOG_S("digest", hex));
        fail(t, STATUS_CORRUPT, "the chunk's data in Redis does not have its digest");
        return;
    }
    struct msg_chunk body = { .digest = bytes_of(t->digest.byte, DIGEST_SIZE) };
    rpc_answer(t->registry->rpc, &t->peer, MSG_CHUNK, &body, &t->data);
    transfer_destroy(t);
}

static void on_chunk(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct transfer *t = arg;
    if (st || reply->type != REDIS_REPLY_STRING) {
        fail(t, st ? st : STATUS_NOT_FOUND, st ? text : "there is no such chunk");
        return;
    }
    frame_finish(&t->data);
    frame_init_copy(&t->data, bytes_of(reply->str, reply->len));
    loop_work(t->registry->loop, hash, on_hashed_out, t);
}

void on_chunk_get(void *arg, const struct rpc_request *request)
{
    struct registry *g = arg;
    struct transfer *t = transfer_create(g, request);
    struct buf       key = { 0 };
    if (!t)
        return;
    buf_append_str(&key, CHUNK_KEY);
    buf_append(&key, t->digest.byte, DIGEST_SIZE);
    struct bytes argv[] = { bytes_str("GET"), buf_bytes(&key) };
    redis_send_bulk(g->redis, on_chunk, t, argv, 2);
    buf_finish(&key);
}

/* ---- manifest ----------------------------------------------------------------------------- */

static void answer_manifest(struct registry *g, const struct rpc_peer *peer,
                            const struct redisReply *reply)
{
    if (reply->elements != 2 || reply->element[0]->type != REDIS_REPLY_STRING) {
        rpc_fail(g->rpc, peer, STATUS_NOT_FOUND, "there is no artifact with this digest");
        return;
    }
    struct msg_manifest body = { .size_bytes = record_number(reply->element[0]),
                                 .chunks     = record_text(reply->element[1]) };
    rpc_answer(g->rpc, peer, MSG_MANIFEST, &body, NULL);
}

void on_manifest_get(void *arg, const struct rpc_request *request)
{
    struct registry        *g   = arg;
    const struct msg_chunk *m   = request->body;
    struct buf              key = { 0 };
    if (!registry_check_digest(g, request, m->digest))
        return;
    buf_append_str(&key, MANIFEST_KEY);
    buf_append_bytes(&key, m->digest);
    struct bytes argv[] = { bytes_str("HMGET"), buf_bytes(&key), bytes_str("size"),
                            bytes_str("chunks") };
    registry_ask(g, request, answer_manifest, argv, 4);
    buf_finish(&key);
}
