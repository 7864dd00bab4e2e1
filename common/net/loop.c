/* loop.c - the event loop, and the one place where sockets are drained.
 *
 * ZeroMQ's file descriptor is edge-like: any send may swallow the signal that a
 * message has come.  So poll callbacks only mark a socket and wake the loop.  The
 * prepare step takes one message per marked socket and pass until a pass is quiet
 * or the budget is spent, runs the service's turn function, and looks once more at
 * what was sent on; if anything is left, an idle handle makes the next poll return
 * at once.
 */
#include "common/net/loop.h"

#include "common/base/bytes.h"
#include "common/net/loop_sock.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <uv.h>

#define TURN_BUDGET 512 /* messages per turn; then HTTP and timers get their share */

struct post {
    loop_fn *fn;
    void *arg;
};

struct loop {
    uv_loop_t uv;
    uv_prepare_t prepare;
    uv_idle_t idle;   /* active: do not block in the next poll */
    uv_async_t async; /* wakes the loop for loop_post */
    uv_signal_t signals[2];
    struct drain *drains;
    bool walking; /* the list of drains must keep its shape */
    bool again;
    loop_fn *turn;
    void *turn_arg;
    loop_fn *stop;
    void *stop_arg;
    uv_mutex_t post_lock;
    struct post *posts; /* LOOP_POST_MAX, made with the first post; under post_lock */
    size_t post_count;  /* under post_lock */
    struct post *spare; /* takes the place of posts while those run */
};

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* its being active is all that matters */
}

static void sweep_dead(struct loop *l)
{
    for (struct drain **p = &l->drains; *p;) {
        if ((*p)->dead)
            *p = (*p)->next;
        else
            p = &(*p)->next;
    }
}

/* Returns false when the budget ran out first. */
static bool drain_all(struct loop *l)
{
    for (int budget = TURN_BUDGET; budget > 0;) {
        bool any = false;
        for (struct drain *d = l->drains; d; d = d->next) {
            if (d->dead || !d->wake)
                continue;
            if (d->take(d)) {
                any = true;
                budget--;
            } else {
                d->wake = false;
            }
        }
        if (!any)
            return true;
    }
    return false;
}

/* Sends of this turn may have swallowed a signal. */
static bool any_ready(struct loop *l)
{
    for (struct drain *d = l->drains; d; d = d->next)
        if (!d->dead && d->wake && d->ready(d))
            return true;
    return false;
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct loop *l = prepare->data;
    l->again = false;
    l->walking = true;
    bool quiet = drain_all(l);
    if (l->turn)
        l->turn(l->turn_arg);
    bool more = !quiet || any_ready(l) || l->again;
    l->walking = false;
    sweep_dead(l);
    if (more)
        uv_idle_start(&l->idle, on_idle);
    else
        uv_idle_stop(&l->idle);
}

/* Runs what waits now; what these post in turn has its turn in the next round. */
static void on_async(uv_async_t *async)
{
    struct loop *l = async->data;
    uv_mutex_lock(&l->post_lock);
    struct post *posts = l->posts;
    size_t count = l->post_count;
    l->posts = l->spare;
    l->post_count = 0;
    l->spare = NULL;
    uv_mutex_unlock(&l->post_lock);
    for (size_t i = 0; i < count; i++)
        posts[i].fn(posts[i].arg);
    l->spare = posts;
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct loop *l = handle->data;
    (void)signum;
    if (l->stop)
        l->stop(l->stop_arg);
}

struct loop *loop_create(void)
{
    struct loop *l = mem_zalloc(sizeof *l);
    signal(SIGPIPE, SIG_IGN);
    if (uv_loop_init(&l->uv) || uv_mutex_init(&l->post_lock) ||
        uv_prepare_init(&l->uv, &l->prepare) || uv_idle_init(&l->uv, &l->idle) ||
        uv_async_init(&l->uv, &l->async, on_async) || uv_signal_init(&l->uv, &l->signals[0]) ||
        uv_signal_init(&l->uv, &l->signals[1]))
        die("cannot start the event loop (too many open files?)");
    l->prepare.data = l->async.data = l->signals[0].data = l->signals[1].data = l;
    uv_prepare_start(&l->prepare, on_prepare);
    return l;
}

