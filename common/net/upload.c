/* upload.c - an artifact on its way to the registry.
 *
 * Written data fills `current` up to a chunk.  A full chunk waits, is hashed on a pool
 * thread (one at a time: the digest of the whole needs them in order), and is sent; at
 * most ARTIFACT_WINDOW chunks exist at once, which is what bounds the memory.
 */
#include "common/net/artifact.h"

#include "common/base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define RETRY_MS 200 /* before a chunk is sent again that the registry could not take */

struct piece {
    struct upload *upload;
    struct frame data;
    struct digest digest;
    uint64_t offset;       /* where in the artifact it begins */
    struct rpc_call *call; /* while it is with the registry */
    uint64_t deadline_ms;
    struct piece *next;
};

struct upload {
    struct loop *loop;
    struct rpc_client *registry;
    struct loop_timer *retry;
    uint64_t size_max;
    struct upload_events events;
    void *arg;
    char id[MAX_NAME + 1]; /* of the upload that it is a range of, or empty */
    uint64_t offset;       /* of what is in current */
    struct buf current;
    struct digest_stream whole; /* pool thread while `hashing` is set */
    struct manifest manifest;
    struct piece *waiting; /* to be hashed, in order */
    struct piece *hashing; /* on a pool thread, one or none */
    struct piece *sending; /* with the registry, or waiting for the retry timer */
    size_t pieces;         /* in the three lists */
    bool blocked;          /* upload_write has said stop */
    bool ended;            /* upload_end was called */
    bool over;             /* done was called, or destroy: send nothing more */
    bool dead;             /* destroyed while a pool thread works: free afterwards */
};

static void step(struct upload *u);

static void piece_destroy(struct piece *p)
{
    rpc_cancel(p->call);
    frame_finish(&p->data);
    p->upload->pieces--;
    free(p);
}

/* The last thing that a caller does: the event may destroy u. */
static void fail(struct upload *u, enum status st, const char *text)
{
    struct error err;
    struct piece *p;
    if (u->over)
        return;
    u->over = true;
    error_set(&err, st, "%s", text);
    LL_FOREACH(u->sending, p)
    {
        rpc_cancel(p->call);
        p->call = NULL;
    }
    u->events.done(u->arg, NULL, &err);
}

static void on_answer(void *arg, const struct rpc_reply *reply)
{
    struct piece *p = arg;
    struct upload *u = p->upload;
    p->call = NULL;
    if (reply->status == STATUS_OK) {
        LL_DELETE(u->sending, p);
        piece_destroy(p);
        step(u);
    } else if (status_retryable(reply->status) && clock_ms() + RETRY_MS < p->deadline_ms) {
        loop_timer_start(u->retry, RETRY_MS, 0);
    } else {
        fail(u, reply->status, reply->text);
    }
}

static void send_piece(struct piece *p)
{
    struct upload *u = p->upload;
    uint64_t now = clock_ms();
    struct msg_chunk body = { .digest = bytes_of(p->digest.byte, DIGEST_SIZE),
                              .upload = bytes_str(u->id),
                              .offset = u->id[0] ? p->offset : 0 };
    struct frame data;
    frame_init_share(&data, &p->data);
    p->call = rpc_call(u->registry, MSG_CHUNK_PUT, &body, &data,
                       p->deadline_ms > now ? p->deadline_ms - now : 1, on_answer, p);
    frame_finish(&data);
    if (!p->call)
        loop_timer_start(u->retry, RETRY_MS, 0);
}

static void on_retry(void *arg)
{
    struct upload *u = arg;
    uint64_t now = clock_ms();
    struct piece *p;
    if (u->over)
        return;
    LL_FOREACH(u->sending, p)
    {
        if (!p->call)
            send_piece(p);
        if (!p->call && now >= p->deadline_ms) {
            fail(u, STATUS_UNAVAILABLE, "too many calls to the registry are open");
            return;
        }
    }
}

static void hash_piece(void *arg) /* pool thread */
{
    struct piece *p = arg;
    digest_of(frame_bytes(&p->data), &p->digest);
    if (!p->upload->id[0])
        digest_update(&p->upload->whole, frame_bytes(&p->data));
}

static void upload_free(struct upload *u)
{
    struct piece *p, *next;
    if (u->hashing) { /* its thread still reads it: on_hashed comes back here */
        u->dead = true;
        return;
    }
    LL_FOREACH_SAFE(u->waiting, p, next)
    piece_destroy(p);
    LL_FOREACH_SAFE(u->sending, p, next)
    piece_destroy(p);
    digest_drop(&u->whole);
    buf_finish(&u->current);
    buf_finish(&u->manifest.chunks);
    free(u);
}

static bool is_known(const struct piece *p)
{
    const struct upload *u = p->upload;
    return u->events.known &&
           u->events.known(u->arg, (size_t)(p->offset / CHUNK_BYTES), &p->digest);
}

