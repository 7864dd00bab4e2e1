/* frame.h - a table as it is in its file: typed columns, before anything is learnt from them.
 *
 * What a column holds is found by looking at all rows: a first pass over the file counts the kinds
 * of its cells (cell.h), a second one keeps them.  So memory is four bytes per cell, and nothing is
 * kept of what is left out (texts).
 */
#ifndef SERVICES_TRAINER_FRAME_H
#define SERVICES_TRAINER_FRAME_H

#include "services/trainer/data/cell.h"
#include "services/trainer/data/csv.h"
#include "services/trainer/data/table.h"

#define CODE_MISSING UINT32_MAX
#define MAX_WORDS    65536u /* different ones of a column; with more it is TEXT */
#define MAX_TARGETS  64
#define TEXT_ROWS    20  /* in so few rows every word may be different */
#define TEXT_SHARE   0.5 /* with more different words than this share of the cells it is TEXT */

struct column {
    char *name;
    enum column_type type;
    float *number; /* rows, NaN: missing.  NUMBER, INTEGER, and targets; else NULL */
    uint32_t
        *code;    /* rows, places in words, CODE_MISSING.  BOOLEAN, CATEGORY, DATE, and targets with
                     * MAX_CLASSES words or less; else NULL */
    char **words; /* as they are in the file, in order of appearance */
    size_t words_count;
    size_t missing;  /* cells */
    bool needed;     /* the rows are grouped or ordered by it: it has all its codes */
    bool target;     /* has both, where it can have them; nothing is missing */
    bool one_way;    /* whole numbers, each larger than the one before, or each smaller */
    bool all_differ; /* TEXT: no word came twice, as far as they were counted */
};

struct dataframe {
    struct column *columns;
    size_t columns_count;
    size_t rows;
    size_t dropped;             /* bad rows that are not in it */
    struct error dropped_first; /* what was wrong with the first of them */
};

struct dataframe_options {
    struct csv_options csv;
    const char *const *targets; /* names of columns */
    size_t targets_count;
    const char
        *needed[2]; /* names of columns by which rows are grouped or ordered; NULL, "": none */
};

/* INVALID, TOO_LARGE: *err names the file, the row and the column.  A row is bad when it has too many
 * or too few cells, when a cell of a column of numbers is no number, or not UTF-8, and when a target
 * is missing. */
enum status dataframe_read_csv(const struct source_file *file,
                               const struct dataframe_options *options, struct dataframe *out,
                               struct error *err) MUST_CHECK;
void dataframe_finish(struct dataframe *f); /* zeroed is fine */
/* NULL: there is none of that name. */
struct column *dataframe_column(const struct dataframe *f, const char *name);

#endif
