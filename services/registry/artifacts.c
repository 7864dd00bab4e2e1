/* artifacts.c - chunks and manifests.
 *
 * A chunk's digest is verified on a pool thread on its way in, and on its way out (reads.h) unless
 * who gets it does that; so what rots in the store is seen and never used.  At most CHUNK_REQUESTS_MAX are on their way in.
 */
#include "services/registry/registry.h"

#include "common/base/log.h"
#include "common/base/metrics.h"
#include "services/registry/checks.h"
#include "services/registry/reads.h"
#include "services/registry/records.h"

#include <stdlib.h>

#define MANIFEST_KEY "maas:manifest:"

static struct metric_family corrupt_chunks = {
    .name = "maas_registry_corrupt_chunks_total",
    .help = "chunks whose data did not have their digest, by where they came from",
    .type = METRIC_COUNTER,
};

/* A chunk on its way in. */
struct transfer {
    struct request *request;
    struct digest digest; /* as it should be */
    struct digest is;     /* as a pool thread found it */
    struct frame data;
    size_t len;
    uint64_t offset; /* in the upload that request->subject names, when it does */
};

void count_corrupt_chunk(const char *from)
{
    const struct metric_label label = { "from", from };
    metric_add(metrics_series(&corrupt_chunks, &label, 1), 1);
}

/* NULL: it has been answered. */
static struct transfer *transfer_create(struct registry *g, const struct rpc_request *from)
{
    const struct msg_chunk *m = from->body;
    struct request *r = request_open(g, from, m->upload, NULL);
    size_t len = from->attachment ? frame_bytes(from->attachment).len : 0;
    struct error err;
    if (!r)
        return NULL;
    enum status st = check_digest(m->digest, &err);
    if (!st && m->upload.len)
        st = check_piece(m->upload, m->offset, len, &err);
    if (!st && g->open_chunks >= CHUNK_REQUESTS_MAX)
        st = error_set(&err, STATUS_BUSY, "%d chunks are under way; try again", CHUNK_REQUESTS_MAX);
    if (st) {
        request_refuse(r, &err);
        return NULL;
    }
    struct transfer *t = mem_zalloc(sizeof *t);
    t->request = r;
    t->len = len;
    t->offset = m->offset;
    memcpy(t->digest.byte, m->digest.data, DIGEST_SIZE);
    frame_init_empty(&t->data);
    g->open_chunks++;
    return t;
}

static void transfer_destroy(struct transfer *t)
{
    t->request->registry->open_chunks--;
    request_close(t->request);
    frame_finish(&t->data);
    free(t);
}

static void fail(struct transfer *t, enum status st, const char *text)
{
    request_fail(t->request, st == STATUS_CANCELLED ? STATUS_UNAVAILABLE : st, "%s", text);
    transfer_destroy(t);
}

/* The registry has ended while a pool thread was hashing: nobody can be answered. */
static bool dropped(struct transfer *t)
{
    if (t->request->registry->rpc)
        return false;
    transfer_destroy(t);
    return true;
}

static void hash(void *arg) /* pool thread */
{
    struct transfer *t = arg;
    digest_of(frame_bytes(&t->data), &t->is);
}

/* ---- in ----------------------------------------------------------------------------------- */

static void on_piece(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct transfer *t = arg;
    (void)reply;
    if (st) {
        fail(t, st, text);
        return;
    }
    request_answer(t->request, MSG_DONE, NULL, NULL);
    transfer_destroy(t);
}

/* The chunk is there; now it counts as a piece of its upload. */
static void add_piece(struct transfer *t)
{
    struct registry *g = t->request->registry;
    struct fcall call;
    fcall_begin(&call, "maas_upload_piece");
    fcall_add_str(&call, t->request->subject);
    fcall_add_number(&call, t->offset);
    fcall_add_number(&call, t->len);
    fcall_add(&call, bytes_of(t->digest.byte, DIGEST_SIZE));
    fcall_add_number(&call, g->config->artifact_ttl_ms);
    redis_send(g->redis, on_piece, t, call.argv, call.argc);
}

