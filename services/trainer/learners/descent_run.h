/* descent_run.h - a fit that is going on: private to the files of the descent. */
#ifndef SERVICES_TRAINER_DESCENT_RUN_H
#define SERVICES_TRAINER_DESCENT_RUN_H

#include "common/base/digest.h"
#include "services/trainer/learners/descent.h"
#include "services/trainer/learners/loss.h"

#include <stdatomic.h>

/* What one member adds up, in a cache line of its own. */
struct part {
    _Alignas(64) struct tally tally;
    double squares; /* of the gradient */
};

/* L-BFGS between two epochs: a line that is searched, and the curvature that was met before. */
#define LBFGS_PAIRS 10
struct lbfgs {
    float *vectors; /* all that follow: LBFGS_VECTORS of the net's count; NULL: another optimizer */
    float *from, *gradient, *direction;
    float *moved[LBFGS_PAIRS], *turned[LBFGS_PAIRS]; /* by a step: theta, and its gradient */
    struct lbfgs_line {
        uint64_t pairs;      /* so far; the latest LBFGS_PAIRS are there */
        double value, slope; /* where the line begins */
        double length;       /* of the step that is tried, in directions */
        uint64_t tries;      /* on this line; 0: there is none yet */
    } line;
};
#define LBFGS_VECTORS (3 + 2 * LBFGS_PAIRS)

struct descent {
    const struct descent_params *p;
    const struct lesson *lesson;
    struct network net;  /* padded */
    struct network best; /* packed: the weights of the best epoch so far */
    struct pass pass;
    struct truth truth;
    float *balance;        /* weights of the classes that were computed here */
    float *speed, *second; /* as theta: momentum, or the moments of Adam */
    struct lbfgs lbfgs;
    struct digest about; /* what is learnt how: a checkpoint of something else is refused */

    uint32_t *order; /* the training rows, shuffled for each epoch */
    size_t batch;
    size_t block;        /* rows of a batch that are computed at once */
    uint64_t steps_each; /* of an epoch */
    struct team *team;
    struct part parts[TEAM_MOST];

    /* what the members do next */
    bool training;
    const uint32_t *rows;
    size_t count;
    uint32_t number; /* of the epoch: 1, 2, ... */
    atomic_bool stop;
    enum status status; /* why */

    /* early stopping */
    double least;
    uint32_t since;
};

/* What each member runs: an epoch of training, or a look at rows. */
void descent_work(void *arg, const struct member *me);
/* Sums of all members. */
struct tally descent_tally(const struct descent *d);
/* The rate of step number `step` (0, 1 ...). */
double descent_rate(const struct descent_params *p, uint64_t step, uint64_t steps_each);
/* The sum of a[i] b[i], in double. */
double descent_product(const float *a, const float *b, size_t count);

/* ---- descent_lbfgs.c ---- */

void lbfgs_init(struct lbfgs *l, size_t count);
void lbfgs_finish(struct lbfgs *l); /* zeroed is fine */
/* After an epoch, whose mean loss that is: what L-BFGS makes small, with the penalty of the weights,
 * whose gradient is added to the pass's. */
double lbfgs_value(struct descent *d, double loss);
/* Moves theta to where the next epoch is to look.  false: no step makes the value smaller. */
bool lbfgs_move(struct descent *d, double value);

/* ---- checkpoint.c ---- */

/* Fills d->about; when everything else but the numbers is there. */
void checkpoint_describe(struct descent *d, const struct learner *l);
/* Appends what is needed to go on after this epoch. */
void checkpoint_write(const struct descent *d, struct buf *out);
/* INVALID: it is damaged, or of another lesson. */
enum status checkpoint_read(struct descent *d, struct bytes state, struct error *err) MUST_CHECK;

#endif
