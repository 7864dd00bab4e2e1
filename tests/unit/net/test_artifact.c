/* test_artifact.c - artifacts up to and down from a registry that the test plays. */
#include "common/net/artifact.h"
#include "tests/unit/net/rig.h"

#include <fcntl.h>
#include <sys/stat.h>

#define MIB        ((size_t)1 << 20)
#define CHUNKS_MAX 64

struct chunk {
    struct digest digest;
    struct buf data;
};

/* Keeps chunks, and does what the test tells it to. */
struct registry {
    struct rig *rig;
    struct rpc_server *rpc;
    struct chunk chunks[CHUNKS_MAX];
    size_t count;
    struct buf manifest_chunks;
    struct msg_manifest manifest;
    unsigned unavailable; /* so many requests are refused with UNAVAILABLE */
    enum status refuse;   /* all are refused with this, if not OK */
    bool hold;            /* answers wait for release */
    bool wrong_kind;
    unsigned requests;
    unsigned gets;
    unsigned verified; /* of them: the registry was to verify */
    unsigned damaged;  /* so many raw answers are */
    struct digest first_get;
    size_t held;
    struct rpc_peer peers[CHUNKS_MAX];
    struct digest wanted[CHUNKS_MAX];
};

static bool refused(struct registry *g, const struct rpc_request *request)
{
    g->requests++;
    enum status st = g->refuse;
    if (!st && g->unavailable) {
        g->unavailable--;
        st = STATUS_UNAVAILABLE;
    }
    if (st)
        rpc_fail(g->rpc, &request->peer, st, "the store is not well");
    return st != STATUS_OK;
}

static struct chunk *find(struct registry *g, const void *digest)
{
    for (size_t i = 0; i < g->count; i++)
        if (memcmp(g->chunks[i].digest.byte, digest, DIGEST_SIZE) == 0)
            return &g->chunks[i];
    return NULL;
}

static void keep_chunk(struct registry *g, struct bytes data)
{
    struct digest digest;
    digest_of(data, &digest);
    if (find(g, digest.byte))
        return;
    cr_assert_lt(g->count, CHUNKS_MAX);
    g->chunks[g->count].digest = digest;
    buf_append_bytes(&g->chunks[g->count].data, data);
    g->count++;
}

static void hold(struct registry *g, const struct rpc_request *request, struct bytes digest)
{
    size_t i = 0;
    while (i < g->held && memcmp(g->wanted[i].byte, digest.data, DIGEST_SIZE) != 0)
        i++;
    cr_assert_lt(i, CHUNKS_MAX);
    g->peers[i] = request->peer; /* the client asks again after a silence */
    memcpy(g->wanted[i].byte, digest.data, DIGEST_SIZE);
    g->held += i == g->held;
}

static void on_put(void *arg, const struct rpc_request *request)
{
    struct registry *g = arg;
    const struct msg_chunk *body = request->body;
    struct digest digest;
    if (refused(g, request))
        return;
    cr_assert_not_null(request->attachment);
    digest_of(frame_bytes(request->attachment), &digest);
    cr_assert(bytes_equal(body->digest, bytes_of(digest.byte, DIGEST_SIZE)));
    keep_chunk(g, frame_bytes(request->attachment));
    if (g->hold)
        hold(g, request, body->digest);
    else
        rpc_answer(g->rpc, &request->peer, MSG_DONE, NULL, NULL);
}

static void answer_chunk(struct registry *g, const struct rpc_peer *peer, const void *digest,
                         bool damaged)
{
    struct chunk *c = find(g, digest);
    struct frame data;
    cr_assert_not_null(c);
    unsigned char *to = frame_init_size(&data, c->data.len);
    memcpy(to, c->data.data, c->data.len);
    to[0] ^= damaged;
    rpc_answer(g->rpc, peer, MSG_CHUNK,
               &(struct msg_chunk){ .digest = bytes_of(digest, DIGEST_SIZE) }, &data);
    frame_finish(&data);
}

