/* words.h - the different words of a column, each with a number.
 *
 * A hash table of its own, as a look-up is made for each cell of a file: it takes a third of the
 * time of uthash with its nodes.
 */
#ifndef SERVICES_TRAINER_WORDS_H
#define SERVICES_TRAINER_WORDS_H

#include "common/base/bytes.h"

#define WORDS_NONE UINT32_MAX

struct word {
    char *text; /* NUL-terminated, owned */
    uint32_t len;
    uint32_t hash;
    uint64_t count; /* how often it was added */
};

struct words {
    struct word *list; /* in order of appearance */
    size_t count;
    uint32_t *slots; /* private: places in list, open addressing */
    size_t slots_count;
};

/* The number of the word, which is counted; a new one is the last.  WORDS_NONE: it is new, and
 * there are `max` already. */
uint32_t words_add(struct words *w, struct bytes text, size_t max);
/* Takes one from each count, and words with none away: what Misra and Gries (1982) do when there is
 * no room.  Numbers change. */
void words_reduce(struct words *w);
void words_finish(struct words *w); /* zeroed is fine */

#endif
