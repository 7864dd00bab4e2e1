/* csv.c - CSV tables through libcsv: a header, numeric columns, one label column. */
#include "services/trainer/table.h"

#include <csv.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <uthash.h>
#include <zlib.h>

#define READ_BYTES  65536
#define MAX_COLUMNS (MAX_FEATURES + 1)
#define MAX_CELL    4096 /* bytes of one cell */

struct label {
    UT_hash_handle hh;
    char *text;
    uint32_t number; /* in order of appearance */
};

struct reader {
    const char *target;
    struct table *table;
    struct error *err;
    enum status status;
    char **columns;
    size_t columns_count;
    size_t target_column;
    size_t row;    /* 1 is the header */
    size_t column; /* of the next cell */
    struct label *labels;
    size_t x_cap, x_len, y_cap;
};

static void fail(struct reader *r, enum status st)
{
    if (!r->status)
        r->status = st;
}

static const char *column_name(const struct reader *r)
{
    return r->column < r->columns_count ? r->columns[r->column] : "?";
}

static void on_header_cell(struct reader *r, struct bytes text)
{
    char *name = mem_str(text);
    for (size_t i = 0; i < r->columns_count; i++)
        if (strcmp(r->columns[i], name) == 0)
            fail(r, error_set(r->err, STATUS_INVALID, "the header names the column '%.64s' twice",
                              name));
    if (r->columns_count >= MAX_COLUMNS)
        fail(r, error_set(r->err, STATUS_INVALID, "there are more than %u columns", MAX_COLUMNS));
    if (!*name)
        fail(r, error_set(r->err, STATUS_INVALID, "column %zu has no name in the header",
                          r->columns_count + 1));
    r->columns = mem_resize(r->columns, (r->columns_count + 1) * sizeof *r->columns);
    r->columns[r->columns_count++] = name;
}

static void on_header_end(struct reader *r)
{
    for (r->target_column = 0; r->target_column < r->columns_count; r->target_column++)
        if (strcmp(r->columns[r->target_column], r->target) == 0)
            break;
    if (r->target_column == r->columns_count)
        fail(r, error_set(r->err, STATUS_INVALID,
                          "there is no column '%.64s' (the target); the header begins with '%.64s'",
                          r->target, r->columns_count ? r->columns[0] : ""));
    else if (r->columns_count < 2)
        fail(r, error_set(r->err, STATUS_INVALID, "there is no column besides the target"));
    r->table->features = r->columns_count ? r->columns_count - 1 : 0;
}

static void add_value(struct reader *r, float value)
{
    if (r->x_len >= MAX_CELLS) {
        fail(r, error_set(r->err, STATUS_INVALID, "the table has more than %u cells", MAX_CELLS));
        return;
    }
    if (r->x_len == r->x_cap) {
        r->x_cap = r->x_cap ? 2 * r->x_cap : 4096;
        r->table->x = mem_resize(r->table->x, r->x_cap * sizeof *r->table->x);
    }
    r->table->x[r->x_len++] = value;
}

static void on_number(struct reader *r, const char *text)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (!*text)
        fail(r, error_set(r->err, STATUS_INVALID, "row %zu, column '%.64s': the value is missing",
                          r->row, column_name(r)));
    else if (*end || !isfinite(value) || fabs(value) > 3.4e38)
        fail(r,
             error_set(r->err, STATUS_INVALID, "row %zu, column '%.64s': '%.32s' is not a number",
                       r->row, column_name(r), text));
    add_value(r, (float)value);
}

static void on_label(struct reader *r, const char *text)
{
    struct label *l;
    if (!*text || strlen(text) > MAX_LABEL) {
        fail(r, error_set(r->err, STATUS_INVALID, "row %zu, column '%.64s': the label is %s",
                          r->row, column_name(r), *text ? "too long" : "missing"));
        return;
    }
    HASH_FIND_STR(r->labels, text, l);
    if (!l) {
        if (HASH_COUNT(r->labels) >= MAX_CLASSES) {
            fail(r, error_set(r->err, STATUS_INVALID, "column '%.64s' has more than %u classes",
                              column_name(r), MAX_CLASSES));
            return;
        }
        l = mem_zalloc(sizeof *l);
        l->text = mem_str(bytes_str(text));
        l->number = HASH_COUNT(r->labels);
        HASH_ADD_KEYPTR(hh, r->labels, l->text, strlen(l->text), l);
    }
    struct table *t = r->table;
    if (t->rows == r->y_cap) {
        r->y_cap = r->y_cap ? 2 * r->y_cap : 1024;
        t->y = mem_resize(t->y, r->y_cap * sizeof *t->y);
    }
    t->y[t->rows] = l->number;
}