static void on_get(void *arg, const struct rpc_request *request)
{
    struct registry *g = arg;
    const struct msg_chunk *body = request->body;
    if (refused(g, request))
        return;
    if (!g->gets++)
        memcpy(g->first_get.byte, body->digest.data, DIGEST_SIZE);
    g->verified += !body->raw;
    bool damaged = body->raw && g->damaged;
    g->damaged -= damaged;
    if (g->hold)
        hold(g, request, body->digest);
    else
        answer_chunk(g, &request->peer, body->digest.data, damaged);
}

static void on_manifest(void *arg, const struct rpc_request *request)
{
    struct registry *g = arg;
    if (refused(g, request))
        return;
    if (g->wrong_kind)
        rpc_answer(g->rpc, &request->peer, MSG_DONE, NULL, NULL);
    else
        rpc_answer(g->rpc, &request->peer, MSG_MANIFEST, &g->manifest, NULL);
}

static void release(struct registry *g, bool puts)
{
    for (size_t i = 0; i < g->held; i++) {
        if (puts)
            rpc_answer(g->rpc, &g->peers[i], MSG_DONE, NULL, NULL);
        else
            answer_chunk(g, &g->peers[i], g->wanted[i].byte, false);
    }
    g->held = 0;
}

static rpc_handler_fn *const handlers[MSG_KIND_COUNT] = {
    [MSG_CHUNK_PUT] = on_put,
    [MSG_CHUNK_GET] = on_get,
    [MSG_MANIFEST_GET] = on_manifest,
};

/* ---- the bench: registry, client, data, and what became of the transfer ----------------- */

struct bench {
    struct rig rig;
    struct registry registry;
    struct rpc_client *client;
    struct buf data;
    struct digest digest;
    char path[64];
    struct upload *upload;
    struct download *download;
    unsigned done;
    unsigned drained;
    uint64_t progress;
    bool destroy_in_done;
    bool destroy_in_drained;
    bool destroy_in_progress;
    struct error err;
    struct digest manifest_digest;
    uint64_t manifest_size;
};

static void bench_start_registry(struct bench *b)
{
    struct error err;
    b->registry.rig = &b->rig;
    b->registry.rpc = rpc_server_create(b->rig.loop, handlers, &b->registry);
    cr_assert_eq(rpc_server_bind(b->registry.rpc, b->rig.endpoint, &err), STATUS_OK, "%s",
                 err.text);
}

/* Data of that size, which no two chunks have in common, but for a pair in large ones. */
static void bench_init(struct bench *b, size_t size)
{
    *b = (struct bench){ 0 };
    rig_init(&b->rig);
    snprintf(b->path, sizeof b->path, "%s/artifact", b->rig.dir);
    bench_start_registry(b);
    b->client = rpc_client_create(b->rig.loop, b->rig.endpoint);
    buf_reserve(&b->data, size + 1);
    b->data.len = size;
    uint64_t state = 88172645463325252ull;
    for (size_t i = 0; i + 8 <= size; i += 8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memcpy(b->data.data + i, &state, 8);
    }
    for (size_t i = size & ~(size_t)7; i < size; i++)
        b->data.data[i] = (unsigned char)(i * 7);
    if (size >= 12 * MIB)
        memcpy(b->data.data + 11 * MIB, b->data.data + 2 * MIB, MIB);
    digest_of(buf_bytes(&b->data), &b->digest);
}

static void bench_finish(struct bench *b)
{
    rpc_client_destroy(b->client);
    rpc_server_destroy(b->registry.rpc);
    for (size_t i = 0; i < b->registry.count; i++)
        buf_finish(&b->registry.chunks[i].data);
    buf_finish(&b->registry.manifest_chunks);
    buf_finish(&b->data);
    rig_finish(&b->rig);
}

/* Puts the data into the registry, without an upload. */
static void bench_store(struct bench *b)
{
    struct registry *g = &b->registry;
    for (size_t at = 0; at < b->data.len; at += MIB) {
        struct digest digest;
        size_t len = b->data.len - at < MIB ? b->data.len - at : MIB;
        keep_chunk(g, bytes_of(b->data.data + at, len));
        digest_of(bytes_of(b->data.data + at, len), &digest);
        buf_append(&g->manifest_chunks, digest.byte, DIGEST_SIZE);
    }
    g->manifest = (struct msg_manifest){ .digest = bytes_of(b->digest.byte, DIGEST_SIZE),
                                         .size_bytes = b->data.len,
                                         .chunks = buf_bytes(&g->manifest_chunks) };
}

