/* download.c - an artifact from the registry into a file.
 *
 * The manifest first; then a pool thread looks which chunks an earlier try has left in
 * path.part; then the missing ones, a window at a time, each verified and written on a
 * pool thread; at the end the file is renamed.  The registry hands chunks out as they are;
 * one that is damaged is asked for again, verified: if the store has lost it, the registry
 * says so, and counts and logs it.  Who verifies the whole later leaves out the chunks' digests,
 * which are a third of the work.
 */
#include "common/net/artifact.h"

#include "common/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A file of so many goes to the disk while it comes, not when the kernel has no more room for it and
 * stops everybody who writes. */
#define EARLY_CHUNKS 256
#define JOIN_AHEAD   16 /* chunks; for who is less behind the registry waits a little */
#define RETRY_MS     200
#define PART_SUFFIX  ".part"

/* A chunk under way, one of ARTIFACT_WINDOW. */
struct slot {
    struct download *download;
    bool used;
    size_t index;          /* of the chunk */
    bool doubted;          /* it came damaged: the registry is to look at it */
    struct rpc_call *call; /* asked for */
    struct frame data;     /* while a pool thread writes it */
    bool writing;
    struct error error; /* of the pool thread */
    uint64_t deadline_ms;
};

struct download {
    struct loop *loop;
    struct rpc_client *registry;
    struct loop_timer *retry;
    struct rpc_call *manifest_call;
    uint64_t manifest_deadline_ms;
    struct digest digest;
    uint64_t size_max;
    uint64_t size;
    struct digest *chunks; /* chunk_count of them */
    size_t chunk_count;
    bool *taken;       /* by chunk: in the file, or asked for */
    size_t next;       /* where to look for one that is not */
    size_t left;       /* how many are not */
    size_t done_count; /* in the file */
    bool trusting;     /* chunks are taken as they come */
    struct slot slots[ARTIFACT_WINDOW];
    int fd;
    char *path;
    char *part;
    struct error error; /* of a pool thread that works on the whole file */
    unsigned working;   /* pool threads that hold on to this */
    bool over;
    atomic_bool stop; /* over, for pool threads: long work is for nothing */
    download_progress_fn *progress;
    download_done_fn *done;
    void *arg;
};

static void step(struct download *d);

static void download_free(struct download *d)
{
    if (d->working)
        return; /* the last pool thread's done function comes back here */
    if (d->fd >= 0)
        close(d->fd);
    free(d->chunks);
    free(d->taken);
    free(d->path);
    free(d->part);
    free(d);
}

/* Nothing is asked for any more, and no event comes. */
static void halt(struct download *d)
{
    d->over = true;
    atomic_store(&d->stop, true);
    rpc_cancel(d->manifest_call);
    d->manifest_call = NULL;
    for (size_t i = 0; i < ARTIFACT_WINDOW; i++) {
        rpc_cancel(d->slots[i].call);
        d->slots[i].call = NULL;
    }
}

/* Ends the download; with *err, or well when err is NULL.  The last thing that a caller
 * does: the event may destroy d. */
static void finish(struct download *d, const struct error *err)
{
    struct error copy = err ? *err : (struct error){ .status = STATUS_OK };
    halt(d);
    d->done(d->arg, err ? &copy : NULL);
}

static size_t chunk_len(const struct download *d, size_t index)
{
    uint64_t left = d->size - (uint64_t)index * CHUNK_BYTES;
    return left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
}

/* Others may fetch the same artifact: who is behind goes on where they are, and fetches what is
 * left out at the end, so that the registry reads most chunks once for all. */
static void join(struct download *d, struct bytes now)
{
    size_t count = d->chunk_count;
    for (size_t i = 0; i < count && now.len == DIGEST_SIZE; i++) {
        if (memcmp(d->chunks[i].byte, now.data, DIGEST_SIZE) != 0)
            continue;
        size_t ahead = (i + count - d->next) % count;
        bool behind = d->done_count && ahead > count / 2; /* they, not we */
        if (!d->taken[i] && ahead > JOIN_AHEAD && !behind)
            d->next = i;
        return;
    }
}

/* ---- one chunk --------------------------------------------------------------------------- */