static void on_stored(void *arg, enum status st, const char *text, bool repaired)
{
    struct transfer *t = arg;
    char hex[DIGEST_HEX_SIZE];
    if (dropped(t))
        return;
    if (st) {
        fail(t, st, text);
        return;
    }
    if (repaired) {
        digest_hex(&t->digest, hex);
        count_corrupt_chunk("store");
        log_error("a chunk in the store was corrupt; a new copy replaces it", LOG_S("digest", hex));
    }
    if (t->request->subject[0]) {
        add_piece(t);
        return;
    }
    request_answer(t->request, MSG_DONE, NULL, NULL);
    transfer_destroy(t);
}

static void on_hashed_in(void *arg)
{
    struct transfer *t = arg;
    if (dropped(t))
        return;
    if (!digest_equal(&t->is, &t->digest)) {
        count_corrupt_chunk("peer");
        fail(t, STATUS_INVALID, "the chunk's data does not have the digest that it came with");
        return;
    }
    store_put(t->request->registry->store, &t->digest, &t->data, on_stored, t);
}

void on_chunk_put(void *arg, const struct rpc_request *from)
{
    struct transfer *t = transfer_create(arg, from);
    if (!t)
        return;
    size_t len = from->attachment ? frame_bytes(from->attachment).len : 0;
    if (len == 0 || len > CHUNK_BYTES) {
        request_fail(t->request, STATUS_INVALID, "a chunk has 1 to %u bytes, this one has %zu",
                     CHUNK_BYTES, len);
        transfer_destroy(t);
        return;
    }
    frame_move(&t->data, from->attachment);
    loop_work(t->request->registry->loop, hash, on_hashed_in, t);
}

/* ---- out ---------------------------------------------------------------------------------- */

static void on_read(void *arg, enum status st, const char *text, const struct frame *data)
{
    struct request *r = arg;
    struct frame copy;
    if (r->registry->rpc && st) {
        request_fail(r, st == STATUS_CANCELLED ? STATUS_UNAVAILABLE : st, "%s", text);
    } else if (r->registry->rpc) {
        struct msg_chunk body = { .digest = bytes_of(r->subject, DIGEST_SIZE),
                                  .now = reads_now(r->registry->reads) };
        frame_init_share(&copy, data);
        request_answer(r, MSG_CHUNK, &body, &copy);
        frame_finish(&copy);
    }
    request_close(r);
}

void on_chunk_get(void *arg, const struct rpc_request *from)
{
    struct registry *g = arg;
    const struct msg_chunk *m = from->body;
    struct request *r = request_open(g, from, bytes_str(""), NULL);
    struct digest digest;
    struct error err;
    if (!r)
        return;
    if (check_digest(m->digest, &err)) {
        request_refuse(r, &err);
        return;
    }
    memcpy(digest.byte, m->digest.data, DIGEST_SIZE);
    memcpy(r->subject, digest.byte, DIGEST_SIZE);
    const struct read_wish wish = { &digest, &from->peer, m->raw };
    reads_get(g->reads, &wish, on_read, r);
}

/* ---- manifest ----------------------------------------------------------------------------- */

static void answer_manifest(struct request *r, const struct redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING) {
        request_fail(r, STATUS_NOT_FOUND, "there is no artifact with this digest");
        return;
    }
    struct msg_manifest body = { .digest = bytes_of(r->subject, DIGEST_SIZE),
                                 .size_bytes = record_number(reply->element[0]),
                                 .chunks = record_text(reply->element[1]),
                                 .now = reads_now(r->registry->reads) };
    request_answer(r, MSG_MANIFEST, &body, NULL);
}

void on_manifest_get(void *arg, const struct rpc_request *from)
{
    const struct msg_chunk *m = from->body;
    struct request *r = request_open(arg, from, bytes_str(""), answer_manifest);
    struct error err;
    struct buf key = { 0 };
    if (!r)
        return;
    if (check_digest(m->digest, &err)) {
        request_refuse(r, &err);
        return;
    }
    memcpy(r->subject, m->digest.data, DIGEST_SIZE);
    buf_append_str(&key, MANIFEST_KEY);
    buf_append_bytes(&key, m->digest);
    struct fcall call = { .argv = { bytes_str("HMGET"), buf_bytes(&key), bytes_str("size"),
                                    bytes_str("chunks") },
                          .argc = 4 };
    request_ask(r, &call);
    buf_finish(&key);
}