static void on_drained(void *arg)
{
    struct bench *b = arg;
    b->drained++;
    if (b->destroy_in_drained) {
        upload_destroy(b->upload);
        b->upload = NULL;
    }
}

static void on_uploaded(void *arg, const struct manifest *manifest, const struct error *err)
{
    struct bench *b = arg;
    b->done++;
    cr_assert((manifest != NULL) == (err == NULL));
    if (b->destroy_in_done) {
        upload_destroy(b->upload);
        b->upload = NULL;
    }
    if (err) {
        b->err = *err;
        return;
    }
    b->manifest_digest = manifest->digest;
    b->manifest_size = manifest->size_bytes;
    buf_append_bytes(&b->registry.manifest_chunks, buf_bytes(&manifest->chunks));
}

static void start_upload(struct bench *b, uint64_t size_max)
{
    static const struct upload_events events = { .drained = on_drained, .done = on_uploaded };
    b->upload = upload_create(b->rig.loop, b->client, size_max, &events, b);
}

/* Writes all data in slices, and waits when told to; false: it was told that it is over. */
static bool write_all(struct bench *b, size_t slice)
{
    for (size_t at = 0; at < b->data.len; at += slice) {
        size_t len = b->data.len - at < slice ? b->data.len - at : slice;
        unsigned drained = b->drained;
        if (!upload_write(b->upload, bytes_of(b->data.data + at, len)))
            rig_wait(&b->rig, b->drained > drained || b->done);
        if (b->done)
            return false;
    }
    return true;
}

static void on_progress(void *arg, uint64_t bytes, uint64_t of)
{
    struct bench *b = arg;
    cr_assert_leq(bytes, of);
    cr_assert_geq(bytes, b->progress);
    b->progress = bytes;
    if (b->destroy_in_progress) {
        download_destroy(b->download);
        b->download = NULL;
    }
}

static void on_downloaded(void *arg, const struct error *err)
{
    struct bench *b = arg;
    b->done++;
    if (b->destroy_in_done) {
        download_destroy(b->download);
        b->download = NULL;
    }
    b->err = err ? *err : (struct error){ .status = STATUS_OK };
}

static void start_download(struct bench *b)
{
    b->progress = 0;
    b->download = download_create(b->rig.loop, b->client, &b->digest, b->path, 100 * MIB,
                                  on_progress, on_downloaded, b);
}

static void finish_download(struct bench *b)
{
    unsigned before = b->done;
    rig_wait(&b->rig, b->done == before + 1);
    download_destroy(b->download);
    b->download = NULL;
}

/* It is there, complete; is it right? */
static bool file_is_right(struct bench *b)
{
    struct buf got = { 0 };
    int fd = open(b->path, O_RDONLY);
    cr_assert_geq(fd, 0, "%s is not there: %s", b->path, b->err.text);
    buf_reserve(&got, b->data.len + 1);
    ssize_t n;
    while ((n = read(fd, got.data + got.len, got.cap - got.len)) > 0)
        got.len += (size_t)n;
    close(fd);
    cr_assert_eq(got.len, b->data.len);
    bool right = bytes_equal(buf_bytes(&got), buf_bytes(&b->data));
    buf_finish(&got);
    return right;
}

static void check_file(struct bench *b)
{
    char part[80];
    cr_assert(file_is_right(b));
    snprintf(part, sizeof part, "%s.part", b->path);
    cr_assert_neq(access(part, F_OK), 0);
}

/* ---- there and back ---------------------------------------------------------------------- */

static const size_t sizes[] = { 0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB, 20 * MIB + 4711 };

