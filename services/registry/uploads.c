/* uploads.c - artifacts that come in pieces, in any order: what there is of each.  The pieces
 * themselves are chunks (artifacts.c). */
#include "services/registry/registry.h"

#include "common/base/log.h"
#include "services/registry/checks.h"
#include "services/registry/records.h"

#include <stdlib.h>

#define PIECE_SIZE (4 + 4 + DIGEST_SIZE) /* artifacts.lua */

static void answer_begun(struct request *r, const struct redisReply *reply)
{
    struct msg_upload m = { .id = bytes_str(r->subject) };
    (void)reply;
    request_answer(r, MSG_UPLOAD, &m, NULL);
}

void on_upload_begin(void *arg, const struct rpc_request *from)
{
    const struct msg_upload *m = from->body;
    struct request *r = request_open(arg, from, m->id, answer_begun);
    struct error err;
    struct fcall call;
    if (!r)
        return;
    enum status st = name_check(m->id, "the upload's id", &err);
    if (!st && m->size_bytes)
        st = check_size(m->size_bytes, &err);
    if (st) {
        request_refuse(r, &err);
        return;
    }
    fcall_begin(&call, "maas_upload_begin");
    fcall_add(&call, m->id);
    fcall_add_number(&call, m->size_bytes);
    fcall_add_number(&call, r->registry->config->artifact_ttl_ms);
    request_ask(r, &call);
}

/* ---- what there is ------------------------------------------------------------------------ */

static uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Appends those of a slot.  false: they do not have the shape that artifacts.lua gives them. */
static bool add_pieces(struct buf *list, uint64_t slot, struct bytes packed)
{
    const unsigned char *p = packed.data;
    if (slot >= MAX_CHUNKS || packed.len % PIECE_SIZE ||
        packed.len > (size_t)MAX_SLOT_PIECES * PIECE_SIZE)
        return false;
    for (size_t at = 0; at < packed.len; at += PIECE_SIZE) {
        struct msg_piece piece = { .offset = slot * CHUNK_BYTES + big_endian(p + at),
                                   .length = big_endian(p + at + 4),
                                   .digest = bytes_of(p + at + 8, DIGEST_SIZE) };
        buf_append(list, &piece, sizeof piece);
    }
    return true;
}

static bool read_upload(const struct redisReply *reply, struct msg_upload *m, struct buf *list)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 6)
        return false;
    struct redisReply **e = reply->element;
    m->size_bytes = record_number(e[0]);
    m->created_ms = record_number(e[1]);
    m->left_ms = record_number(e[2]);
    m->place = record_text(e[3]);
    m->slots = (uint32_t)record_number(e[4]);
    bool ok = e[5]->type == REDIS_REPLY_ARRAY && e[5]->elements <= 2 * (size_t)UPLOAD_PAGE;
    for (size_t i = 0; ok && i + 1 < e[5]->elements; i += 2)
        ok = add_pieces(list, record_number(e[5]->element[i]), record_text(e[5]->element[i + 1]));
    m->pieces = (struct msg_piece *)list->data;
    m->pieces_count = list->len / sizeof *m->pieces;
    return ok;
}

static void answer_upload(struct request *r, const struct redisReply *reply)
{
    struct msg_upload m = { .id = bytes_str(r->subject) };
    struct buf list = { 0 };
    if (read_upload(reply, &m, &list))
        request_answer(r, MSG_UPLOAD, &m, NULL);
    else
        request_fail_corrupt(r, "upload");
    buf_finish(&list);
}

void on_upload_get(void *arg, const struct rpc_request *from)
{
    const struct msg_upload_ref *m = from->body;
    struct request *r = request_open(arg, from, m->id, answer_upload);
    struct error err;
    struct fcall call;
    if (!r)
        return;
    enum status st = name_check(m->id, "the upload's id", &err);
    if (!st && m->first >= MAX_CHUNKS)
        st = error_set(&err, STATUS_INVALID, "an upload has at most %u slots", MAX_CHUNKS);
    if (st) {
        request_refuse(r, &err);
        return;
    }
    fcall_begin(&call, "maas_upload_get");
    fcall_add(&call, m->id);
    fcall_add_number(&call, m->first);
    fcall_add_number(&call, UPLOAD_PAGE);
    fcall_add_number(&call, r->registry->config->artifact_ttl_ms);
    request_ask(r, &call);
}

void on_upload_drop(void *arg, const struct rpc_request *from)
{
    request_ask_named(arg, from, "maas_upload_drop", "the upload's id", answer_done);
}
