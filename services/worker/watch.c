/* watch.c - see watch.h.  Under the lock a run cannot end while it is being interrupted: so it is
 * never the next one that is hit. */
#include "services/worker/watch.h"

void watch_init(struct watch *w, const struct model *m)
{
    *w = (struct watch){ .model = m };
    if (uv_mutex_init(&w->lock))
        die("cannot make a lock");
}

void watch_finish(struct watch *w)
{
    uv_mutex_destroy(&w->lock);
}

void watch_begin(struct watch *w, uint64_t job, uint64_t now_ms, uint32_t timeout_ms)
{
    uv_mutex_lock(&w->lock);
    w->job = job;
    w->since_ms = now_ms;
    w->deadline_ms = timeout_ms ? now_ms + timeout_ms : 0;
    uv_mutex_unlock(&w->lock);
}

bool watch_end(struct watch *w)
{
    uv_mutex_lock(&w->lock);
    bool interrupted = w->interrupted_ms != 0;
    if (interrupted)
        model_interrupt(w->model, false);
    w->interrupted_ms = 0;
    w->job = 0;
    uv_mutex_unlock(&w->lock);
    return interrupted;
}

struct watch_state watch_look(struct watch *w, uint64_t now_ms)
{
    struct watch_state s = { .left_ms = UINT64_MAX };
    uv_mutex_lock(&w->lock);
    if (w->job) {
        s.job = w->job;
        s.busy_ms = now_ms > w->since_ms ? now_ms - w->since_ms : 0;
    }
    if (w->job && w->interrupted_ms) {
        s.stuck = now_ms - w->interrupted_ms >= STUCK_MS;
    } else if (w->job && w->deadline_ms) {
        s.left_ms = w->deadline_ms > now_ms ? w->deadline_ms - now_ms : 0;
        if (!s.left_ms) {
            w->interrupted_ms = now_ms;
            model_interrupt(w->model, true);
            s.left_ms = UINT64_MAX;
        }
    }
    uv_mutex_unlock(&w->lock);
    return s;
}