Test(artifact, every_size_arrives_whole_both_ways)
{
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct bench b;
        bench_init(&b, sizes[i]);
        start_upload(&b, sizes[i]);
        cr_assert(write_all(&b, 65536));
        upload_end(b.upload);
        rig_wait(&b.rig, b.done);
        upload_destroy(b.upload);
        cr_assert_eq(b.err.status, STATUS_OK, "%s", b.err.text);
        cr_assert(digest_equal(&b.manifest_digest, &b.digest));
        cr_assert_eq(b.manifest_size, sizes[i]);
        cr_assert_eq(b.registry.manifest_chunks.len, (sizes[i] + MIB - 1) / MIB * DIGEST_SIZE);

        b.registry.manifest =
            (struct msg_manifest){ .digest = bytes_of(b.digest.byte, DIGEST_SIZE),
                                   .size_bytes = sizes[i],
                                   .chunks = buf_bytes(&b.registry.manifest_chunks) };
        start_download(&b);
        finish_download(&b);
        cr_assert_eq(b.err.status, STATUS_OK, "%s", b.err.text);
        cr_assert_eq(b.progress, sizes[i]);
        check_file(&b);
        bench_finish(&b);
    }
}

Test(artifact, destroy_accepts_null)
{
    upload_destroy(NULL);
    download_destroy(NULL);
}

/* ---- upload ------------------------------------------------------------------------------ */

Test(upload, a_registry_that_does_not_answer_stops_the_writer)
{
    struct bench b;
    size_t taken = 0;
    bench_init(&b, 20 * MIB);
    b.registry.hold = true;
    start_upload(&b, 100 * MIB);
    while (upload_write(b.upload, bytes_of(b.data.data + taken, 10000)))
        taken += 10000;
    taken += 10000;
    cr_assert_leq(taken, ARTIFACT_WINDOW * MIB + 10000);
    rig_wait(&b.rig, b.registry.held == ARTIFACT_WINDOW);
    rig_idle(&b.rig, 50);
    cr_assert_eq(b.registry.held, ARTIFACT_WINDOW);
    cr_assert_eq(b.drained, 0);
    b.registry.hold = false;
    release(&b.registry, true);
    rig_wait(&b.rig, b.drained == 1);
    while (taken < b.data.len) {
        size_t len = b.data.len - taken < 10000 ? b.data.len - taken : 10000;
        unsigned drained = b.drained;
        if (!upload_write(b.upload, bytes_of(b.data.data + taken, len)))
            rig_wait(&b.rig, b.drained > drained);
        taken += len;
    }
    upload_end(b.upload);
    rig_wait(&b.rig, b.done);
    cr_assert(digest_equal(&b.manifest_digest, &b.digest));
    upload_destroy(b.upload);
    bench_finish(&b);
}

Test(upload, one_write_may_be_as_large_as_it_likes)
{
    struct bench b;
    bench_init(&b, 20 * MIB + 1);
    start_upload(&b, 100 * MIB);
    cr_assert(!upload_write(b.upload, buf_bytes(&b.data)));
    upload_end(b.upload); /* without waiting for drained */
    rig_wait(&b.rig, b.done);
    cr_assert(digest_equal(&b.manifest_digest, &b.digest));
    upload_destroy(b.upload);
    bench_finish(&b);
}

Test(upload, beyond_the_limit_is_too_large)
{
    struct bench b;
    bench_init(&b, 2 * MIB);
    start_upload(&b, 2 * MIB - 1);
    cr_assert(!write_all(&b, 65536));
    cr_assert_eq(b.err.status, STATUS_TOO_LARGE);
    cr_assert(strstr(b.err.text, "2097151"), "%s", b.err.text);
    cr_assert(!upload_write(b.upload, bytes_str("more")));
    upload_end(b.upload);
    rig_idle(&b.rig, 100);
    cr_assert_eq(b.done, 1);
    upload_destroy(b.upload);
    bench_finish(&b);
}

Test(upload, no_artifact_is_larger_than_a_manifest_can_say)
{
    struct bench b;
    bench_init(&b, MIB);
    start_upload(&b, UINT64_MAX);
    /* It is refused before a byte is read, so none of these bytes need be there. */
    cr_assert(!upload_write(b.upload, bytes_of(b.data.data, (size_t)MAX_CHUNKS * CHUNK_BYTES + 1)));
    cr_assert_eq(b.done, 1);
    cr_assert_eq(b.err.status, STATUS_TOO_LARGE);
    upload_destroy(b.upload);
    bench_finish(&b);
}

