/* team.c - a barrier that spins a little, then sleeps. */
#include "services/trainer/learners/team.h"

#include "common/base/bytes.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uv.h>

#define LOOKS 4000 /* before a member sleeps: some 50 us */

struct team {
    team_fn *run;
    void *arg;
    struct member members[TEAM_MOST];
    uv_thread_t threads[TEAM_MOST];
    size_t count;
    atomic_bool over;
    atomic_size_t arrived;
    atomic_size_t phase; /* grows each time that all have come */
    atomic_size_t asleep;
    uv_mutex_t lock;
    uv_cond_t woken;
};

static void pause_a_little(void)
{
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
}

/* Either the sleeper's count is seen by the last to come, or its phase by the sleeper: both are
 * written before the other is read, in one order for all. */
static void sleep_through(struct team *t, size_t phase)
{
    uv_mutex_lock(&t->lock);
    atomic_fetch_add(&t->asleep, 1);
    while (atomic_load(&t->phase) == phase)
        uv_cond_wait(&t->woken, &t->lock);
    atomic_fetch_sub(&t->asleep, 1);
    uv_mutex_unlock(&t->lock);
}

void team_meet(const struct member *me)
{
    struct team *t = me->team;
    if (me->count == 1)
        return;
    size_t phase = atomic_load(&t->phase);
    if (atomic_fetch_add(&t->arrived, 1) + 1 == t->count) {
        atomic_store(&t->arrived, 0);
        atomic_store(&t->phase, phase + 1);
        if (atomic_load(&t->asleep)) {
            uv_mutex_lock(&t->lock);
            uv_cond_broadcast(&t->woken);
            uv_mutex_unlock(&t->lock);
        }
        return;
    }
    for (unsigned i = 0; i < LOOKS; i++) {
        if (atomic_load_explicit(&t->phase, memory_order_acquire) != phase)
            return;
        pause_a_little();
    }
    sleep_through(t, phase);
}

static void serve(void *arg)
{
    const struct member *me = arg;
    struct team *t = me->team;
    for (;;) {
        team_meet(me);
        if (atomic_load(&t->over))
            return;
        t->run(t->arg, me);
        team_meet(me);
    }
}

void team_run(struct team *t)
{
    team_meet(&t->members[0]);
    t->run(t->arg, &t->members[0]);
    team_meet(&t->members[0]);
}

struct team *team_create(size_t count, team_fn *run, void *arg)
{
    struct team *t = mem_zalloc(sizeof *t);
    assert(count >= 1 && count <= TEAM_MOST);
    t->run = run;
    t->arg = arg;
    t->count = count;
    uv_mutex_init(&t->lock);
    uv_cond_init(&t->woken);
    for (size_t i = 0; i < count; i++)
        t->members[i] = (struct member){ t, i, count };
    for (size_t i = 1; i < count; i++)
        if (uv_thread_create(&t->threads[i], serve, &t->members[i]) != 0)
            abort(); /* a number that we chose */
    return t;
}

void team_destroy(struct team *t)
{
    if (!t)
        return;
    atomic_store(&t->over, true);
    team_meet(&t->members[0]);
    for (size_t i = 1; i < t->count; i++)
        uv_thread_join(&t->threads[i]);
    uv_cond_destroy(&t->woken);
    uv_mutex_destroy(&t->lock);
    free(t);
}

void team_share(const struct member *me, size_t count, size_t step, size_t *from, size_t *to)
{
    size_t groups = (count + step - 1) / step;
    *from = groups * me->index / me->count * step;
    *to = groups * (me->index + 1) / me->count * step;
    *from = *from < count ? *from : count;
    *to = *to < count ? *to : count;
}
