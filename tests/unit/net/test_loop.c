/* test_loop.c - the event loop: posts, work, timers, turns and ends. */
#include "tests/unit/net/rig.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

struct counter {
    struct rig *rig;
    unsigned count;
    unsigned other;
};

static void count(void *arg)
{
    ((struct counter *)arg)->count++;
}

Test(loop, destroy_accepts_null)
{
    loop_destroy(NULL);
    loop_timer_destroy(NULL);
}

Test(loop, a_fresh_loop_ends_at_once)
{
    loop_destroy(loop_create());
}

Test(loop, stop_before_run_is_not_lost)
{
    struct loop *l = loop_create();
    loop_stop(l);
    loop_run(l);
    loop_destroy(l);
}

static void stop_loop(void *arg)
{
    loop_stop(arg);
}

Test(loop, runs_until_stopped_from_another_thread)
{
    struct loop *l = loop_create();
    cr_assert_eq(loop_post(l, stop_loop, l), STATUS_OK);
    loop_run(l);
    loop_destroy(l);
}

/* ---- posts ------------------------------------------------------------------------------ */

#define THREADS 4
#define POSTS   5000

static void *post_many(void *arg)
{
    struct counter *c = arg;
    for (unsigned i = 0; i < POSTS; i++)
        while (loop_post(c->rig->loop, count, c))
            sched_yield(); /* LOOP_POST_MAX wait already */
    return NULL;
}

Test(loop, posts_of_many_threads_all_run)
{
    struct rig r;
    struct counter c = { .rig = &r };
    pthread_t thread[THREADS];
    rig_init(&r);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, post_many, &c), 0);
    rig_wait(&r, c.count == THREADS * POSTS);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    rig_finish(&r);
}

Test(loop, posts_are_bounded)
{
    struct rig r;
    struct counter c = { 0 };
    rig_init(&r);
    for (int i = 0; i < LOOP_POST_MAX; i++)
        cr_assert_eq(loop_post(r.loop, count, &c), STATUS_OK);
    cr_assert_eq(loop_post(r.loop, count, &c), STATUS_BUSY);
    rig_wait(&r, c.count == LOOP_POST_MAX);
    cr_assert_eq(loop_post(r.loop, count, &c), STATUS_OK);
    rig_wait(&r, c.count == LOOP_POST_MAX + 1);
    rig_finish(&r);
}

static void post_again(void *arg)
{
    struct counter *c = arg;
    c->count++;
    cr_assert_eq(loop_post(c->rig->loop, post_again, c), STATUS_OK);
}

Test(loop, a_post_that_posts_again_leaves_room_for_the_rest)
{
    struct rig r;
    struct counter c = { .rig = &r }, timer = { 0 };
    struct loop_timer *t;
    rig_init(&r);
    t = loop_timer_create(r.loop, count, &timer);
    loop_timer_start(t, 1, 0);
    cr_assert_eq(loop_post(r.loop, post_again, &c), STATUS_OK);
    rig_wait(&r, timer.count == 1 && c.count > 10);
    loop_timer_destroy(t);
    rig_finish(&r);
}

/* ---- work ------------------------------------------------------------------------------- */

struct work {
    struct loop *loop;
    pthread_t loop_thread;
    bool worked;
    bool done;
};

static void work(void *arg)
{
    struct work *w = arg;
    w->worked = !pthread_equal(pthread_self(), w->loop_thread);
}

static void work_done(void *arg)
{
    struct work *w = arg;
    w->done = pthread_equal(pthread_self(), w->loop_thread);
}

Test(loop, work_is_done_elsewhere_and_reported_here)
{
    struct rig r;
    struct work w[32];
    rig_init(&r);
    for (size_t i = 0; i < 32; i++) {
        w[i] = (struct work){ .loop = r.loop, .loop_thread = pthread_self() };
        loop_work(r.loop, work, i % 2 ? work_done : NULL, &w[i]);
    }
    for (size_t i = 1; i < 32; i += 2)
        rig_wait(&r, w[i].done && w[i].worked);
    rig_finish(&r);
    for (size_t i = 0; i < 32; i++)
        cr_assert(w[i].worked);
}

