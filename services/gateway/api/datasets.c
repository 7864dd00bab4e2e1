/* datasets.c - /api/datasets: files for training, streamed into the artifact store. */
#include "common/msg/dataset.h"
#include "services/gateway/api/upload.h"

static void commit(struct body_upload *u, const struct manifest *manifest)
{
    const struct upload_target *t = upload_what(u);
    struct msg_file_commit body = { .dataset = bytes_str(t->name),
                                    .file = bytes_str(t->file),
                                    .digest = bytes_of(manifest->digest.byte, DIGEST_SIZE),
                                    .size_bytes = manifest->size_bytes,
                                    .chunks = buf_bytes(&manifest->chunks) };
    upload_send_commit(u, MSG_FILE_COMMIT, &body);
}

static int answer_upload(struct gateway *g, const struct upload_target *t,
                         const struct rpc_reply *reply, struct buf *out)
{
    (void)g;
    (void)reply;
    buf_append_str(out, "{");
    api_put_string(out, "dataset", bytes_str(t->name));
    buf_append_str(out, ",");
    api_put_string(out, "file", bytes_str(t->file));
    buf_printf(out, ",\"digest\":\"%s\",\"size\":%llu}", t->digest,
               (unsigned long long)t->size_bytes);
    return 201;
}

static void upload_file(struct call *c)
{
    struct upload_target target = { 0 };
    struct error err;
    if (name_check(c->params[0], "the dataset's name", &err) ||
        name_check(c->params[1], "the file's name", &err) ||
        bytes_copy_str(c->params[0], target.name, sizeof target.name) ||
        bytes_copy_str(c->params[1], target.file, sizeof target.file)) {
        api_error(c->http, err.status, "%s", err.text);
        return;
    }
    if (c->http->has_length && c->http->content_length == 0) {
        api_error(c->http, STATUS_INVALID, "the body is empty");
        return;
    }
    upload_begin(c, &target, commit, answer_upload);
}

static void put_file(struct buf *out, const struct msg_file *f)
{
    char hex[DIGEST_HEX_SIZE] = "";
    struct digest digest;
    if (f->digest.len == DIGEST_SIZE) {
        memcpy(digest.byte, f->digest.data, DIGEST_SIZE);
        digest_hex(&digest, hex);
    }
    buf_append_str(out, "{");
    api_put_string(out, "name", f->name);
    buf_printf(out, ",\"digest\":\"%s\",\"size\":%llu,", hex, (unsigned long long)f->size_bytes);
    api_put_time(out, "created", f->created_ms);
    buf_append_str(out, "}");
}

static void put_dataset(struct buf *out, const struct msg_dataset *d)
{
    struct digest digest;
    dataset_digest(d->files, d->files_count, &digest);
    buf_append_str(out, "{");
    api_put_string(out, "name", d->name);
    buf_append_str(out, ",");
    api_put_digest(out, bytes_of(digest.byte, DIGEST_SIZE));
    buf_append_str(out, ",\"files\":[");
    for (size_t i = 0; i < d->files_count; i++) {
        buf_append_str(out, i ? "," : "");
        put_file(out, &d->files[i]);
    }
    buf_append_str(out, "]}");
}

static int answer_list(struct gateway *g, struct http_request *r, const struct rpc_reply *reply,
                       struct buf *out)
{
    const struct msg_datasets *m = reply->body;
    (void)g;
    (void)r;
    buf_append_str(out, "{\"datasets\":[");
    for (size_t i = 0; i < m->datasets_count; i++) {
        buf_append_str(out, i ? "," : "");
        put_dataset(out, &m->datasets[i]);
    }
    buf_append_str(out, "]}");
    return 200;
}

static int answer_one(struct gateway *g, struct http_request *r, const struct rpc_reply *reply,
                      struct buf *out)
{
    const struct msg_datasets *m = reply->body;
    (void)g;
    (void)r;
    if (m->datasets_count)
        put_dataset(out, &m->datasets[0]);
    else
        buf_append_str(out, "{}");
    return 200;
}

static void list_datasets(struct call *c)
{
    api_ask(c, MSG_DATASET_LIST, NULL, answer_list);
}

static void get_dataset(struct call *c)
{
    struct msg_name body = { .name = c->params[0] };
    api_ask(c, MSG_DATASET_GET, &body, answer_one);
}

/* What is left of it; with its last file a data set is gone. */
static int answer_deleted(struct gateway *g, struct http_request *r, const struct rpc_reply *reply,
                          struct buf *out)
{
    const struct msg_datasets *m = reply->body;
    if (m->datasets_count)
        return answer_one(g, r, reply, out);
    buf_append_str(out, "{\"deleted\":true}");
    return 200;
}

static void delete_files(struct call *c)
{
    struct msg_file_ref body = { .dataset = c->params[0], .file = c->params[1] };
    struct error err;
    if (name_check(body.dataset, "the dataset's name", &err) ||
        (c->params[1].data && name_check(body.file, "the file's name", &err)))
        api_error(c->http, err.status, "%s", err.text);
    else
        api_ask(c, MSG_DATASET_DELETE, &body, answer_deleted);
}

/* ---- profiles ----------------------------------------------------------------------------------- */

static int answer_profile(struct gateway *g, struct http_request *r, const struct rpc_reply *reply,
                          struct buf *out)
{
    const struct msg_profile *p = reply->body;
    (void)g;
    (void)r;
    buf_append_str(out, "{");
    if (p->state == TRAINING_FAILED)
        api_put_string(out, "error", p->error);
    else
        buf_printf(out, "\"state\":\"%s\"", training_state_name(p->state));
    buf_append_str(out, ",");
    api_put_string(out, "dataset", p->dataset);
    buf_append_str(out, ",");
    api_put_string(out, "file", p->file);
    if (p->state == TRAINING_DONE) {
        buf_append_str(out, ",");
        api_put_json(out, "profile", p->json, "{}");
    }
    buf_append_str(out, "}");
    return p->state == TRAINING_DONE ? 200 : p->state == TRAINING_FAILED ? 422 : 202;
}

/* Made when it is asked for the first time: who asks again learns how far it is. */
static void get_profile(struct call *c)
{
    char file[MAX_NAME + 1] = "", target[MAX_NAME + 1] = "";
    struct error err;
    if (api_query(c, "file", file, sizeof file) == STATUS_INVALID ||
        api_query(c, "target", target, sizeof target) == STATUS_INVALID) {
        api_error(c->http, STATUS_INVALID, "\"file\" and \"target\" have at most %d bytes",
                  MAX_NAME);
        return;
    }
    struct msg_profile body = { .dataset = c->params[0],
                                .file = bytes_str(file),
                                .target = bytes_str(target) };
    if (name_check(body.dataset, "the dataset's name", &err))
        api_error(c->http, err.status, "%s", err.text);
    else
        api_ask(c, MSG_PROFILE_GET, &body, answer_profile);
}

const struct route datasets_routes[] = {
    { "GET", "/api/datasets", list_datasets, NULL },
    { "GET", "/api/datasets/{}", get_dataset, NULL },
    { "PUT", "/api/datasets/{}/files/{}", NULL, upload_file },
    { "DELETE", "/api/datasets/{}/files/{}", delete_files, NULL },
    { "DELETE", "/api/datasets/{}", delete_files, NULL },
    { "GET", "/api/datasets/{}/profile", get_profile, NULL },
    { 0 },
};
