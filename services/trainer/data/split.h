/* split.h - which rows are learnt from, which are watched meanwhile, which are held out.
 *
 * Stratified: each class has its share of each part, give or take one row, and at least one row to be
 * learnt from.  Random: whatever the classes are.  By group: all rows of a group are in the same
 * part.  By order: the last rows are held out, those before them are watched.
 */
#ifndef SERVICES_TRAINER_SPLIT_H
#define SERVICES_TRAINER_SPLIT_H

#include "services/trainer/data/table.h"

struct split_shares {
    double test;       /* of all rows; 0: there is a test set already */
    double validation; /* of the others */
};

/* rows: first `test` rows, then `train`, then `validation`; each in the order of the table. */
struct split {
    uint32_t *rows;
    size_t test;
    size_t train;
    size_t validation;
};

/* Stratified where there are classes, else at random.  INVALID: too few rows. */
enum status split_make(const struct table *t, const struct split_shares *shares, uint64_t seed,
                       struct split *out, struct error *err) MUST_CHECK;
enum status split_random(size_t rows, const struct split_shares *shares, uint64_t seed,
                         struct split *out, struct error *err) MUST_CHECK;
/* group: of each row, below `groups`.  INVALID: too few groups. */
enum status split_groups(const uint32_t *group, size_t groups, size_t rows,
                         const struct split_shares *shares, uint64_t seed, struct split *out,
                         struct error *err) MUST_CHECK;
/* key: of each row; equal ones stay in the order of the table.  cancelled: may be NULL; when it is set
 * the order may be any. */
enum status split_ordered(const double *key, size_t rows, const struct split_shares *shares,
                          const atomic_bool *cancelled, struct split *out,
                          struct error *err) MUST_CHECK;
void split_finish(struct split *s); /* zeroed is fine */

#endif