/* libcsv: one cell is complete. */
static void on_cell(void *cell, size_t len, void *arg)
{
    struct reader *r = arg;
    char text[MAX_CELL + 1];
    if (r->status)
        return;
    if (bytes_copy_str(bytes_of(cell, len), text, sizeof text)) {
        fail(r, error_set(r->err, STATUS_INVALID, "row %zu has a cell that is too long or binary",
                          r->row));
        return;
    }
    if (r->row == 1)
        on_header_cell(r, bytes_str(text));
    else if (r->column >= r->columns_count)
        fail(r, error_set(r->err, STATUS_INVALID,
                          "row %zu has more than the %zu columns of the header", r->row,
                          r->columns_count));
    else if (r->column == r->target_column)
        on_label(r, text);
    else
        on_number(r, text);
    r->column++;
}

/* libcsv: one row is complete. */
static void on_row(int terminator, void *arg)
{
    struct reader *r = arg;
    (void)terminator;
    if (r->status)
        return;
    if (r->row == 1)
        on_header_end(r);
    else if (r->column != r->columns_count)
        fail(r, error_set(r->err, STATUS_INVALID, "row %zu has %zu columns; the header has %zu",
                          r->row, r->column, r->columns_count));
    else if (++r->table->rows > MAX_ROWS)
        fail(r, error_set(r->err, STATUS_INVALID, "the table has more than %u rows", MAX_ROWS));
    r->row++;
    r->column = 0;
}

static void parse(struct reader *r, const char *path)
{
    struct csv_parser parser;
    char block[READ_BYTES];
    int n;
    gzFile file = gzopen(path, "rb");
    if (!file) {
        fail(r, error_set(r->err, STATUS_IO, "cannot open %s", path));
        return;
    }
    csv_init(&parser, CSV_APPEND_NULL | CSV_STRICT | CSV_STRICT_FINI);
    while (!r->status && (n = gzread(file, block, sizeof block)) != 0) {
        if (n < 0 || csv_parse(&parser, block, (size_t)n, on_cell, on_row, r) != (size_t)n)
            fail(r, error_set(r->err, STATUS_INVALID, "row %zu: %s", r->row,
                              n < 0 ? "the compressed data is damaged"
                                    : csv_strerror(csv_error(&parser))));
    }
    if (!r->status && csv_fini(&parser, on_cell, on_row, r) != 0)
        fail(r, error_set(r->err, STATUS_INVALID, "row %zu: a quoted cell does not end", r->row));
    csv_free(&parser);
    gzclose(file);
}

static int by_text(const void *a, const void *b)
{
    const struct label *l = *(struct label *const *)a, *m = *(struct label *const *)b;
    char *l_end, *m_end;
    double x = strtod(l->text, &l_end), y = strtod(m->text, &m_end);
    if (!*l_end && !*m_end && x != y)
        return x < y ? -1 : 1; /* numbers in their order: 2 before 10 */
    return strcmp(l->text, m->text);
}

/* Sorts the classes, so that their order does not depend on the order of the rows. */
static void sort_classes(struct reader *r)
{
    struct table *t = r->table;
    size_t count = HASH_COUNT(r->labels), i = 0;
    struct label **sorted = mem_alloc(count * sizeof *sorted), *l, *next;
    uint32_t *place = mem_alloc(count * sizeof *place);
    HASH_ITER(hh, r->labels, l, next)
    sorted[i++] = l;
    qsort(sorted, count, sizeof *sorted, by_text);
    t->classes = mem_alloc(count * sizeof *t->classes);
    for (i = 0; i < count; i++) {
        place[sorted[i]->number] = (uint32_t)i;
        t->classes[i] = mem_str(bytes_str(sorted[i]->text));
    }
    t->classes_count = count;
    for (i = 0; i < t->rows; i++)
        t->y[i] = place[t->y[i]];
    free(sorted);
    free(place);
}

static void reader_finish(struct reader *r)
{
    struct label *l, *next;
    HASH_ITER(hh, r->labels, l, next)
    {
        HASH_DEL(r->labels, l);
        free(l->text);
        free(l);
    }
    for (size_t i = 0; i < r->columns_count; i++)
        free(r->columns[i]);
    free(r->columns);
}

enum status csv_read(const char *path, const char *target, struct table *out, struct error *err)
{
    struct reader r = { .target = target, .table = out, .err = err, .row = 1 };
    *out = (struct table){ 0 };
    parse(&r, path);
    if (!r.status && out->rows == 0)
        fail(&r, error_set(err, STATUS_INVALID, "the table has no rows"));
    if (!r.status && HASH_COUNT(r.labels) < 2)
        fail(&r, error_set(err, STATUS_INVALID,
                           "column '%.64s' has only one class: there is nothing "
                           "to learn",
                           target));
    if (!r.status)
        sort_classes(&r);
    reader_finish(&r);
    if (r.status)
        table_finish(out);
    return r.status;
}