Test(upload, a_registry_that_is_unwell_for_a_while_is_waited_for)
{
    struct bench b;
    bench_init(&b, 9 * MIB);
    b.registry.unavailable = 12;
    start_upload(&b, 100 * MIB);
    cr_assert(write_all(&b, 65536));
    upload_end(b.upload);
    rig_wait(&b.rig, b.done);
    cr_assert_eq(b.err.status, STATUS_OK, "%s", b.err.text);
    cr_assert(digest_equal(&b.manifest_digest, &b.digest));
    cr_assert_eq(b.registry.unavailable, 0);
    upload_destroy(b.upload);
    bench_finish(&b);
}

Test(upload, a_restart_of_the_registry_is_survived)
{
    struct bench b;
    bench_init(&b, 11 * MIB);
    b.registry.hold = true;
    start_upload(&b, 100 * MIB);
    for (size_t at = 0; at < b.data.len; at += MIB)
        upload_write(b.upload, bytes_of(b.data.data + at, MIB));
    upload_end(b.upload);
    rig_wait(&b.rig, b.registry.held == b.data.len / MIB);
    rpc_server_destroy(b.registry.rpc);
    rig_turn(&b.rig);
    b.registry.hold = false;
    bench_start_registry(&b);
    rig_wait(&b.rig, b.done);
    cr_assert(digest_equal(&b.manifest_digest, &b.digest));
    upload_destroy(b.upload);
    bench_finish(&b);
}

Test(upload, a_refusal_ends_it_with_the_registry_s_words_and_nothing_more_is_sent)
{
    struct bench b;
    bench_init(&b, 9 * MIB);
    b.registry.refuse = STATUS_CONFLICT;
    start_upload(&b, 100 * MIB);
    write_all(&b, MIB);
    rig_wait(&b.rig, b.done);
    cr_assert_eq(b.err.status, STATUS_CONFLICT);
    cr_assert_str_eq(b.err.text, "the store is not well");
    rig_idle(&b.rig, 50);
    unsigned requests = b.registry.requests;
    rig_idle(&b.rig, 500);
    cr_assert_eq(b.registry.requests, requests);
    cr_assert_eq(b.done, 1);
    upload_destroy(b.upload);
    bench_finish(&b);
}

Test(upload, after_a_failure_pieces_that_waited_are_not_sent)
{
    struct bench b;
    bench_init(&b, 4 * MIB);
    b.registry.unavailable = 3; /* three wait for another try, the fourth is refused */
    start_upload(&b, 100 * MIB);
    upload_write(b.upload, bytes_of(b.data.data, 3 * MIB));
    rig_wait(&b.rig, b.registry.requests == 3);
    b.registry.refuse = STATUS_CONFLICT;
    upload_write(b.upload, bytes_of(b.data.data + 3 * MIB, MIB));
    rig_wait(&b.rig, b.done);
    unsigned requests = b.registry.requests;
    rig_idle(&b.rig, 500);
    cr_assert_eq(b.registry.requests, requests);
    upload_destroy(b.upload);
    bench_finish(&b);
}

Test(upload, destroyed_in_its_events)
{
    struct bench b;
    bench_init(&b, 12 * MIB);
    b.destroy_in_drained = true;
    start_upload(&b, 100 * MIB);
    cr_assert(!upload_write(b.upload, buf_bytes(&b.data)));
    rig_wait(&b.rig, b.drained);
    b.destroy_in_drained = false;
    b.destroy_in_done = true;
    start_upload(&b, 100 * MIB);
    upload_write(b.upload, buf_bytes(&b.data));
    upload_end(b.upload);
    rig_wait(&b.rig, b.done);
    cr_assert(digest_equal(&b.manifest_digest, &b.digest));
    cr_assert_eq(b.registry.manifest_chunks.len, 12 * DIGEST_SIZE);
    start_upload(&b, MIB);
    cr_assert(!upload_write(b.upload, buf_bytes(&b.data)));
    cr_assert_null(b.upload);
    bench_finish(&b);
}