static void work_done_stops(void *arg)
{
    struct work *w = arg;
    w->done = true;
    loop_stop(w->loop);
}

Test(loop, destroy_waits_for_work_that_stops_the_loop)
{
    struct loop *l = loop_create();
    struct work w = { .loop = l, .loop_thread = pthread_self() };
    loop_work(l, work, work_done_stops, &w);
    loop_destroy(l);
    cr_assert(w.worked && w.done);
}

/* ---- timers ----------------------------------------------------------------------------- */

struct timing {
    struct loop_timer *timer;
    uint64_t at_us;
    unsigned count;
};

static void note_time(void *arg)
{
    struct timing *t = arg;
    t->at_us = clock_us();
    t->count++;
}

Test(loop, a_timer_is_never_early)
{
    struct rig r;
    struct timing t = { 0 };
    rig_init(&r);
    t.timer = loop_timer_create(r.loop, note_time, &t);
    uint64_t busy_until = clock_ms() + 60; /* the loop's own idea of time grows stale */
    while (clock_ms() < busy_until)
        ;
    uint64_t start = clock_us();
    loop_timer_start(t.timer, 40, 0);
    rig_wait(&r, t.count == 1);
    /* The kernel's coarse clock may lag by a tick of 4 ms, and libuv counts whole ms. */
    cr_assert_geq(t.at_us - start, 34000, "after %lu us", (unsigned long)(t.at_us - start));
    loop_timer_destroy(t.timer);
    rig_finish(&r);
}

Test(loop, a_timer_repeats_and_stops)
{
    struct rig r;
    struct timing t = { 0 };
    rig_init(&r);
    t.timer = loop_timer_create(r.loop, note_time, &t);
    loop_timer_start(t.timer, 1, 1);
    rig_wait(&r, t.count >= 5);
    loop_timer_stop(t.timer);
    unsigned so_far = t.count;
    rig_idle(&r, 20);
    cr_assert_eq(t.count, so_far);
    loop_timer_destroy(t.timer);
    rig_finish(&r);
}

static void destroy_self(void *arg)
{
    struct timing *t = arg;
    t->count++;
    loop_timer_destroy(t->timer);
}

Test(loop, a_timer_may_destroy_itself)
{
    struct rig r;
    struct timing t = { 0 };
    rig_init(&r);
    t.timer = loop_timer_create(r.loop, destroy_self, &t);
    loop_timer_start(t.timer, 0, 1);
    rig_wait(&r, t.count == 1);
    rig_idle(&r, 10);
    cr_assert_eq(t.count, 1);
    rig_finish(&r);
}

/* ---- turns and signals ------------------------------------------------------------------ */

static void count_and_again(void *arg)
{
    struct counter *c = arg;
    if (++c->count < 100)
        loop_again(c->rig->loop);
}

Test(loop, again_takes_turns_without_an_event)
{
    struct rig r;
    struct counter c = { .rig = &r };
    rig_init(&r);
    loop_on_turn(r.loop, count_and_again, &c);
    uint64_t start = clock_ms();
    rig_wait(&r, c.count >= 100);
    cr_assert_lt(clock_ms() - start, 2000, "100 turns waited for the 50 ms tick each");
    unsigned so_far = c.count;
    rig_idle(&r, 120);
    cr_assert_leq(c.count - so_far, 10, "the loop spins: %u turns", c.count - so_far);
    loop_on_turn(r.loop, NULL, NULL);
    rig_finish(&r);
}

Test(loop, both_stop_signals_arrive)
{
    struct rig r;
    struct counter c = { 0 };
    rig_init(&r);
    loop_on_stop_signal(r.loop, count, &c);
    raise(SIGTERM);
    rig_wait(&r, c.count == 1);
    raise(SIGINT);
    rig_wait(&r, c.count == 2);
    rig_finish(&r);
}
