/* event_text.c - a training job's record as server-sent events.  Pure; see training.h.
 *
 * An epoch's id is its number: a client that comes back with the last one (Last-Event-ID) misses
 * nothing, and a job that was begun anew, which repeats its epochs exactly, is not told twice.
 */
#include "services/gateway/api/training.h"

#include <math.h>
#include <stdlib.h>

#define SETTLED_MS 2000 /* of progress that was seen: from then on it says how fast the job is */

/* JSON has line ends only between its parts, and an event ends with one. */
static void put_data(struct buf *out, struct bytes json)
{
    const char *p = json.data;
    buf_append_str(out, "data: ");
    for (size_t i = 0; i < json.len; i++) {
        bool ends = p[i] == '\n' || p[i] == '\r';
        buf_append(out, ends ? " " : p + i, 1);
    }
    buf_append_str(out, "\n\n");
}

static void put_epoch(struct buf *out, struct event_mark *mark, uint64_t number, struct bytes json)
{
    buf_printf(out, "id: %llu\nevent: epoch\n", (unsigned long long)number);
    put_data(out, json);
    mark->epoch = number;
}

static void put_number(struct buf *out, const char *name, double value)
{
    if (isfinite(value))
        buf_printf(out, ",\"%s\":%.9g", name, value);
    else
        buf_printf(out, ",\"%s\":null", name);
}

/* A history has a bound: of later epochs the record has the present one alone. */
static void put_present(struct buf *out, struct event_mark *mark, const struct msg_training *t)
{
    struct buf json = { 0 };
    buf_printf(&json, "{\"epoch\":%u", t->epoch);
    put_number(&json, "train_loss", t->train_loss);
    put_number(&json, "validation_loss", t->validation_loss);
    put_number(&json, "validation_accuracy", t->validation_accuracy);
    buf_append_str(&json, "}");
    put_epoch(out, mark, t->epoch, buf_bytes(&json));
    buf_finish(&json);
}

static void put_epochs(struct buf *out, struct event_mark *mark, const struct msg_training *t)
{
    yyjson_doc *doc = t->history.len ? yyjson_read(t->history.data, t->history.len, 0) : NULL;
    yyjson_val *line;
    size_t i, max;
    yyjson_arr_foreach(yyjson_doc_get_root(doc), i, max, line)
    {
        uint64_t number = yyjson_get_uint(yyjson_obj_get(line, "epoch"));
        size_t len = 0;
        char *text = number > mark->epoch ? yyjson_val_write(line, 0, &len) : NULL;
        if (text)
            put_epoch(out, mark, number, bytes_of(text, len));
        free(text);
    }
    yyjson_doc_free(doc);
    if (t->epoch > mark->epoch)
        put_present(out, mark, t);
}

/* Seconds, at the pace of what was seen; NAN: nobody knows. */
static double time_left(const struct event_mark *mark, const struct msg_training *t,
                        uint64_t wall_ms)
{
    uint64_t from = mark->since_ms;
    double done = t->progress - mark->since;
    if (t->state != TRAINING_RUNNING)
        return NAN;
    if (wall_ms < from + SETTLED_MS || done <= 0) { /* since its begin, then */
        from = t->started_ms;
        done = t->progress;
    }
    if (done <= 0 || wall_ms <= from)
        return NAN;
    return (double)(wall_ms - from) / 1000 * (1 - t->progress) / done;
}

static void put_progress(struct buf *out, struct event_mark *mark, const struct msg_training *t,
                         uint64_t wall_ms)
{
    struct buf json = { 0 };
    if (mark->moved && mark->state == t->state && mark->shown_epoch == t->epoch &&
        mark->epochs == t->epochs && mark->attempts == t->attempts &&
        fabs(mark->progress - t->progress) < 1e-9)
        return;
    if (!mark->moved || mark->attempts != t->attempts || mark->state != t->state) {
        mark->since_ms = wall_ms;
        mark->since = t->progress;
    }
    mark->moved = true;
    mark->state = t->state;
    mark->shown_epoch = t->epoch;
    mark->epochs = t->epochs;
    mark->attempts = t->attempts;
    mark->progress = t->progress;
    buf_printf(&json, "{\"state\":\"%s\",\"epoch\":%u,\"epochs\":%u,\"attempts\":%u",
               training_state_name(t->state), t->epoch, t->epochs, t->attempts);
    put_number(&json, "progress", t->progress);
    put_number(&json, "seconds_left", round(time_left(mark, t, wall_ms) * 10) / 10);
    buf_append_str(&json, "}");
    buf_append_str(out, "event: progress\n");
    put_data(out, buf_bytes(&json));
    buf_finish(&json);
}

bool event_text(struct buf *out, struct event_mark *mark, const struct msg_training *t,
                uint64_t wall_ms)
{
    struct buf json = { 0 };
    put_epochs(out, mark, t);
    if (t->state == TRAINING_QUEUED || t->state == TRAINING_RUNNING) {
        put_progress(out, mark, t, wall_ms);
        return false;
    }
    training_put(&json, t, true);
    buf_append_str(out, "event: end\n");
    put_data(out, buf_bytes(&json));
    buf_finish(&json);
    return true;
}
