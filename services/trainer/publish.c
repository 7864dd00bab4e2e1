/* publish.c - see publish.h. */
#include "services/trainer/publish.h"

#include "common/base/log.h"

#include <stdio.h>

#define CALL_MS    10000
#define MODEL_FILE "model.onnx"

static void upload_next(struct trainer *t);

/* ---- commit ------------------------------------------------------------------------------------ */

static void on_committed(void *arg, const struct rpc_reply *reply)
{
    struct trainer *t = arg;
    t->call = NULL;
    if (reply->status) {
        trainer_retry_or_fail(t, reply->status, reply->text);
        return;
    }
    log_info("model published", LOG_S("job", t->id), LOG_S("model", t->model),
             LOG_U("version", ((const struct msg_version *)reply->body)->number),
             LOG_F("seconds", t->run.seconds));
    trainer_go_idle(t);
}

/* The files besides the model. */
static size_t fill_parts(struct trainer *t, struct msg_part *parts)
{
    for (size_t i = 0; i < t->run.made_count; i++)
        parts[i] = manifest_part(&t->files[i + 1], t->run.made[i].name);
    return t->run.made_count;
}

static void send_commit(struct trainer *t)
{
    const struct manifest *model = &t->files[0];
    struct msg_part parts[RUN_MADE_MAX];
    char key[MAX_NAME + 32];
    struct buf lineage = { 0 };
    run_lineage(&t->run, t->id, &lineage);
    snprintf(key, sizeof key, "%.64s-%llu", t->id, (unsigned long long)t->lease);
    struct msg_version_commit body = { .key = bytes_str(key),
                                       .model = bytes_str(t->model),
                                       .format = bytes_str("onnx"),
                                       .digest = bytes_of(model->digest.byte, DIGEST_SIZE),
                                       .size_bytes = model->size_bytes,
                                       .chunks = buf_bytes(&model->chunks),
                                       .file = bytes_str(MODEL_FILE),
                                       .parts = parts,
                                       .parts_count = fill_parts(t, parts),
                                       .metrics = buf_bytes(&t->run.metrics),
                                       .lineage = buf_bytes(&lineage),
                                       .source = bytes_str("training"),
                                       .training = bytes_str(t->id),
                                       .lease = t->lease,
                                       .deploy = t->deploy };
    t->state = TRAINER_COMMITTING;
    t->call = rpc_call(t->registry, MSG_VERSION_COMMIT, &body, NULL, CALL_MS, on_committed, t);
    buf_finish(&lineage);
    if (!t->call)
        trainer_retry_or_fail(t, STATUS_BUSY, "the registry has too many calls open");
}

/* ---- upload ------------------------------------------------------------------------------------ */

static void on_uploaded(void *arg, const struct manifest *manifest, const struct error *err)
{
    struct trainer *t = arg;
    if (err) {
        trainer_retry_or_fail(t, err->status, err->text);
        return;
    }
    manifest_copy(&t->files[t->files_done++], manifest);
    if (t->files_done <= t->run.made_count)
        upload_next(t);
    else
        send_commit(t);
}

static void on_drained(void *arg)
{
    (void)arg; /* each file is written in one piece */
}

static void upload_next(struct trainer *t)
{
    static const struct upload_events events = { .drained = on_drained, .done = on_uploaded };
    const struct buf *file = t->files_done ? &t->run.made[t->files_done - 1].data : &t->run.onnx;
    upload_destroy(t->upload);
    t->upload = upload_create(t->loop, t->registry, t->config->max_artifact_bytes, &events, t);
    upload_write(t->upload, buf_bytes(file));
    if (t->upload) /* else that was too much for the store, and the job has failed */
        upload_end(t->upload);
}

void publish_start(struct trainer *t)
{
    publish_stop(t);
    t->state = TRAINER_UPLOADING;
    upload_next(t);
}

void publish_stop(struct trainer *t)
{
    upload_destroy(t->upload);
    t->upload = NULL;
    while (t->files_done)
        buf_finish(&t->files[--t->files_done].chunks);
}