Test(upload, destroyed_after_any_number_of_turns)
{
    for (unsigned turns = 0; turns < 40; turns++) {
        struct bench b;
        bench_init(&b, 9 * MIB);
        start_upload(&b, 100 * MIB);
        upload_write(b.upload, buf_bytes(&b.data));
        if (turns % 2)
            upload_end(b.upload);
        for (unsigned i = 0; i < turns; i++)
            uv_run(loop_uv(b.rig.loop), UV_RUN_NOWAIT);
        upload_destroy(b.upload);
        bench_finish(&b);
    }
}

Test(upload, a_client_that_goes_away_ends_it)
{
    struct bench b;
    bench_init(&b, 3 * MIB);
    b.registry.hold = true;
    start_upload(&b, 100 * MIB);
    upload_write(b.upload, buf_bytes(&b.data));
    rig_wait(&b.rig, b.registry.held == 3);
    rpc_client_destroy(b.client);
    b.client = NULL;
    cr_assert_eq(b.done, 1);
    cr_assert_eq(b.err.status, STATUS_CANCELLED);
    upload_destroy(b.upload);
    bench_finish(&b);
}

/* ---- download ---------------------------------------------------------------------------- */

Test(download, a_window_and_no_more_is_asked_for)
{
    struct bench b;
    bench_init(&b, 20 * MIB);
    bench_store(&b);
    b.registry.hold = true;
    start_download(&b);
    rig_wait(&b.rig, b.registry.held == ARTIFACT_WINDOW);
    rig_idle(&b.rig, 50);
    cr_assert_eq(b.registry.held, ARTIFACT_WINDOW);
    b.registry.hold = false;
    release(&b.registry, false);
    finish_download(&b);
    check_file(&b);
    bench_finish(&b);
}

Test(download, a_registry_that_is_unwell_for_a_while_is_waited_for)
{
    struct bench b;
    bench_init(&b, 9 * MIB);
    bench_store(&b);
    b.registry.unavailable = 4; /* the manifest too */
    start_download(&b);
    rig_wait(&b.rig, b.registry.unavailable == 0 && b.registry.gets > 0);
    b.registry.unavailable = 5;
    finish_download(&b);
    cr_assert_eq(b.err.status, STATUS_OK, "%s", b.err.text);
    check_file(&b);
    bench_finish(&b);
}

Test(download, a_refusal_ends_it)
{
    struct bench b;
    bench_init(&b, 2 * MIB);
    bench_store(&b);
    b.registry.refuse = STATUS_NOT_FOUND;
    start_download(&b);
    finish_download(&b);
    cr_assert_eq(b.err.status, STATUS_NOT_FOUND);
    cr_assert_str_eq(b.err.text, "the store is not well");
    b.registry.refuse = STATUS_OK;
    b.registry.hold = true;
    start_download(&b);
    rig_wait(&b.rig, b.registry.held == 2);
    rpc_fail(b.registry.rpc, &b.registry.peers[0], STATUS_NOT_FOUND, "no such chunk");
    finish_download(&b);
    cr_assert_eq(b.err.status, STATUS_NOT_FOUND);
    cr_assert(strstr(b.err.text, "no such chunk"), "%s", b.err.text);
    cr_assert_neq(access(b.path, F_OK), 0);
    bench_finish(&b);
}

Test(download, a_bad_manifest_is_refused)
{
    struct bench b;
    bench_init(&b, 2 * MIB);
    bench_store(&b);
    b.registry.wrong_kind = true;
    start_download(&b);
    finish_download(&b);
    cr_assert_eq(b.err.status, STATUS_CORRUPT);
    b.registry.wrong_kind = false;
    b.registry.manifest.size_bytes = 2 * MIB + 1;
    start_download(&b);
    finish_download(&b);
    cr_assert_eq(b.err.status, STATUS_CORRUPT);
    b.registry.manifest.size_bytes = UINT64_MAX;
    start_download(&b);
    finish_download(&b);
    cr_assert_eq(b.err.status, STATUS_TOO_LARGE);
    cr_assert_neq(access(b.path, F_OK), 0);
    bench_finish(&b);
}

