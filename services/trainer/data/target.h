/* target.h - what is to be learnt, out of the target columns of a frame. */
#ifndef SERVICES_TRAINER_TARGET_H
#define SERVICES_TRAINER_TARGET_H

#include "services/trainer/data/frame.h"

/* AUTO: values where there are several targets, or the one has numbers: some with a point or an
 * exponent and more than 20 different ones, or whole ones and more than 100 different; classes
 * otherwise. */
enum task { TASK_AUTO, TASK_CLASSES, TASK_VALUES };

#define AUTO_NUMBERS  20u
#define AUTO_INTEGERS 100u

/* Fills rows, y and classes, or rows, outputs and values, of all rows of the frame.  Classes are in an
 * order that does not depend on that of the rows: as numbers when all of them are (2 before 10),
 * else as text.  INVALID: *err says why nothing can be learnt from them; out is empty. */
enum status target_read(const struct dataframe *f, const char *const *names, size_t count,
                        enum task task, struct table *out, struct error *err) MUST_CHECK;

#endif
