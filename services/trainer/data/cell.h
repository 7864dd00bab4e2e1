/* cell.h - what a cell of a table holds, and from that what its column is. */
#ifndef SERVICES_TRAINER_CELL_H
#define SERVICES_TRAINER_CELL_H

#include "common/base/bytes.h"

enum cell_kind {
    CELL_MISSING, /* empty, or one of cell_missing_words */
    CELL_INTEGER,
    CELL_NUMBER,
    CELL_BOOLEAN,
    CELL_DATE,
    CELL_WORD,
    CELL_BAD, /* not UTF-8 */
    CELL_KINDS
};

enum column_type {
    COLUMN_NUMBER,
    COLUMN_INTEGER,
    COLUMN_BOOLEAN,
    COLUMN_CATEGORY,
    COLUMN_TEXT, /* too many different words to learn from: left out */
    COLUMN_DATE, /* left out, but rows can be ordered by it */
};

/* How often each kind was seen in a column. */
struct guess {
    uint64_t count[CELL_KINDS];
};

extern const char *const cell_missing_words[]; /* ends with NULL; begins with "" */
/* "true", "True", "TRUE", "false" ...: false and true of a pair stand side by side; ends with
 * NULL. */
extern const char *const cell_boolean_words[];

/* *number: of integers and numbers; of booleans 0 or 1. */
enum cell_kind cell_read(struct bytes text, double *number);
/* A column whose cells are numbers but for one in ten at most is a column of numbers, and the others
 * are mistakes.  CATEGORY may turn out to be TEXT when its words are counted. */
enum column_type guess_type(const struct guess *g);
const char *column_type_name(enum column_type type);
/* Dates as numbers that sort as they do; 0: it is no date.  ISO 8601 ("2024-03-01", with a time or
 * not) and the same with slashes, "01.03.2024", "3/1/2024" (month first). */
uint64_t cell_date(struct bytes text);

#endif
