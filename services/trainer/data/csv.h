/* csv.h - the cells of a CSV file (RFC 4180), one after another, in constant memory.
 *
 * Through libcsv: quotes, embedded newlines, LF and CRLF.  Compressed or plain, with a byte order
 * mark or without; empty lines do not count.  The first row is the header: its names are unique
 * UTF-8 text.  Rows are counted from 1, which is the header.
 */
#ifndef SERVICES_TRAINER_CSV_H
#define SERVICES_TRAINER_CSV_H

#include "services/trainer/data/source.h"

#define MAX_COLUMNS 65537u
#define MAX_CELL    4096 /* bytes */

struct csv_options {
    char delimiter; /* 0: that of , ; tab | which the header has most */
    bool drop_bad;  /* rows that have more or fewer cells than the header are left out */
};

struct csv; /* a file while it is read */

/* What a reader does with what is there. */
struct csv_events {
    /* The header; names are good until the end. */
    enum status (*header)(void *arg, char *const *names, size_t count, struct error *err);
    /* A cell; text is followed by a NUL, has none itself, and is good until the call returns. */
    enum status (*cell)(void *arg, size_t column, struct bytes text, struct error *err);
    /* A row is complete.  bad: it has too many or too few cells, and counts for nothing. */
    enum status (*row)(void *arg, bool bad, struct error *err);
};

/* Whatever a reader answers but OK ends the reading.  INVALID, TOO_LARGE: *err names the file and the
 * row. */
enum status csv_scan(const struct source_file *file, const struct csv_options *options,
                     const struct csv_events *events, void *arg, struct error *err) MUST_CHECK;

#endif
