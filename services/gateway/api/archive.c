/* archive.c - POST /api/models/{m}/versions with a tar archive: each file in it becomes a file of the
 * version.
 *
 * They are stored while they come.  At the end one commit makes all of them visible at once.  The main
 * file, which is the model, is "model.onnx", or the only one, or what ?name= says.
 */
#include "services/gateway/api/persist.h"
#include "services/gateway/api/upload.h"
#include "services/gateway/tar.h"

#include <stdlib.h>
#include <strings.h>

#define MAIN_FILE "model.onnx"
#define TAR_TYPE  "application/x-tar"

struct archive;

struct member {
    struct archive *archive;
    char name[MAX_NAME + 1];
    struct upload *upload;
    struct manifest manifest; /* when it is done */
};

struct archive {
    struct pending base;
    struct gateway *gateway;
    struct http_request *http;
    struct upload_target target;
    char main[MAX_NAME + 1]; /* as ?name= says, or empty */
    uint64_t timeout_ms;     /* for the commit */
    struct tar_reader tar;
    struct member files[MAX_VERSION_FILES]; /* in the archive's order; the last one is coming */
    size_t count;
    uint64_t bytes; /* of all */
    size_t ended;   /* files that have come, but are not all stored: the client waits for them */
    bool blocked;   /* the present one has no room */
    bool paused;    /* reading */
    bool feeding;   /* the archive is being read right now: nothing may be destroyed */
    bool complete;  /* the body has come */
    struct error failed;    /* meanwhile */
    struct persist persist; /* of the commit */
};

static void destroy(struct archive *a)
{
    a->gateway->uploads--;
    for (size_t i = 0; i < a->count; i++) {
        upload_destroy(a->files[i].upload);
        buf_finish(&a->files[i].manifest.chunks);
    }
    persist_finish(&a->persist);
    free(a);
}

static void on_gone(struct pending *p)
{
    destroy((struct archive *)p); /* chunks that nobody commits expire */
}

static void refuse(struct archive *a, enum status st, const char *text)
{
    api_error(a->http, st == STATUS_CANCELLED ? STATUS_UNAVAILABLE : st, "%s", text);
    destroy(a);
}

/* ---- the commit --------------------------------------------------------------------------------- */

/* NULL: there is none of that name. */
static struct member *find(struct archive *a, const char *name)
{
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->files[i].name, name) == 0)
            return &a->files[i];
    return NULL;
}

static struct member *main_file(struct archive *a)
{
    if (a->main[0])
        return find(a, a->main);
    return a->count == 1 ? &a->files[0] : find(a, MAIN_FILE);
}

static void send_commit(void *arg)
{
    struct archive *a = arg;
    const struct member *first = main_file(a);
    struct msg_part parts[MAX_VERSION_FILES];
    size_t count = 0;
    for (size_t i = 0; i < a->count; i++) {
        const struct member *f = &a->files[i];
        if (f != first)
            parts[count++] = manifest_part(&f->manifest, f->name);
    }
    const struct upload_target *t = &a->target;
    const struct manifest *m = &first->manifest;
    struct msg_version_commit body = { .key = bytes_str(t->key),
                                       .model = bytes_str(t->name),
                                       .format = bytes_str(t->file),
                                       .digest = bytes_of(m->digest.byte, DIGEST_SIZE),
                                       .size_bytes = m->size_bytes,
                                       .chunks = buf_bytes(&m->chunks),
                                       .source = bytes_str("upload"),
                                       .tags = bytes_str(t->tags),
                                       .description = bytes_str(t->description),
                                       .process = bytes_str(t->who),
                                       .file = bytes_str(first->name),
                                       .parts = parts,
                                       .parts_count = count };
    persist_send(&a->persist, MSG_VERSION_COMMIT, &body);
}

static void on_committed(void *arg, const struct rpc_reply *reply)
{
    struct archive *a = arg;
    struct buf out = { 0 };
    if (reply->status) {
        refuse(a, reply->status, reply->text);
        return;
    }
    api_json(a->http, upload_answer_version(a->gateway, &a->target, reply, &out), &out);
    destroy(a);
}

static void commit(struct archive *a)
{
    const struct member *first = main_file(a);
    struct error err;
    if (!first) {
        error_set(&err, STATUS_INVALID,
                  "the archive has no file '%s'; ?name= says which is the model",
                  a->main[0] ? a->main : MAIN_FILE);
        refuse(a, err.status, err.text);
        return;
    }
    digest_hex(&first->manifest.digest, a->target.digest);
    a->target.size_bytes = first->manifest.size_bytes;
    persist_start(&a->persist, a->timeout_ms);
}

/* Goes on with what can go on.  The last thing that a caller does. */
static void step(struct archive *a)
{
    bool wait = a->blocked || a->ended;
    if (a->failed.status) {
        refuse(a, a->failed.status, a->failed.text);
    } else if (a->complete && !a->ended) {
        commit(a);
    } else if (wait && !a->paused) {
        a->paused = true;
        http_pause(a->http);
    } else if (!wait && a->paused) {
        a->paused = false;
        http_resume(a->http);
    }
}

