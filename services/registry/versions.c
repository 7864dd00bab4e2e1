/* versions.c - versions: snapshots, commits, checks. */
#include "services/registry/registry.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "services/registry/checks.h"
#include "services/registry/records.h"

#include <inttypes.h>

#define PAGE_BYTES (512u << 10) /* of records in a page of a snapshot; one more fits its envelope */

void on_ping(void *arg, const struct rpc_request *from)
{
    struct request *r = request_open(arg, from, bytes_str(""), answer_done);
    struct fcall call = { .argv = { bytes_str("PING") }, .argc = 1 };
    if (r)
        request_ask(r, &call);
}

/* ---- snapshot ----------------------------------------------------------------------------- */

static void answer_snapshot(struct request *r, const struct redisReply *reply)
{
    struct records records = { 0 };
    struct msg_catalog catalog;
    if (record_catalog(&records, reply, &catalog)) {
        request_fail_corrupt(r, "version");
    } else {
        catalog.history = redis_history(r->registry->redis);
        request_answer(r, MSG_CATALOG, &catalog, NULL);
    }
    records_finish(&records);
}

void on_snapshot(void *arg, const struct rpc_request *from)
{
    struct request *r = request_open(arg, from, bytes_str(""), answer_snapshot);
    struct fcall call;
    if (!r)
        return;
    const struct msg_snapshot *m = from->body;
    fcall_begin(&call, "maas_snapshot");
    fcall_add(&call, m->after);
    fcall_add_number(&call, m->after_version);
    fcall_add_number(&call, MAX_PAGE);
    fcall_add_number(&call, PAGE_BYTES);
    request_ask(r, &call);
}

/* ---- commit ------------------------------------------------------------------------------- */

static void answer_commit(struct request *r, const struct redisReply *reply)
{
    struct records records = { 0 };
    struct msg_version version;
    if (record_version(&records, reply, &version)) {
        request_fail_corrupt(r, "version");
    } else {
        log_info("version registered", LOG_B("model", version.model),
                 LOG_U("version", version.number), LOG_B("source", version.source),
                 LOG_U("bytes", version.size_bytes));
        request_answer(r, MSG_VERSION, &version, NULL);
    }
    records_finish(&records);
}

static enum status check_commit(const struct msg_version_commit *m, struct error *err)
{
    enum status st = name_check(m->model, "the model's name", err);
    if (!st)
        st = name_check(m->format, "the format", err);
    if (!st)
        st = check_artifact(m->digest, m->size_bytes, m->chunks, err);
    if (!st)
        st = check_json_object(m->metrics, "metrics", err);
    if (!st)
        st = check_json_object(m->lineage, "lineage", err);
    if (!st)
        st = check_json_object(m->tags, "tags", err);
    if (!st)
        st = check_text(m->description, "the description", err);
    if (!st)
        st = check_who(m->process, err);
    if (!st && m->training.len)
        st = name_check(m->training, "the training job's id", err);
    if (!st)
        st = check_parts(m, err);
    return st;
}

/* What artifacts.lua wants to know of the other files: size (8 bytes), length of chunks (4),
 * digest, chunks. */
static void pack_parts(const struct msg_version_commit *m, struct buf *out)
{
    for (size_t i = 0; i < m->parts_count; i++) {
        const struct msg_part *p = &m->parts[i];
        unsigned char head[12];
        for (int k = 0; k < 8; k++)
            head[k] = (unsigned char)(p->size_bytes >> (56 - 8 * k));
        for (int k = 0; k < 4; k++)
            head[8 + k] = (unsigned char)(p->chunks.len >> (24 - 8 * k));
        buf_append(out, head, sizeof head);
        buf_append_bytes(out, p->digest);
        buf_append_bytes(out, p->chunks);
    }
}

static void pack_uploads(const struct msg_version_commit *m, struct buf *out)
{
    for (size_t i = 0; i < m->uploads_count; i++) {
        buf_append_str(out, i ? " " : "");
        buf_append_bytes(out, m->uploads[i].name);
    }
}

static size_t list_files(const struct msg_version_commit *m,
                         struct msg_file files[MAX_VERSION_FILES])
{
    size_t n = 0;
    if (!m->file.len)
        return 0;
    files[n++] = (struct msg_file){ m->file, m->digest, m->size_bytes, 0 };
    for (size_t i = 0; i < m->parts_count; i++)
        files[n++] =
            (struct msg_file){ m->parts[i].name, m->parts[i].digest, m->parts[i].size_bytes, 0 };
    return n;
}

static void pack_version(const struct msg_version_commit *m, struct buf *out)
{
    struct msg_file files[MAX_VERSION_FILES];
    struct msg_version record = {
        .files = files,
        .files_count = list_files(m, files),
        .format = m->format,
        .digest = m->digest,
        .size_bytes = m->size_bytes,
        .metrics = m->metrics,
        .lineage = m->lineage,
        .source = m->source,
        .created_ms = clock_wall_ms(),
    };
    msg_pack(out, &schema_version, &record);
}