Test(download, a_corrupt_chunk_never_becomes_a_file)
{
    struct bench b;
    bench_init(&b, 3 * MIB);
    bench_store(&b);
    b.registry.chunks[1].data.data[77] ^= 1;
    start_download(&b);
    finish_download(&b);
    cr_assert_eq(b.err.status, STATUS_CORRUPT);
    cr_assert(strstr(b.err.text, "chunk 1"), "%s", b.err.text);
    cr_assert_neq(access(b.path, F_OK), 0);
    b.registry.chunks[1].data.data[77] ^= 1;
    b.registry.chunks[1].data.len--;
    start_download(&b);
    finish_download(&b);
    cr_assert_eq(b.err.status, STATUS_CORRUPT);
    b.registry.chunks[1].data.len++;
    start_download(&b);
    finish_download(&b);
    cr_assert_eq(b.err.status, STATUS_OK, "%s", b.err.text);
    check_file(&b);
    bench_finish(&b);
}

Test(download, a_chunk_that_comes_damaged_is_asked_for_again_verified)
{
    struct bench b;
    bench_init(&b, 3 * MIB);
    bench_store(&b);
    b.registry.damaged = 2;
    start_download(&b);
    finish_download(&b);
    cr_assert_eq(b.err.status, STATUS_OK, "%s", b.err.text);
    cr_assert_eq(b.registry.gets, 5);
    cr_assert_eq(b.registry.verified, 2);
    check_file(&b);
    bench_finish(&b);
}

/* Who trusts finds out when it verifies the whole, and then fetches it without. */
Test(download, a_damaged_chunk_is_taken_on_trust_and_not_the_second_time)
{
    struct bench b;
    bench_init(&b, 3 * MIB);
    bench_store(&b);
    b.registry.damaged = 1;
    start_download(&b);
    download_trust(b.download);
    finish_download(&b);
    cr_assert_eq(b.err.status, STATUS_OK, "%s", b.err.text);
    cr_assert_eq(b.registry.gets, 3);
    cr_assert(!file_is_right(&b));
    cr_assert_eq(unlink(b.path), 0);
    b.registry.damaged = 1;
    start_download(&b);
    finish_download(&b);
    cr_assert_eq(b.err.status, STATUS_OK, "%s", b.err.text);
    check_file(&b);
    bench_finish(&b);
}

Test(download, a_chunk_of_another_size_is_not_taken_on_trust)
{
    struct bench b;
    bench_init(&b, 3 * MIB);
    bench_store(&b);
    b.registry.chunks[1].data.len--;
    start_download(&b);
    download_trust(b.download);
    finish_download(&b);
    cr_assert_eq(b.err.status, STATUS_CORRUPT);
    cr_assert_neq(access(b.path, F_OK), 0);
    bench_finish(&b);
}

Test(download, the_manifest_of_another_artifact_is_refused)
{
    static const unsigned char other[DIGEST_SIZE];
    struct bench b;
    bench_init(&b, 3 * MIB);
    bench_store(&b);
    b.registry.manifest.digest = bytes_of(other, sizeof other);
    start_download(&b);
    finish_download(&b);
    cr_assert_eq(b.err.status, STATUS_CORRUPT);
    cr_assert_neq(access(b.path, F_OK), 0);
    b.registry.manifest.digest = bytes_of(b.digest.byte, DIGEST_SIZE);
    start_download(&b);
    finish_download(&b);
    cr_assert_eq(b.err.status, STATUS_OK, "%s", b.err.text);
    check_file(&b);
    bench_finish(&b);
}

Test(download, goes_on_where_others_read_and_fetches_the_rest_at_the_end)
{
    struct bench b;
    bench_init(&b, 24 * MIB);
    bench_store(&b);
    b.registry.manifest.now = bytes_of(b.registry.chunks[20].digest.byte, DIGEST_SIZE);
    start_download(&b);
    finish_download(&b);
    cr_assert(digest_equal(&b.registry.first_get, &b.registry.chunks[20].digest));
    cr_assert_eq(b.err.status, STATUS_OK, "%s", b.err.text);
    cr_assert_eq(b.registry.gets, 24);
    check_file(&b);
    bench_finish(&b);
}