static enum status write_all(int fd, struct bytes data, uint64_t offset, struct error *err)
{
    while (data.len) {
        ssize_t n = pwrite(fd, data.data, data.len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(err, errno == ENOSPC ? STATUS_FULL : STATUS_IO,
                             "cannot write the artifact: %s", strerror(errno));
        data = bytes_of((const char *)data.data + n, data.len - (size_t)n);
        offset += (uint64_t)n;
    }
    return STATUS_OK;
}

static bool is_right(const struct download *d, size_t index, struct bytes data)
{
    struct digest is;
    if (d->trusting)
        return true;
    digest_of(data, &is);
    return digest_equal(&is, &d->chunks[index]);
}

static void write_slot(void *arg) /* pool thread */
{
    struct slot *s = arg;
    struct download *d = s->download;
    struct bytes data = frame_bytes(&s->data);
    uint64_t offset = (uint64_t)s->index * CHUNK_BYTES;
    if (data.len != chunk_len(d, s->index) || !is_right(d, s->index, data))
        error_set(&s->error, STATUS_CORRUPT, "chunk %zu of the artifact has another digest",
                  s->index);
    else if (!(s->error.status = write_all(d->fd, data, offset, &s->error)) &&
             d->chunk_count >= EARLY_CHUNKS)
        sync_file_range(d->fd, (off64_t)offset, (off64_t)data.len, SYNC_FILE_RANGE_WRITE);
}

static void ask_chunk(struct slot *s);

static void on_written(void *arg)
{
    struct slot *s = arg;
    struct download *d = s->download;
    frame_finish(&s->data);
    s->writing = s->used = false;
    d->working--;
    if (d->over) {
        if (!d->retry)
            download_free(d);
        return;
    }
    if (s->error.status == STATUS_CORRUPT && !s->doubted) {
        s->used = s->doubted = true;
        ask_chunk(s);
        return;
    }
    if (s->error.status) {
        finish(d, &s->error);
        return;
    }
    d->done_count++;
    step(d);
    if (d->progress) /* last: it may destroy d */
        d->progress(d->arg, (uint64_t)d->done_count * d->size / d->chunk_count, d->size);
}

static void on_chunk(void *arg, const struct rpc_reply *reply)
{
    struct slot *s = arg;
    struct download *d = s->download;
    s->call = NULL;
    if (reply->status == STATUS_OK && reply->attachment) {
        if (reply->kind == MSG_CHUNK)
            join(d, ((const struct msg_chunk *)reply->body)->now);
        frame_init_empty(&s->data);
        frame_move(&s->data, reply->attachment);
        s->writing = true;
        s->error = (struct error){ .status = STATUS_OK };
        d->working++;
        loop_work(d->loop, write_slot, on_written, s);
    } else if (status_retryable(reply->status) && clock_ms() + RETRY_MS < s->deadline_ms) {
        loop_timer_start(d->retry, RETRY_MS, 0);
    } else {
        struct error err;
        enum status st = reply->status ? reply->status : STATUS_CORRUPT;
        error_set(&err, st, "chunk %zu of the artifact: %s", s->index,
                  reply->status ? reply->text : "the answer carries no data");
        finish(d, &err);
    }
}

static void ask_chunk(struct slot *s)
{
    struct download *d = s->download;
    uint64_t now = clock_ms();
    struct msg_chunk body = { .digest = bytes_of(d->chunks[s->index].byte, DIGEST_SIZE),
                              .raw = !s->doubted };
    s->call = rpc_call(d->registry, MSG_CHUNK_GET, &body, NULL,
                       s->deadline_ms > now ? s->deadline_ms - now : 1, on_chunk, s);
    if (!s->call)
        loop_timer_start(d->retry, RETRY_MS, 0);
}

/* ---- the whole file ---------------------------------------------------------------------- */

static void seal(void *arg) /* pool thread */
{
    struct download *d = arg;
    if (ftruncate(d->fd, (off_t)d->size) != 0)
        error_set(&d->error, STATUS_IO, "cannot cut %s: %s", d->part, strerror(errno));
    else if (rename(d->part, d->path) != 0)
        error_set(&d->error, STATUS_IO, "cannot keep %s: %s", d->path, strerror(errno));
}

static void on_sealed(void *arg)
{
    struct download *d = arg;
    d->working--;
    if (d->over) {
        if (!d->retry)
            download_free(d);
        return;
    }
    finish(d, d->error.status ? &d->error : NULL);
}

/* Marks the chunks that an earlier try has left behind, whole. */
static void survey(void *arg) /* pool thread */
{
    struct download *d = arg;
    d->fd = open(d->part, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->fd < 0) {
        error_set(&d->error, STATUS_IO, "cannot open %s: %s", d->part, strerror(errno));
        return;
    }
    unsigned char *block = mem_alloc(CHUNK_BYTES);
    for (size_t i = 0; i < d->chunk_count && !atomic_load(&d->stop); i++) {
        struct digest is;
        size_t len = chunk_len(d, i);
        if (pread(d->fd, block, len, (off_t)i * CHUNK_BYTES) != (ssize_t)len)
            continue;
        digest_of(bytes_of(block, len), &is);
        d->taken[i] = digest_equal(&is, &d->chunks[i]);
    }
    free(block);
}

static void on_surveyed(void *arg)
{
    struct download *d = arg;
    d->working--;
    if (d->over) {
        if (!d->retry)
            download_free(d);
        return;
    }
    if (d->error.status) {
        finish(d, &d->error);
        return;
    }
    for (size_t i = 0; i < d->chunk_count; i++)
        d->done_count += d->taken[i];
    d->left = d->chunk_count - d->done_count;
    step(d);
}

/* There is one. */
static size_t take_next(struct download *d)
{
    while (d->taken[d->next])
        if (++d->next == d->chunk_count)
            d->next = 0;
    d->taken[d->next] = true;
    d->left--;
    return d->next;
}

static void step(struct download *d)
{
    if (d->done_count == d->chunk_count) {
        d->working++;
        loop_work(d->loop, seal, on_sealed, d);
        return;
    }
    for (size_t i = 0; i < ARTIFACT_WINDOW; i++) {
        struct slot *s = &d->slots[i];
        if (s->used || !d->left)
            continue;
        *s = (struct slot){ .download = d,
                            .used = true,
                            .index = take_next(d),
                            .deadline_ms = clock_ms() + ARTIFACT_TIMEOUT_MS };
        ask_chunk(s);
    }
}

/* ---- the manifest ------------------------------------------------------------------------ */

static enum status take_manifest(struct download *d, const struct msg_manifest *m,
                                 struct error *err)
{
    uint64_t count = m->size_bytes / CHUNK_BYTES + (m->size_bytes % CHUNK_BYTES != 0);
    if (m->size_bytes > d->size_max)
        return error_set(err, STATUS_TOO_LARGE, "the artifact has %llu bytes; %llu are allowed",
                         (unsigned long long)m->size_bytes, (unsigned long long)d->size_max);
    if (!bytes_equal(m->digest, bytes_of(d->digest.byte, DIGEST_SIZE)))
        return error_set(err, STATUS_CORRUPT, "the manifest is another artifact's");
    if (m->chunks.len != count * DIGEST_SIZE)
        return error_set(err, STATUS_CORRUPT, "the manifest does not fit the artifact's size");
    d->size = m->size_bytes;
    d->chunk_count = (size_t)count;
    d->chunks = mem_alloc(m->chunks.len);
    d->taken = mem_zalloc(d->chunk_count * sizeof *d->taken);
    if (m->chunks.len)
        memcpy(d->chunks, m->chunks.data, m->chunks.len);
    join(d, m->now);
    return STATUS_OK;
}

static void on_manifest(void *arg, const struct rpc_reply *reply)
{
    struct download *d = arg;
    struct error err;
    d->manifest_call = NULL;
    if (status_retryable(reply->status) && clock_ms() + RETRY_MS < d->manifest_deadline_ms) {
        loop_timer_start(d->retry, RETRY_MS, 0);
        return;
    }
    if (reply->status)
        error_set(&err, reply->status, "%s", reply->text);
    else if (reply->kind != MSG_MANIFEST)
        error_set(&err, STATUS_CORRUPT, "the registry did not answer with a manifest");
    else if (!take_manifest(d, reply->body, &err)) {
        d->working++;
        loop_work(d->loop, survey, on_surveyed, d);
        return;
    }
    finish(d, &err);
}

static void ask_manifest(struct download *d)
{
    uint64_t now = clock_ms();
    struct msg_chunk body = { .digest = bytes_of(d->digest.byte, DIGEST_SIZE) };
    d->manifest_call =
        rpc_call(d->registry, MSG_MANIFEST_GET, &body, NULL,
                 d->manifest_deadline_ms > now ? d->manifest_deadline_ms - now : 1, on_manifest, d);
    if (!d->manifest_call)
        loop_timer_start(d->retry, RETRY_MS, 0);
}

/* Something could not be asked for as long as it may take. */
static bool waits_too_long(const struct download *d)
{
    uint64_t now = clock_ms();
    for (size_t i = 0; i < ARTIFACT_WINDOW; i++) {
        const struct slot *s = &d->slots[i];
        if (s->used && !s->call && !s->writing && now >= s->deadline_ms)
            return true;
    }
    return !d->chunks && !d->working && !d->manifest_call && now >= d->manifest_deadline_ms;
}

static void on_retry(void *arg)
{
    struct download *d = arg;
    if (d->over)
        return;
    if (!d->chunks && !d->working && !d->manifest_call)
        ask_manifest(d);
    for (size_t i = 0; i < ARTIFACT_WINDOW; i++)
        if (d->slots[i].used && !d->slots[i].call && !d->slots[i].writing)
            ask_chunk(&d->slots[i]);
    if (waits_too_long(d))
        finish(d, &(struct error){ STATUS_UNAVAILABLE, "too many calls to the registry are open" });
}

struct download *download_create(struct loop *l, struct rpc_client *registry,
                                 const struct digest *digest, const char *path, uint64_t size_max,
                                 download_progress_fn *progress, download_done_fn *done, void *arg)
{
    struct download *d = mem_zalloc(sizeof *d);
    struct buf part = { 0 };
    d->loop = l;
    d->registry = registry;
    d->digest = *digest;
    d->size_max = size_max;
    d->fd = -1;
    d->path = mem_str(bytes_str(path));
    d->progress = progress;
    d->done = done;
    d->arg = arg;
    d->retry = loop_timer_create(l, on_retry, d);
    d->manifest_deadline_ms = clock_ms() + ARTIFACT_TIMEOUT_MS;
    buf_printf(&part, "%s" PART_SUFFIX, path);
    buf_cstr(&part);
    d->part = buf_take(&part, NULL);
    ask_manifest(d);
    return d;
}

void download_trust(struct download *d)
{
    d->trusting = true;
}

void download_destroy(struct download *d)
{
    if (!d)
        return;
    halt(d);
    loop_timer_destroy(d->retry);
    d->retry = NULL;
    download_free(d);
}
