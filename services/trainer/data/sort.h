/* sort.h - sorting that can be given up: lists of millions take seconds. */
#ifndef SERVICES_TRAINER_SORT_H
#define SERVICES_TRAINER_SORT_H

#include "services/trainer/cancel.h"

#include <stddef.h>

/* As qsort.  When *cancelled (NULL: never) is set meanwhile it ends soon, with the list in no order:
 * the caller looks at the flag before it believes the list. */
void sort_list(void *list, size_t count, size_t size, int (*compare)(const void *, const void *),
               const atomic_bool *cancelled);

/* The same of floats, none of which is NaN. */
void sort_floats(float *list, size_t count, const atomic_bool *cancelled);

#endif
