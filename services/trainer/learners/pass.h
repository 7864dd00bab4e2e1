/* pass.h - one way of a block of rows through a network, and the way back of its gradients.
 *
 * All members of a team call the same functions and share the work: a wide layer by its units, so
 * that a member's weights stay in the cache of its core, a narrow one by rows.  Which part is whose
 * depends on the sizes alone, so sums are always made in the same order.
 */
#ifndef SERVICES_TRAINER_PASS_H
#define SERVICES_TRAINER_PASS_H

#include "services/trainer/learners/network.h"
#include "services/trainer/learners/team.h"

/* Memory for one block of rows, made once per run. */
struct pass {
    const struct network *net;
    const struct kernels *k;
    size_t rows, members;                 /* that fit */
    float *input[2];                      /* standardised rows: while one is used, the next come */
    float *act[MAX_LAYERS];               /* after layer l; of the last: answers, then deltas */
    float *slope[MAX_LAYERS];             /* of the activations; NULL: what is 0 has slope 0 */
    float *delta[MAX_LAYERS];             /* gradient by the layer's output; the last is act */
    float *gradient;                      /* as theta */
    float *turned[TEAM_MOST][MAX_LAYERS]; /* small matrices transposed, each member's own */
    double dropout;                       /* share of the hidden units that a step leaves out */
};

/* Rows that go through together. */
struct unit {
    size_t at, count;  /* in the list of rows */
    size_t row, batch; /* the first one's place in its batch, and the batch's rows */
    uint64_t key;      /* of the step, for dropout */
    unsigned turn;     /* which of the inputs */
};

/* gradients: for training, of a padded network; else forward only, of any. */
void pass_init(struct pass *p, const struct network *net, size_t rows, size_t members,
               double dropout, bool gradients);
void pass_finish(struct pass *p); /* zeroed is fine */

/* The rows of the unit that are this member's. */
void pass_share(const struct member *me, const struct unit *u, size_t *from, size_t *to);

/* Members' parts of the unit's rows: standardised into input[turn].  rows: of t; NULL: t's own. */
void pass_gather(struct pass *p, const struct member *me, const struct table *t,
                 const uint32_t *rows, const struct unit *u);
/* From input[turn] to the last act, which each member has for its share of the rows only. */
void pass_forward(struct pass *p, const struct member *me, const struct unit *u, bool training);
/* From the deltas in the last act (each member's rows) to `gradient`, of which each member has its
 * region when this returns; the first block of a batch sets it, others add to it. */
void pass_backward(struct pass *p, const struct member *me, const struct unit *u);

/* What of layer l a member adds up and changes: rows and columns of w, and columns of b. */
struct region {
    size_t row, row_end, column, column_end, bias, bias_end;
};

struct region pass_region(const struct pass *p, const struct member *me, size_t l);

/* The row of answers. */
static inline float *pass_answer(const struct pass *p, size_t row)
{
    size_t last = p->net->layers_count - 1;
    return p->act[last] + row * kernel_stride(p->net->layers[last].out);
}

#endif
