/* cnn_crew.c - see cnn_crew.h. */
#include "services/trainer/learners/cnn_crew.h"

#include "common/base/bytes.h"
#include "services/trainer/learners/cnn_conv.h"

#include <stdlib.h>
#include <uv.h>

struct member {
    struct cnn_crew *crew;
    size_t number;
    uv_thread_t thread;
};

struct cnn_crew {
    uv_barrier_t meet; /* all, before and after each part of the work */
    void *arg;
    cnn_crew_fn *run; /* NULL: the end */
    size_t count;
    struct member members[];
};

static void work(void *arg)
{
    struct member *me = arg;
    struct cnn_crew *c = me->crew;
    conv_thread();
    for (;;) {
        uv_barrier_wait(&c->meet);
        if (!c->run)
            return;
        c->run(c->arg, me->number);
        uv_barrier_wait(&c->meet);
    }
}

struct cnn_crew *cnn_crew_create(size_t members, void *arg)
{
    struct cnn_crew *c = mem_zalloc(sizeof *c + members * sizeof c->members[0]);
    *c = (struct cnn_crew){ .arg = arg, .count = members };
    if (uv_barrier_init(&c->meet, (unsigned)members))
        abort();
    for (size_t i = 1; i < members; i++) {
        c->members[i] = (struct member){ .crew = c, .number = i };
        if (uv_thread_create(&c->members[i].thread, work, &c->members[i]))
            abort(); /* as when there is no memory */
    }
    return c;
}

void cnn_crew_run(struct cnn_crew *c, cnn_crew_fn *run)
{
    c->run = run;
    uv_barrier_wait(&c->meet);
    run(c->arg, 0);
    uv_barrier_wait(&c->meet);
}

void cnn_crew_destroy(struct cnn_crew *c)
{
    if (!c)
        return;
    c->run = NULL;
    uv_barrier_wait(&c->meet);
    for (size_t i = 1; i < c->count; i++)
        uv_thread_join(&c->members[i].thread);
    uv_barrier_destroy(&c->meet);
    free(c);
}
