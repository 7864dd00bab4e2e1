/* profile.h - what is in a CSV file, seen in one pass and in constant memory.
 *
 * Exact: rows, types, missing cells, least, largest, mean, deviation.  Quantiles are those of at most
 * PROFILE_SAMPLE rows at random (Li's algorithm L): exact where there are no more rows, else an error
 * of the rank below 1 % in 99 of 100 cases.  Top words are counted as Misra and Gries do: exact for as
 * many different words as fit, else each count may be too low by "top_error".
 * Rows with too many or too few cells are "bad_rows"; their cells count with the columns they are in.
 */
#ifndef SERVICES_TRAINER_PROFILE_H
#define SERVICES_TRAINER_PROFILE_H

#include "services/trainer/data/csv.h"

#define PROFILE_SAMPLE       16384u
#define PROFILE_SAMPLE_BYTES (16u << 20) /* of all columns: with many, the sample is smaller */
#define PROFILE_WORDS        1024u       /* counted in a column */
#define PROFILE_WORDS_BYTES  (16u << 20) /* the same of all columns */
#define PROFILE_WORD_MAX     64          /* bytes; longer ones are text, and not counted */
#define PROFILE_COLUMNS      16384u
#define PROFILE_TOP          20

struct profile_options {
    struct csv_options csv;
    const char *target; /* the column whose classes are counted; "": the last one */
};

/* Appends a JSON object.  INVALID, TOO_LARGE: *err says why. */
enum status profile_csv(const struct source_file *file, const struct profile_options *options,
                        struct buf *out, struct error *err) MUST_CHECK;

#endif
