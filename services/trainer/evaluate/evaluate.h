/* evaluate.h - how good a model is on rows that it has not seen.
 *
 * Everything here is pure: tables and numbers in, JSON out.  answers: rows x table_width() for the
 * rows of the table, as a learner's predict gives them.
 */
#ifndef SERVICES_TRAINER_EVALUATE_H
#define SERVICES_TRAINER_EVALUATE_H

#include "services/trainer/data/table.h"

#define CONFUSION_CLASSES_MAX 32 /* a larger matrix does not help anybody */
#define CALIBRATION_BINS      10
#define IMPORTANCE_ROWS       2000 /* at most; so many tell a difference of two percent */
#define IMPORTANCE_ROWS_LEAST 50
#define IMPORTANCE_COLUMNS    1024       /* of more columns nobody reads a list */
#define IMPORTANCE_CELLS      100000000u /* that are given to predict, for all columns together */

/* Appends a JSON object.  Of classes: rows, accuracy, balanced_accuracy, log_loss, macro_f1, roc_auc
 * (null where one class has all rows), calibration, and the confusion matrix (row: true class,
 * column: predicted) where it is small.  Of values: rows, rmse, mae, r2 (null where the rows are all
 * the same), and the same of each output where there are several.  When *cancelled (NULL: never) is
 * set meanwhile, numbers are wrong. */
void evaluate_json(const struct table *t, const float *answers, const atomic_bool *cancelled,
                   struct buf *out);

/* One number, the larger the better, for comparisons: the accuracy, or R2. */
double evaluate_score(const struct table *t, const float *answers);

/* ---- permutation importance: what the score loses when a column's cells change places
 * (L. Breiman, Random Forests, Machine Learning 45, 2001, section 10) ---- */

/* A model and the held-out rows that it is asked about. */
struct importance {
    const struct table *truth; /* rows: as many as are asked about; x may be NULL */
    size_t columns;
    size_t width; /* cells that one row costs, for the bound on the work */
    const char *(*name)(void *arg, size_t column);
    /* The answers where the cells of that column come from the rows order[i]; column SIZE_MAX: where
     * all stay.  Anything but OK ends it. */
    enum status (*predict)(void *arg, size_t column, const uint32_t *order, float *answers);
    void *arg;
};

/* How many of so many held-out rows are asked about; 0: there would be too much work for a number that
 * says something. */
size_t importance_rows(size_t rows, size_t columns, size_t width);
/* Appends a JSON array of {column, importance}, the most important first; "[]" where there are no rows
 * or too many columns. */
enum status importance_json(const struct importance *i, uint64_t seed, struct buf *out,
                            struct error *err) MUST_CHECK;

#endif