/* What the history tells of the artifact: members of a JSON object. */
static void tell_version(const struct msg_version_commit *m, struct buf *out)
{
    char hex[DIGEST_HEX_SIZE];
    struct digest digest;
    memcpy(digest.byte, m->digest.data, DIGEST_SIZE);
    digest_hex(&digest, hex);
    buf_printf(out, "\"format\":\"%.*s\",\"digest\":\"%s\",\"size\":%" PRIu64, (int)m->format.len,
               (const char *)m->format.data, hex, m->size_bytes);
}

static struct bytes who_commits(const struct msg_version_commit *m)
{
    return m->process.len ? m->process : m->training.len ? m->training : m->source;
}

void on_version_commit(void *arg, const struct rpc_request *from)
{
    const struct msg_version_commit *m = from->body;
    struct request *r = request_open(arg, from, m->model, answer_commit);
    struct error err;
    struct buf record = { 0 }, told = { 0 }, parts = { 0 }, uploads = { 0 };
    struct fcall call;
    if (!r)
        return;
    if (check_commit(m, &err)) {
        request_refuse(r, &err);
        return;
    }
    pack_version(m, &record);
    pack_parts(m, &parts);
    pack_uploads(m, &uploads);
    tell_version(m, &told);
    fcall_begin(&call, "maas_version_commit");
    fcall_add(&call, m->key);
    fcall_add(&call, m->model);
    fcall_add(&call, m->digest);
    fcall_add_number(&call, m->size_bytes);
    fcall_add(&call, m->chunks);
    fcall_add(&call, buf_bytes(&record));
    fcall_add_str(&call, m->deploy ? "1" : "0");
    fcall_add(&call, m->training);
    fcall_add_number(&call, m->lease);
    fcall_add(&call, m->metrics);
    fcall_add(&call, who_commits(m));
    fcall_add(&call, m->tags);
    fcall_add(&call, m->description);
    fcall_add(&call, buf_bytes(&told));
    fcall_add(&call, buf_bytes(&parts));
    fcall_add(&call, buf_bytes(&uploads));
    request_ask(r, &call);
    buf_finish(&record);
    buf_finish(&told);
    buf_finish(&parts);
    buf_finish(&uploads);
}

/* ---- check -------------------------------------------------------------------------------- */

void answer_version(struct request *r, const struct redisReply *reply)
{
    struct records records = { 0 };
    struct msg_version version;
    if (record_version(&records, reply, &version))
        request_fail_corrupt(r, "version");
    else
        request_answer(r, MSG_VERSION, &version, NULL);
    records_finish(&records);
}

void on_check_claim(void *arg, const struct rpc_request *from)
{
    const struct msg_check_claim *m = from->body;
    struct request *r = request_open(arg, from, bytes_str(""), answer_version);
    struct error err;
    struct fcall call;
    if (!r)
        return;
    if (name_check(m->name, "the worker's name", &err)) {
        request_refuse(r, &err);
        return;
    }
    fcall_begin(&call, "maas_check_claim");
    fcall_add(&call, m->name);
    fcall_add_number(&call, m->number);
    request_ask(r, &call);
}

static void log_checked(const struct msg_version *v)
{
    if (v->check == CHECK_PASSED)
        log_info("version passed its check", LOG_B("model", v->model), LOG_U("version", v->number));
    else
        log_warn("version failed its check", LOG_B("model", v->model), LOG_U("version", v->number),
                 LOG_B("reason", v->reason));
}

static void answer_checked(struct request *r, const struct redisReply *reply)
{
    struct records records = { 0 };
    struct msg_version version;
    if (!record_version(&records, reply, &version)) /* else: another worker was first */
        log_checked(&version);
    answer_done(r, reply);
    records_finish(&records);
}

void on_version_checked(void *arg, const struct rpc_request *from)
{
    struct msg_version_checked said = *(const struct msg_version_checked *)from->body, *m = &said;
    char reason[MAX_REASON + 1];
    struct request *r = request_open(arg, from, m->model, answer_checked);
    struct error err;
    struct buf checked = { 0 };
    struct fcall call;
    if (!r)
        return;
    enum status st = name_check(m->model, "the model's name", &err);
    if (!st)
        st = check_who(m->process, &err);
    if (!st && m->check != CHECK_PASSED && m->check != CHECK_FAILED)
        st = error_set(&err, STATUS_INVALID, "a check has passed or failed; %u is neither",
                       m->check);
    if (st) {
        request_refuse(r, &err);
        return;
    }
    m->reason = check_readable(m->reason, reason);
    msg_pack(&checked, &schema_version_checked, m);
    fcall_begin(&call, "maas_version_checked");
    fcall_add(&call, m->model);
    fcall_add_number(&call, m->version);
    fcall_add_number(&call, m->check);
    fcall_add(&call, buf_bytes(&checked));
    fcall_add(&call, m->process);
    fcall_add(&call, m->reason);
    request_ask(r, &call);
    buf_finish(&checked);
}
