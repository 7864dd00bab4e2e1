/* backup.c - records page by page, out of the registry and into an empty one: backup.lua. */
#include "services/registry/registry.h"

#include "common/base/log.h"
#include "services/registry/checks.h"
#include "services/registry/records.h"

#include <stdlib.h>

#define HOLD_MS 600000 /* a backup or restore of which nothing is heard for so long is over */

/* NULL: it has been answered. */
static struct request *open_named(void *arg, const struct rpc_request *from, struct bytes id,
                                  request_done_fn *done, struct fcall *call, const char *function)
{
    struct request *r = request_open(arg, from, id, done);
    struct error err;
    if (!r)
        return NULL;
    if (name_check(id, "the id", &err)) {
        request_refuse(r, &err);
        return NULL;
    }
    fcall_begin(call, function);
    fcall_add(call, id);
    return r;
}

/* ---- backup ------------------------------------------------------------------------------- */

void on_backup_begin(void *arg, const struct rpc_request *from)
{
    const struct msg_backup *m = from->body;
    struct fcall call;
    struct request *r = open_named(arg, from, m->id, answer_done, &call, "maas_backup_begin");
    if (!r)
        return;
    fcall_add_number(&call, HOLD_MS);
    request_ask(r, &call);
}

static void answer_page(struct request *r, const struct redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3) {
        request_fail_corrupt(r, "backup");
        return;
    }
    struct msg_backup m = { .id = bytes_str(r->subject),
                            .index = record_number(reply->element[0]),
                            .cursor = record_text(reply->element[1]) };
    struct bytes page = record_text(reply->element[2]);
    struct frame data;
    m.done = page.len == 0;
    frame_init_copy(&data, page);
    request_answer(r, MSG_BACKUP, &m, &data);
    frame_finish(&data);
}

void on_backup_read(void *arg, const struct rpc_request *from)
{
    const struct msg_backup *m = from->body;
    struct fcall call;
    struct request *r = open_named(arg, from, m->id, answer_page, &call, "maas_backup_read");
    if (!r)
        return;
    fcall_add_number(&call, m->index);
    fcall_add(&call, m->cursor.len ? m->cursor : bytes_str("0"));
    fcall_add_number(&call, HOLD_MS);
    request_ask(r, &call);
}

static void answer_chunks(struct request *r, const struct redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2) {
        request_fail_corrupt(r, "backup");
        return;
    }
    struct msg_backup m = { .id = bytes_str(r->subject),
                            .cursor = record_text(reply->element[0]),
                            .chunks = record_text(reply->element[1]) };
    m.done = bytes_equal_str(m.cursor, "0");
    request_answer(r, MSG_BACKUP, &m, NULL);
}

void on_backup_chunks(void *arg, const struct rpc_request *from)
{
    const struct msg_backup *m = from->body;
    struct fcall call;
    struct request *r = open_named(arg, from, m->id, answer_chunks, &call, "maas_backup_chunks");
    if (!r)
        return;
    fcall_add(&call, m->cursor.len ? m->cursor : bytes_str("0"));
    fcall_add_number(&call, HOLD_MS);
    request_ask(r, &call);
}

void on_backup_end(void *arg, const struct rpc_request *from)
{
    const struct msg_backup *m = from->body;
    struct fcall call;
    struct request *r = open_named(arg, from, m->id, answer_done, &call, "maas_backup_end");
    if (r)
        request_ask(r, &call);
}

/* ---- restore ------------------------------------------------------------------------------ */

void on_restore_begin(void *arg, const struct rpc_request *from)
{
    const struct msg_restore *m = from->body;
    struct fcall call;
    struct request *r = open_named(arg, from, m->id, answer_done, &call, "maas_restore_begin");
    if (!r)
        return;
    fcall_add_number(&call, HOLD_MS);
    request_ask(r, &call);
}

void on_restore_put(void *arg, const struct rpc_request *from)
{
    const struct msg_restore *m = from->body;
    struct fcall call;
    struct request *r = open_named(arg, from, m->id, answer_done, &call, "maas_restore_put");
    if (!r)
        return;
    fcall_add_number(&call, m->page);
    fcall_add(&call, from->attachment ? frame_bytes(from->attachment) : bytes_of(NULL, 0));
    fcall_add_number(&call, HOLD_MS);
    request_ask(r, &call);
}

/* Where the catalog is now that it has all of it. */
static void answer_restored(struct request *r, const struct redisReply *reply)
{
    const struct msg_catalog now = { .seq = record_number(reply),
                                     .history = redis_history(r->registry->redis) };
    request_answer(r, MSG_CATALOG, &now, NULL);
}

void on_restore_end(void *arg, const struct rpc_request *from)
{
    const struct msg_restore *m = from->body;
    struct fcall call;
    struct request *r = open_named(arg, from, m->id, answer_restored, &call, "maas_restore_end");
    if (!r)
        return;
    fcall_add_number(&call, m->page);
    fcall_add_number(&call, HOLD_MS);
    request_ask(r, &call);
}

void on_restore_drop(void *arg, const struct rpc_request *from)
{
    const struct msg_restore *m = from->body;
    struct fcall call;
    struct request *r = open_named(arg, from, m->id, answer_done, &call, "maas_restore_drop");
    if (r)
        request_ask(r, &call);
}