void loop_destroy(struct loop *l)
{
    if (!l)
        return;
    uv_close((uv_handle_t *)&l->prepare, NULL);
    uv_close((uv_handle_t *)&l->idle, NULL);
    uv_close((uv_handle_t *)&l->async, NULL);
    uv_close((uv_handle_t *)&l->signals[0], NULL);
    uv_close((uv_handle_t *)&l->signals[1], NULL);
    while (uv_run(&l->uv, UV_RUN_DEFAULT))
        ; /* close callbacks, and work that is still under way: it may say loop_stop */
    int left = uv_loop_close(&l->uv);
    assert(left == 0);
    uv_mutex_destroy(&l->post_lock);
    free(l->posts);
    free(l->spare);
    free(l);
}

void loop_run(struct loop *l)
{
    uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *l)
{
    uv_stop(&l->uv);
}

struct uv_loop_s *loop_uv(struct loop *l)
{
    return &l->uv;
}

uint64_t loop_now_ms(struct loop *l)
{
    return uv_now(&l->uv);
}

void loop_on_turn(struct loop *l, loop_fn *fn, void *arg)
{
    assert(!l->turn || !fn);
    l->turn = fn;
    l->turn_arg = arg;
}

void loop_again(struct loop *l)
{
    l->again = true;
    uv_idle_start(&l->idle, on_idle);
}

void loop_on_stop_signal(struct loop *l, loop_fn *fn, void *arg)
{
    l->stop = fn;
    l->stop_arg = arg;
    uv_signal_start(&l->signals[0], on_signal, SIGTERM);
    uv_signal_start(&l->signals[1], on_signal, SIGINT);
}

enum status loop_post(struct loop *l, loop_fn *fn, void *arg)
{
    enum status st = STATUS_BUSY;
    uv_mutex_lock(&l->post_lock);
    if (!l->posts)
        l->posts = mem_alloc(LOOP_POST_MAX * sizeof *l->posts);
    if (l->post_count < LOOP_POST_MAX) {
        l->posts[l->post_count++] = (struct post){ fn, arg };
        st = STATUS_OK;
    }
    uv_mutex_unlock(&l->post_lock);
    uv_async_send(&l->async);
    return st;
}

void loop_add_drain(struct loop *l, struct drain *d)
{
    d->next = l->drains;
    d->wake = true;
    l->drains = d;
}

void loop_remove_drain(struct loop *l, struct drain *d)
{
    d->dead = true;
    if (!l->walking)
        sweep_dead(l);
}

/* ---- work ------------------------------------------------------------------------------- */

struct work {
    uv_work_t uv;
    loop_fn *work;
    loop_fn *done;
    void *arg;
};

static void run_work(uv_work_t *uv)
{
    struct work *w = uv->data;
    w->work(w->arg);
}

static void work_done(uv_work_t *uv, int status)
{
    struct work *w = uv->data;
    (void)status; /* nothing is cancelled */
    if (w->done)
        w->done(w->arg);
    free(w);
}

void loop_work(struct loop *l, loop_fn *work, loop_fn *done, void *arg)
{
    struct work *w = mem_alloc(sizeof *w);
    *w = (struct work){ .work = work, .done = done, .arg = arg };
    w->uv.data = w;
    if (uv_queue_work(&l->uv, &w->uv, run_work, work_done))
        die("cannot queue work"); /* only fails without a work function */
}

/* ---- timers ----------------------------------------------------------------------------- */

struct loop_timer {
    uv_timer_t uv;
    loop_fn *fn;
    void *arg;
};

static void on_timer(uv_timer_t *uv)
{
    struct loop_timer *t = uv->data;
    t->fn(t->arg);
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

struct loop_timer *loop_timer_create(struct loop *l, loop_fn *fn, void *arg)
{
    struct loop_timer *t = mem_zalloc(sizeof *t);
    t->fn = fn;
    t->arg = arg;
    t->uv.data = t;
    uv_timer_init(&l->uv, &t->uv);
    return t;
}

void loop_timer_start(struct loop_timer *t, uint64_t delay_ms, uint64_t repeat_ms)
{
    uv_update_time(t->uv.loop); /* a long handler must not shorten the delay */
    uv_timer_start(&t->uv, on_timer, delay_ms, repeat_ms);
}

bool loop_timer_active(const struct loop_timer *t)
{
    return uv_is_active((const uv_handle_t *)&t->uv);
}

void loop_timer_stop(struct loop_timer *t)
{
    uv_timer_stop(&t->uv);
}

void loop_timer_destroy(struct loop_timer *t)
{
    if (t)
        uv_close((uv_handle_t *)&t->uv, on_timer_closed);
}
