/* words.h - the last words of a process: the end of what it wrote to stderr, bounded. */
#ifndef SERVICES_WORKER_WORDS_H
#define SERVICES_WORKER_WORDS_H

#include "common/base/bytes.h"

#define WORDS_BYTES 400 /* are kept */

struct words {
    char text[WORDS_BYTES + 1];
    size_t len;
};

void words_clear(struct words *w);
void words_add(struct words *w, struct bytes more);
/* The last line that is not empty, "" if there is none, without control characters; good until
 * the next call. */
const char *words_last_line(struct words *w);

#endif
