/* team.h - threads that compute the same thing in parts.
 *
 * All members run the same function and meet at barriers.  Phases are tens of microseconds, so a
 * member looks for the others a little before it sleeps; where the cores are shared, it sleeps.
 */
#ifndef SERVICES_TRAINER_TEAM_H
#define SERVICES_TRAINER_TEAM_H

#include <stdbool.h>
#include <stddef.h>

#define TEAM_MOST 64

struct team;

struct member {
    struct team *team;
    size_t index, count;
};

/* What each member runs; arg is the same for all. */
typedef void team_fn(void *arg, const struct member *me);

/* count: 1 to TEAM_MOST, of which the caller will be one. */
struct team *team_create(size_t count, team_fn *run, void *arg);
/* Runs the function once in all members; the caller is member 0. */
void team_run(struct team *t);
void team_destroy(struct team *t);

/* Nobody passes before all have come.  What was written before is seen after. */
void team_meet(const struct member *me);

/* This member's part of `count` things, in whole groups of `step`: [*from, *to). */
void team_share(const struct member *me, size_t count, size_t step, size_t *from, size_t *to);

#endif
