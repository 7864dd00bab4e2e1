/* profile_parts.h - what profile.c gathers and profile_json.c tells. */
#ifndef SERVICES_TRAINER_PROFILE_PARTS_H
#define SERVICES_TRAINER_PROFILE_PARTS_H

#include "services/trainer/data/cell.h"
#include "services/trainer/data/profile.h"
#include "services/trainer/data/words.h"
#include "services/trainer/random.h"

struct profile_column {
    char *name;
    struct guess guess;
    double least, largest;
    double first, sum, squares; /* of the numbers; both sums of what is above the first */
    struct words words;         /* those that are no numbers; of the target all of them */
    uint64_t reduced;           /* by how much counts may be too low */
    uint64_t counted;           /* words that were looked at */
    uint64_t long_words;
};

struct profile {
    const struct profile_options *options;
    struct profile_column *columns;
    size_t columns_count, target;
    uint64_t rows, bad_rows;
    float *sample; /* slots x columns; NaN: no number */
    size_t slots;  /* that there may be */
    size_t slot;   /* of this row; slots: it is not in the sample */
    uint64_t next; /* algorithm L: the next row that is */
    double weight;
    struct random random;
    size_t words_max; /* of a column */
};

void profile_put(const struct profile *p, struct buf *out);

#endif
