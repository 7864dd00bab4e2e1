/* statistics.h - what the columns looked like that a model was trained on, so that one can see
 * later whether those that it is asked about look the same.
 *
 *     {"rows": N, "columns": [
 *        {"name", "type": "number", "missing": share, "mean", "deviation",
 *         "edges": [the values between which a tenth of the rows lie each: 11], "shares": [10]},
 *        {"name", "type": "category", "missing": share, "words": [{"word", "share"} ...], "others": share}]}
 */
#ifndef SERVICES_TRAINER_STATISTICS_H
#define SERVICES_TRAINER_STATISTICS_H

#include "common/base/bytes.h"

#include <stdatomic.h>

#define STATISTICS_BINS    10
#define STATISTICS_WORDS   50   /* the most frequent */
#define STATISTICS_COLUMNS 4096 /* of more only the first are told of */

struct statistics;

/* rows: those that were trained on.  When *cancelled (NULL: never) is set, columns are told of wrongly,
 * but fast. */
struct statistics *statistics_create(size_t rows, const atomic_bool *cancelled);
/* A column of numbers: values[rows[i] * stride]; NaN: missing. */
void statistics_numbers(struct statistics *s, const char *name, const float *values, size_t stride,
                        const uint32_t *rows);
/* One of words: codes[rows[i]] is the place in words; one that is not below words_count: missing. */
void statistics_words(struct statistics *s, const char *name, const uint32_t *codes,
                      const uint32_t *rows, char *const *words, size_t words_count);
/* Appends the JSON, and frees s. */
void statistics_end(struct statistics *s, struct buf *out);

#endif
