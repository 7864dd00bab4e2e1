/* loss.h - how wrong answers are, and in which direction. */
#ifndef SERVICES_TRAINER_LOSS_H
#define SERVICES_TRAINER_LOSS_H

#include "services/trainer/learners/pass.h"

/* Sums over rows. */
struct tally {
    double loss;
    double right;   /* rows with the right class */
    double squares; /* of values: squared differences, standardised */
};

struct truth {
    const struct table *table;
    const float *class_weights; /* or NULL */
    float huber;                /* where its loss becomes linear, in deviations of the target */
};

/* The answers of u's rows [from, to), which are rows[u->at ...] of the table, become the gradient
 * of their batch's mean loss; adds to *sum. */
void loss_rows(const struct pass *p, const struct truth *truth, const uint32_t *rows,
               const struct unit *u, size_t from, size_t to, struct tally *sum);

/* The answers of one row as a client wants them: probabilities, or values in the target's units. */
void loss_finish_row(const struct network *n, const struct kernels *k, float *row, float *out);

#endif