/* ---- files -------------------------------------------------------------------------------------- */

static void on_drained(void *arg)
{
    const struct member *f = arg;
    struct archive *a = f->archive;
    if (f == &a->files[a->count - 1]) /* else the next one has begun already */
        a->blocked = false;
    if (!a->feeding)
        step(a);
}

static void on_stored(void *arg, const struct manifest *manifest, const struct error *err)
{
    struct member *f = arg;
    struct archive *a = f->archive;
    if (err) {
        a->failed = *err;
    } else {
        manifest_copy(&f->manifest, manifest);
        a->ended--;
    }
    if (!a->feeding)
        step(a);
}

static enum status check_file(struct archive *a, const char *name, uint64_t size, struct error *err)
{
    uint64_t limit = a->gateway->config->max_artifact_bytes;
    struct error why;
    if (name_check(bytes_str(name), "a name", &why))
        return error_set(err, STATUS_INVALID, "'%.200s' in the archive: %s", name, why.text);
    if (find(a, name))
        return error_set(err, STATUS_INVALID, "the archive has two files '%s'", name);
    if (a->count == MAX_VERSION_FILES)
        return error_set(err, STATUS_INVALID, "'%s' in the archive: a version has at most %d files",
                         name, MAX_VERSION_FILES);
    if (!size)
        return error_set(err, STATUS_INVALID, "'%s' in the archive is empty", name);
    if (size > limit)
        return error_set(err, STATUS_TOO_LARGE,
                         "'%s' in the archive has %llu bytes; at most %llu are allowed", name,
                         (unsigned long long)size, (unsigned long long)limit);
    if (size > VERSION_BYTES_MAX || a->bytes > VERSION_BYTES_MAX - size)
        return error_set(err, STATUS_TOO_LARGE,
                         "'%s' in the archive: all files together may have %llu bytes", name,
                         VERSION_BYTES_MAX);
    return STATUS_OK;
}

static enum status on_file(void *arg, const char *name, uint64_t size, struct error *err)
{
    static const struct upload_events events = { .drained = on_drained, .done = on_stored };
    struct archive *a = arg;
    struct gateway *g = a->gateway;
    if (check_file(a, name, size, err))
        return err->status;
    struct member *f = &a->files[a->count++];
    memcpy(f->name, name, strlen(name) + 1); /* a name: it fits */
    f->archive = a;
    f->upload = upload_create(g->loop, g->registry, g->config->max_artifact_bytes, &events, f);
    a->bytes += size;
    a->blocked = false;
    return STATUS_OK;
}

static enum status on_data(void *arg, struct bytes piece, struct error *err)
{
    struct archive *a = arg;
    struct member *f = &a->files[a->count - 1];
    if (piece.len) {
        a->blocked = !upload_write(f->upload, piece);
    } else {
        a->ended++;
        a->blocked = false;
        upload_end(f->upload);
    }
    return a->failed.status ? error_set(err, a->failed.status, "%s", a->failed.text) : STATUS_OK;
}

/* ---- the request -------------------------------------------------------------------------------- */

static void on_body(struct pending *pending, struct bytes piece)
{
    struct archive *a = (struct archive *)pending;
    struct error err;
    a->feeding = true;
    enum status st = tar_feed(&a->tar, piece, &err);
    a->feeding = false;
    if (st)
        refuse(a, st, err.text);
    else
        step(a);
}

static void on_complete(struct pending *p)
{
    struct archive *a = (struct archive *)p;
    a->complete = true;
    if (!tar_complete(&a->tar))
        refuse(a, STATUS_INVALID, "the archive is cut off: its end is missing");
    else if (!a->count)
        refuse(a, STATUS_INVALID, "the archive has no files");
    else
        step(a);
}

bool archive_is_sent(const struct call *c)
{
    const char *type = c->http->content_type;
    size_t len = strcspn(type, "; \t");
    return len == sizeof TAR_TYPE - 1 && strncasecmp(type, TAR_TYPE, len) == 0;
}

void archive_begin(struct call *c, const struct upload_target *target)
{
    static const struct tar_events events = { on_file, on_data };
    char name[MAX_NAME + 1] = "", key[MAX_NAME + 1] = "";
    uint64_t timeout_ms;
    if (api_query(c, "name", name, sizeof name) == STATUS_INVALID) {
        api_error(c->http, STATUS_INVALID, "?name= has more than %d bytes, or a NUL", MAX_NAME);
        return;
    }
    if (!upload_admit(c, UINT64_MAX, &timeout_ms, key))
        return;
    struct archive *a = mem_zalloc(sizeof *a);
    a->base = (struct pending){ .gone = on_gone, .body = on_body, .complete = on_complete };
    a->gateway = c->gateway;
    a->http = c->http;
    a->target = *target;
    memcpy(a->target.key, key, sizeof key);
    memcpy(a->main, name, sizeof name);
    a->timeout_ms = timeout_ms;
    tar_start(&a->tar, &events, a);
    persist_init(&a->persist, c->gateway, send_commit, on_committed, a);
    c->http->user = &a->base;
    c->http->stream = true;
}
