/* backup.c - GET /api/backup: everything, as one tar archive, in constant memory.
 *
 * The registry copies its records in one step; their pages and the chunks that they need are read
 * one after the other, as fast as the client takes them.
 */
#include "services/gateway/api/backup.h"

#include "common/base/clock.h"
#include "common/net/reader.h"
#include "services/gateway/api/persist.h"
#include "services/gateway/tar.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

struct backup {
    struct pending base;
    struct gateway *gateway;
    struct http_request *http;
    struct persist persist; /* of the question that is open, if `asking` */
    bool asking;
    enum msg_kind question;
    rpc_reply_fn *answered;
    struct loop_timer *hold; /* a client may take its time, which the registry does not see */
    struct reader *reader;
    char id[BACKUP_ID_SIZE];
    uint64_t index; /* of the next page */
    char cursor[MAX_NAME + 1];
    uint64_t pages;
    struct buf digests;             /* of the chunks that are being read */
    size_t digest;                  /* the next one */
    bool last;                      /* there are no more chunks behind them */
    bool blocked;                   /* the client has to take what is there */
    void (*next)(struct backup *b); /* when there is room */
};

static void ask_page(struct backup *b);
static void ask_chunks(struct backup *b);

void backup_make_id(char out[BACKUP_ID_SIZE])
{
    uint64_t random[2] = { clock_us(), clock_wall_ms() };
    if (getrandom(random, sizeof random, 0) != sizeof random)
        random[0] ^= random[1] << 20;
    snprintf(out, BACKUP_ID_SIZE, "b%016llx%016llx", (unsigned long long)random[0],
             (unsigned long long)random[1]);
}

/* Nothing is held up any more; if this does not arrive, the registry's own time ends it. */
static void on_ended(void *arg, const struct rpc_reply *reply)
{
    (void)arg;
    (void)reply;
}

static void destroy(struct backup *b)
{
    struct msg_backup m = { .id = bytes_str(b->id) };
    persist_finish(&b->persist);
    loop_timer_destroy(b->hold);
    reader_destroy(b->reader);
    struct rpc_call *end =
        rpc_call(b->gateway->registry, MSG_BACKUP_END, &m, NULL, RPC_TIMEOUT_MS, on_ended, NULL);
    (void)end;
    b->gateway->backups--;
    buf_finish(&b->digests);
    free(b);
}

/* A page behind the last: it has nothing, but to ask for it renews the registry's time. */
static void hold(void *arg)
{
    struct backup *b = arg;
    struct msg_backup m = { .id = bytes_str(b->id), .index = UINT32_MAX };
    struct rpc_call *call =
        rpc_call(b->gateway->registry, MSG_BACKUP_READ, &m, NULL, RPC_TIMEOUT_MS, on_ended, NULL);
    (void)call; /* the next one comes */
}

static void on_gone(struct pending *p)
{
    destroy((struct backup *)p);
}

static void break_off(struct backup *b, enum status st, const char *text)
{
    struct error err;
    error_set(&err, st == STATUS_CANCELLED ? STATUS_UNAVAILABLE : st, "%s", text);
    api_stream_abort(b->http, &err);
    destroy(b);
}

/* ---- writing ------------------------------------------------------------------------------------ */

static void write_bytes(struct backup *b, const void *data, size_t len)
{
    struct frame f;
    if (!len)
        return;
    frame_init_copy(&f, bytes_of(data, len));
    b->blocked = !api_stream_write(b->http, &f) || b->blocked;
}

/* Takes the data. */
static void write_file(struct backup *b, const char *name, struct frame *data)
{
    static const unsigned char zeros[TAR_BLOCK];
    unsigned char block[TAR_BLOCK];
    size_t len = frame_bytes(data).len;
    tar_header(block, name, len);
    write_bytes(b, block, sizeof block);
    b->blocked = !api_stream_write(b->http, data) || b->blocked;
    write_bytes(b, zeros, tar_padding(len));
}

static void write_text(struct backup *b, const char *name, const char *text)
{
    struct frame f;
    frame_init_copy(&f, bytes_str(text));
    write_file(b, name, &f);
}

static void go_on(struct backup *b)
{
    if (!b->blocked)
        b->next(b);
}

static void on_drained(struct pending *p)
{
    struct backup *b = (struct backup *)p;
    b->blocked = false;
    if (b->reader)
        reader_resume(b->reader);
    else if (!b->asking)
        b->next(b);
}

/* ---- chunks ------------------------------------------------------------------------------------- */

static void finish(struct backup *b)
{
    static const unsigned char zeros[2 * TAR_BLOCK];
    char text[32];
    snprintf(text, sizeof text, "%llu\n", (unsigned long long)b->pages);
    write_text(b, BACKUP_END, text);
    write_bytes(b, zeros, sizeof zeros);
    api_stream_end(b->http);
    destroy(b);
}

static void on_piece(void *arg, struct frame *data)
{
    struct backup *b = arg;
    char name[TAR_NAME_MAX], hex[DIGEST_HEX_SIZE];
    struct digest digest;
    struct frame f;
    memcpy(digest.byte, b->digests.data + b->digest++ * DIGEST_SIZE, DIGEST_SIZE);
    digest_hex(&digest, hex);
    snprintf(name, sizeof name, BACKUP_CHUNK "%s", hex);
    frame_init_empty(&f);
    frame_move(&f, data);
    write_file(b, name, &f);
    if (b->blocked)
        reader_pause(b->reader);
}

