/* progress.c - what a run says while it goes on: how far it is, each epoch, and the state from which
 * another could go on.  Called by the learner on the run's thread; the owner looks under the lock.
 */
#include "services/trainer/json.h"
#include "services/trainer/run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <yyjson.h>

static bool go_on(void *arg, double fraction)
{
    struct run *r = arg;
    uv_mutex_lock(&r->lock);
    r->progress.fraction = fraction;
    uv_mutex_unlock(&r->lock);
    return !atomic_load(&r->cancel);
}

static void add_epoch(struct run_progress *p, const struct epoch *e)
{
    p->last = *e;
    if (p->history_count < RUN_HISTORY_MAX)
        p->history[p->history_count++] = *e;
}

static void on_epoch(void *arg, const struct epoch *e)
{
    struct run *r = arg;
    uv_mutex_lock(&r->lock);
    add_epoch(&r->progress, e);
    uv_mutex_unlock(&r->lock);
}

/* Only the newest counts: the owner takes it when it has time. */
static void on_checkpoint(void *arg, struct bytes state)
{
    struct run *r = arg;
    uv_mutex_lock(&r->lock);
    r->state.len = 0;
    buf_append_bytes(&r->state, state);
    r->state_progress = r->progress;
    uv_mutex_unlock(&r->lock);
}

const struct learner_events run_events = { go_on, on_epoch, on_checkpoint };

/* ---- history ------------------------------------------------------------------------------------ */

void run_history(const struct run_progress *p, struct buf *out)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *list = yyjson_mut_arr(doc);
    yyjson_mut_doc_set_root(doc, list);
    for (size_t i = 0; i < p->history_count; i++) {
        const struct epoch *e = &p->history[i];
        yyjson_mut_val *line = yyjson_mut_arr_add_obj(doc, list);
        yyjson_mut_obj_add_uint(doc, line, "epoch", e->number);
        yyjson_mut_obj_add_val(doc, line, "train_loss", json_rounded(doc, e->train_loss));
        yyjson_mut_obj_add_val(doc, line, "validation_loss", json_rounded(doc, e->validation_loss));
        yyjson_mut_obj_add_val(doc, line, "validation_accuracy",
                               json_rounded(doc, e->validation_accuracy));
    }
    json_append(doc, out);
}

/* What run_history has written; null: a number that was not finite. */
static double number(yyjson_val *line, const char *name)
{
    yyjson_val *v = yyjson_obj_get(line, name);
    return yyjson_is_num(v) ? yyjson_get_num(v) : (double)NAN;
}

void run_take_history(struct run *r, struct bytes json)
{
    yyjson_doc *doc = json.len ? yyjson_read(json.data, json.len, 0) : NULL;
    yyjson_val *line;
    size_t i, max;
    yyjson_arr_foreach(yyjson_doc_get_root(doc), i, max, line)
    {
        const struct epoch e = { (uint32_t)yyjson_get_uint(yyjson_obj_get(line, "epoch")),
                                 number(line, "train_loss"), number(line, "validation_loss"),
                                 number(line, "validation_accuracy") };
        add_epoch(&r->progress, &e);
    }
    yyjson_doc_free(doc);
}

/* ---- going on from a checkpoint ----------------------------------------------------------------- */

static enum status read_file(const char *path, struct buf *out)
{
    char block[65536];
    size_t n;
    FILE *file = fopen(path, "rbe");
    if (!file)
        return STATUS_IO;
    do {
        n = fread(block, 1, sizeof block, file);
        buf_append(out, block, n);
    } while (n == sizeof block);
    bool failed = ferror(file);
    fclose(file);
    return failed ? STATUS_IO : STATUS_OK;
}

void run_drop_resume(struct run *r, const char *why)
{
    snprintf(r->refused, sizeof r->refused, "%s", why);
    buf_finish(&r->resume);
    uv_mutex_lock(&r->lock);
    r->progress = (struct run_progress){ .epochs = r->progress.epochs };
    uv_mutex_unlock(&r->lock);
}

void run_read_resume(struct run *r)
{
    struct digest is;
    if (!r->resume_path)
        return;
    buf_finish(&r->resume);
    if (read_file(r->resume_path, &r->resume)) {
        run_drop_resume(r, "its file cannot be read");
    } else {
        digest_of(buf_bytes(&r->resume), &is);
        if (!digest_equal(&is, &r->resume_digest))
            run_drop_resume(r, "its file was damaged in the cache");
    }
    unlink(r->resume_path); /* nobody will want it again: there will be a newer one */
}