Test(download, resumes_what_an_earlier_try_left_behind)
{
    struct bench b;
    bench_init(&b, 20 * MIB);
    bench_store(&b);
    start_download(&b);
    rig_wait(&b.rig, b.progress >= 10 * MIB);
    download_destroy(b.download);
    rig_idle(&b.rig, 50);
    cr_assert_eq(b.done, 0);
    b.registry.gets = 0;
    start_download(&b);
    finish_download(&b);
    check_file(&b);
    cr_assert_leq(b.registry.gets, 10);
    bench_finish(&b);
}

Test(download, rubbish_in_the_part_file_is_overwritten_and_cut)
{
    struct bench b;
    char part[80];
    bench_init(&b, 2 * MIB + 5);
    bench_store(&b);
    snprintf(part, sizeof part, "%s.part", b.path);
    int fd = open(part, O_WRONLY | O_CREAT, 0600);
    cr_assert_eq(pwrite(fd, b.data.data + MIB, MIB, MIB), (ssize_t)MIB); /* chunk 1 is good */
    cr_assert_eq(pwrite(fd, b.data.data, 1000, 5 * MIB), 1000);
    close(fd);
    start_download(&b);
    finish_download(&b);
    check_file(&b);
    cr_assert_eq(b.registry.gets, 2);
    bench_finish(&b);
}

Test(download, a_path_that_cannot_be_written_is_an_error)
{
    struct bench b;
    bench_init(&b, 10);
    bench_store(&b);
    snprintf(b.path, sizeof b.path, "%s/none/artifact", b.rig.dir);
    start_download(&b);
    finish_download(&b);
    cr_assert_eq(b.err.status, STATUS_IO);
    cr_assert(strstr(b.err.text, "none/artifact"), "%s", b.err.text);
    bench_finish(&b);
}

Test(download, destroyed_in_its_events)
{
    struct bench b;
    bench_init(&b, 12 * MIB);
    bench_store(&b);
    b.destroy_in_progress = true;
    start_download(&b);
    rig_wait(&b.rig, !b.download);
    rig_idle(&b.rig, 50);
    b.destroy_in_progress = false;
    b.destroy_in_done = true;
    start_download(&b);
    rig_wait(&b.rig, b.done == 1);
    cr_assert_eq(b.err.status, STATUS_OK, "%s", b.err.text);
    check_file(&b);
    b.registry.refuse = STATUS_NOT_FOUND;
    start_download(&b);
    rig_wait(&b.rig, b.done == 2);
    cr_assert_eq(b.err.status, STATUS_NOT_FOUND);
    b.registry.refuse = STATUS_OK;
    for (size_t i = 0; i < b.registry.count; i++)
        b.registry.chunks[i].data.data[3] ^= 1;
    start_download(&b);
    rig_wait(&b.rig, b.done == 3);
    cr_assert_eq(b.err.status, STATUS_CORRUPT);
    cr_assert(strstr(b.err.text, "chunk"), "%s", b.err.text);
    bench_finish(&b);
}

Test(download, destroyed_after_any_number_of_turns)
{
    for (unsigned turns = 0; turns < 60; turns++) {
        struct bench b;
        bench_init(&b, 9 * MIB);
        bench_store(&b);
        start_download(&b);
        for (unsigned i = 0; i < turns; i++)
            uv_run(loop_uv(b.rig.loop), UV_RUN_NOWAIT);
        download_destroy(b.download);
        bench_finish(&b);
    }
}

Test(download, a_client_that_goes_away_ends_it)
{
    struct bench b;
    bench_init(&b, 3 * MIB);
    bench_store(&b);
    b.registry.hold = true;
    start_download(&b);
    rig_wait(&b.rig, b.registry.held == 3);
    rpc_client_destroy(b.client);
    b.client = NULL;
    cr_assert_eq(b.done, 1);
    cr_assert_eq(b.err.status, STATUS_CANCELLED);
    download_destroy(b.download);
    bench_finish(&b);
}