static void on_read(void *arg, const struct error *err)
{
    struct backup *b = arg;
    if (err) {
        break_off(b, err->status, err->text);
        return;
    }
    reader_destroy(b->reader);
    b->reader = NULL;
    b->next = b->last ? finish : ask_chunks;
    go_on(b);
}

static void read_chunks(struct backup *b)
{
    static const struct reader_events events = { on_piece, on_read };
    struct buf spans = { 0 };
    for (size_t at = 0; at + DIGEST_SIZE <= b->digests.len; at += DIGEST_SIZE) {
        struct span s = { .skip = 0 };
        memcpy(s.digest.byte, b->digests.data + at, DIGEST_SIZE);
        buf_append(&spans, &s, sizeof s);
    }
    b->digest = 0;
    b->reader = reader_create(b->gateway->loop, b->gateway->registry, &spans, &events, b);
}

static void on_chunks(void *arg, const struct rpc_reply *reply)
{
    struct backup *b = arg;
    const struct msg_backup *m = reply->body;
    if (reply->status || bytes_copy_str(m->cursor, b->cursor, sizeof b->cursor)) {
        break_off(b, reply->status ? reply->status : STATUS_CORRUPT, reply->text);
        return;
    }
    b->last = m->done;
    b->digests.len = 0;
    buf_append_bytes(&b->digests, m->chunks);
    read_chunks(b);
}

static void send_question(void *arg)
{
    struct backup *b = arg;
    struct msg_backup m = { .id = bytes_str(b->id),
                            .index = b->index,
                            .cursor = bytes_str(b->cursor) };
    persist_send(&b->persist, b->question, &m);
}

static void on_decided(void *arg, const struct rpc_reply *reply)
{
    struct backup *b = arg;
    b->asking = false;
    b->answered(b, reply);
}

/* A registry that is unwell for a moment ends no backup.  The last thing that a caller does. */
static void ask(struct backup *b, enum msg_kind question, rpc_reply_fn *answered)
{
    b->asking = true;
    b->question = question;
    b->answered = answered;
    persist_start(&b->persist, PERSIST_TIMEOUT_MS);
}

static void ask_chunks(struct backup *b)
{
    ask(b, MSG_BACKUP_CHUNKS, on_chunks);
}

/* ---- records ------------------------------------------------------------------------------------ */

static void on_page(void *arg, const struct rpc_reply *reply)
{
    struct backup *b = arg;
    const struct msg_backup *m = reply->body;
    char name[TAR_NAME_MAX];
    struct frame data;
    if (reply->status || bytes_copy_str(m->cursor, b->cursor, sizeof b->cursor)) {
        break_off(b, reply->status ? reply->status : STATUS_CORRUPT, reply->text);
        return;
    }
    b->index = m->index;
    b->next = ask_page;
    if (m->done || !reply->attachment) {
        b->cursor[0] = 0;
        b->next = ask_chunks;
    } else {
        snprintf(name, sizeof name, BACKUP_RECORDS "%08llu", (unsigned long long)++b->pages);
        frame_init_empty(&data);
        frame_move(&data, reply->attachment);
        write_file(b, name, &data);
    }
    go_on(b);
}

static void ask_page(struct backup *b)
{
    ask(b, MSG_BACKUP_READ, on_page);
}

static void on_begun(void *arg, const struct rpc_reply *reply)
{
    struct backup *b = arg;
    if (reply->status) {
        api_error(b->http, reply->status == STATUS_CANCELLED ? STATUS_UNAVAILABLE : reply->status,
                  "%s", reply->text);
        destroy(b);
        return;
    }
    api_add_header(b->http, "content-disposition", "attachment; filename=\"maas-backup.tar\"");
    if (!api_stream_begin(b->http, 200, "application/x-tar", HTTP_LENGTH_UNKNOWN)) {
        destroy(b);
        return;
    }
    write_text(b, BACKUP_HEAD, BACKUP_FORMAT);
    b->next = ask_page;
    go_on(b);
}

static void get_backup(struct call *c)
{
    if (c->gateway->backups) {
        api_error(c->http, STATUS_UNAVAILABLE, "another backup or restore is under way; try again");
        return;
    }
    struct backup *b = mem_zalloc(sizeof *b);
    b->base = (struct pending){ .gone = on_gone, .drained = on_drained };
    b->gateway = c->gateway;
    b->http = c->http;
    b->hold = loop_timer_create(b->gateway->loop, hold, b);
    loop_timer_start(b->hold, BACKUP_HOLD_MS, BACKUP_HOLD_MS);
    b->gateway->backups++;
    backup_make_id(b->id);
    persist_init(&b->persist, c->gateway, send_question, on_decided, b);
    c->http->user = &b->base;
    ask(b, MSG_BACKUP_BEGIN, on_begun);
}

const struct route backup_routes[] = {
    { "GET", "/api/backup", get_backup, NULL },
    { "POST", "/api/restore", NULL, backup_restore },
    { 0 },
};