static void on_hashed(void *arg)
{
    struct piece *p = arg;
    struct upload *u = p->upload;
    u->hashing = NULL;
    LL_APPEND(u->sending, p);
    if (u->dead) {
        upload_free(u);
        return;
    }
    if (!u->id[0])
        buf_append(&u->manifest.chunks, p->digest.byte, DIGEST_SIZE);
    p->deadline_ms = clock_ms() + ARTIFACT_TIMEOUT_MS;
    if (!u->over && is_known(p)) {
        LL_DELETE(u->sending, p);
        piece_destroy(p);
    } else if (!u->over) {
        send_piece(p);
    }
    step(u);
}

static void finish_manifest(struct upload *u)
{
    struct manifest manifest = u->manifest; /* the event may destroy u, and read on */
    u->manifest.chunks = (struct buf){ 0 };
    u->over = true;
    digest_end(&u->whole, &manifest.digest);
    u->events.done(u->arg, &manifest, NULL);
    buf_finish(&manifest.chunks);
}

/* Starts what can be started.  The last thing that a caller does: an event may destroy u. */
static void step(struct upload *u)
{
    if (u->over)
        return;
    if (u->waiting && !u->hashing) {
        u->hashing = u->waiting;
        LL_DELETE(u->waiting, u->hashing);
        loop_work(u->loop, hash_piece, on_hashed, u->hashing);
    }
    if (u->ended && !u->pieces) {
        finish_manifest(u);
    } else if (u->blocked && u->pieces < ARTIFACT_WINDOW) {
        u->blocked = false;
        u->events.drained(u->arg);
    }
}

static void cut_piece(struct upload *u)
{
    struct piece *p = mem_zalloc(sizeof *p);
    p->upload = u;
    p->offset = u->offset;
    u->offset += u->current.len;
    frame_init_buf(&p->data, &u->current);
    LL_APPEND(u->waiting, p);
    u->pieces++;
}

struct upload *upload_create(struct loop *l, struct rpc_client *registry, uint64_t size_max,
                             const struct upload_events *events, void *arg)
{
    const uint64_t sayable = (uint64_t)MAX_CHUNKS * CHUNK_BYTES; /* by a manifest */
    struct upload *u = mem_zalloc(sizeof *u);
    u->loop = l;
    u->registry = registry;
    u->size_max = size_max < sayable ? size_max : sayable;
    u->events = *events;
    u->arg = arg;
    u->retry = loop_timer_create(l, on_retry, u);
    digest_start(&u->whole);
    return u;
}

struct upload *upload_create_range(struct loop *l, struct rpc_client *registry, const char *id,
                                   uint64_t offset, uint64_t size_max,
                                   const struct upload_events *events, void *arg)
{
    struct upload *u = upload_create(l, registry, size_max, events, arg);
    if (bytes_copy_str(bytes_str(id), u->id, sizeof u->id))
        u->id[0] = 0; /* cannot be: the caller has checked it */
    u->offset = offset;
    u->size_max = offset < u->size_max ? u->size_max - offset : 0;
    return u;
}

/* A piece of a range ends where a chunk of the whole would. */
static size_t room_for(const struct upload *u)
{
    return CHUNK_BYTES - (size_t)(u->offset % CHUNK_BYTES) - u->current.len;
}

bool upload_write(struct upload *u, struct bytes data)
{
    assert(!u->ended);
    if (u->over)
        return false;
    u->manifest.size_bytes += data.len;
    if (u->manifest.size_bytes > u->size_max) {
        char text[96];
        snprintf(text, sizeof text, "the artifact is larger than %llu bytes",
                 (unsigned long long)u->size_max);
        fail(u, STATUS_TOO_LARGE, text);
        return false;
    }
    while (data.len) {
        size_t room = room_for(u);
        size_t take = data.len < room ? data.len : room;
        if (!u->current.cap)
            buf_reserve(&u->current, CHUNK_BYTES);
        buf_append(&u->current, data.data, take);
        data = bytes_of((const char *)data.data + take, data.len - take);
        if (take == room)
            cut_piece(u);
    }
    u->blocked = u->pieces >= ARTIFACT_WINDOW;
    bool more = !u->blocked;
    step(u);
    return more;
}

void upload_end(struct upload *u)
{
    assert(!u->ended);
    u->ended = true;
    if (u->current.len)
        cut_piece(u);
    step(u);
}

void upload_destroy(struct upload *u)
{
    if (!u)
        return;
    u->over = true;
    loop_timer_destroy(u->retry);
    u->retry = NULL;
    upload_free(u);
}

/* ---- manifests ---- */

void manifest_copy(struct manifest *to, const struct manifest *from)
{
    *to = (struct manifest){ .digest = from->digest, .size_bytes = from->size_bytes };
    buf_append_bytes(&to->chunks, buf_bytes(&from->chunks));
}

struct msg_part manifest_part(const struct manifest *m, const char *name)
{
    return (struct msg_part){ .name = bytes_str(name),
                              .digest = bytes_of(m->digest.byte, DIGEST_SIZE),
                              .size_bytes = m->size_bytes,
                              .chunks = buf_bytes(&m->chunks) };
}
