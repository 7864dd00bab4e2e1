/* evaluate.h - how good a classifier is on rows that it has not seen. */
#ifndef SERVICES_TRAINER_EVALUATE_H
#define SERVICES_TRAINER_EVALUATE_H

#include "services/trainer/data/table.h"

/* probabilities: rows x t->classes_count for the rows of t.  Appends a JSON object: accuracy,
 * log_loss, macro_f1, rows, and the confusion matrix (row: true class, column: predicted) where
 * it is small. */
void evaluate_json(const struct table *t, const float *probabilities, struct buf *out);

#endif
