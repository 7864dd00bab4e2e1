/* csv.c - CSV tables through libcsv: a header, numeric columns, one label column. */
#include "services/trainer/data/table.h"
#include "services/trainer/data/text.h"

#include <csv.h>
#include <stdlib.h>
#include <uthash.h>

#define READ_BYTES   65536
#define MAX_COLUMNS  (MAX_FEATURES + 1)
#define MAX_CELL     4096 /* bytes of one cell */
#define CELL_STEP    256  /* bytes by which libcsv's buffer for a cell grows */
#define COLUMNS_STEP 64
#define SHOWN_NAMES  200 /* bytes of column names in an error */

/* A column's name, or a class. */
struct label {
    UT_hash_handle hh;
    char *text;
    uint32_t number; /* in order of appearance */
    float value;     /* classes: the text as a number, where all of them are numbers */
};

struct reader {
    const char *target;
    struct table *table;
    struct error *err;
    enum status status;
    struct label *names; /* the header, to see what is there twice */
    char **columns;      /* the same in order; borrowed from names */
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

static struct label *find_label(struct label *labels, const char *text)
{
    struct label *l;
    HASH_FIND_STR(labels, text, l);
    return l;
}

static struct label *add_label(struct label **labels, const char *text)
{
    struct label *l = mem_zalloc(sizeof *l);
    l->text = mem_str(bytes_str(text));
    l->number = HASH_COUNT(*labels);
    HASH_ADD_KEYPTR(hh, *labels, l->text, strlen(l->text), l);
    return l;
}

static void drop_labels(struct label **labels)
{
    struct label *l, *next;
    HASH_ITER(hh, *labels, l, next)
    {
        HASH_DEL(*labels, l);
        free(l->text);
        free(l);
    }
}

static void on_header_cell(struct reader *r, const char *name)
{
    size_t n = r->columns_count;
    if (!*name)
        fail(r, error_set(r->err, STATUS_INVALID, "column %zu has no name in the header", n + 1));
    else if (!text_is_utf8(bytes_str(name)))
        fail(r,
             error_set(r->err, STATUS_INVALID, "the name of column %zu is not UTF-8 text", n + 1));
    else if (find_label(r->names, name))
        fail(r,
             error_set(r->err, STATUS_INVALID, "the header names the column '%.64s' twice", name));
    else if (n >= MAX_COLUMNS)
        fail(r, error_set(r->err, STATUS_TOO_LARGE, "there are more than %u columns", MAX_COLUMNS));
    if (r->status)
        return;
    if (n % COLUMNS_STEP == 0)
        r->columns = mem_resize(r->columns, (n + COLUMNS_STEP) * sizeof *r->columns);
    r->columns[r->columns_count++] = add_label(&r->names, name)->text;
}

static void fail_target(struct reader *r)
{
    struct buf list = { 0 };
    for (size_t i = 0; i < r->columns_count && list.len < SHOWN_NAMES; i++)
        buf_printf(&list, "%s'%.64s'", i ? ", " : "", r->columns[i]);
    fail(r, error_set(r->err, STATUS_INVALID,
                      "there is no column '%.64s' (the target); the header has %s%s", r->target,
                      buf_cstr(&list), list.len < SHOWN_NAMES ? "" : " ..."));
    buf_finish(&list);
}

static void on_header_end(struct reader *r)
{
    struct label *target = find_label(r->names, r->target);
    r->table->features = r->columns_count - 1;
    if (!target)
        fail_target(r);
    else if (!r->table->features)
        fail(r, error_set(r->err, STATUS_INVALID, "there is no column besides the target"));
    else
        r->target_column = target->number;
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
    char shown[TEXT_SHOWN_SIZE];
    float value = 0;
    if (!*text)
        fail(r, error_set(r->err, STATUS_INVALID, "row %zu, column '%.64s': the value is missing",
                          r->row, column_name(r)));
    else if (text_number(bytes_str(text), &value))
        fail(r, error_set(r->err, STATUS_INVALID,
                          "row %zu, column '%.64s': '%s' is not a number (finite, float32)", r->row,
                          column_name(r), text_shown(bytes_str(text), shown)));
    else
        add_value(r, value);
}

static void add_label_of_row(struct reader *r, uint32_t class)
{
    struct table *t = r->table;
    if (t->rows == r->y_cap) {
        r->y_cap = r->y_cap ? 2 * r->y_cap : 1024;
        t->y = mem_resize(t->y, r->y_cap * sizeof *t->y);
    }
    t->y[t->rows] = class;
}

static void on_label(struct reader *r, const char *text)
{
    struct label *l = find_label(r->labels, text);
    const char *wrong = NULL;
    if (!*text)
        wrong = "missing";
    else if (strlen(text) > MAX_LABEL)
        wrong = "too long";
    else if (!text_is_utf8(bytes_str(text)))
        wrong = "not UTF-8 text";
    if (wrong)
        fail(r, error_set(r->err, STATUS_INVALID, "row %zu, column '%.64s': the label is %s",
                          r->row, column_name(r), wrong));
    else if (!l && HASH_COUNT(r->labels) >= MAX_CLASSES)
        fail(r, error_set(r->err, STATUS_INVALID, "column '%.64s' has more than %u classes",
                          column_name(r), MAX_CLASSES));
    else
        add_label_of_row(r, l ? l->number : add_label(&r->labels, text)->number);
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
        on_header_cell(r, text);
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

/* libcsv keeps a cell in one buffer, which grows by CELL_STEP: its bound. */
static void *resize_cell(void *p, size_t size)
{
    return size > MAX_CELL + 2 * CELL_STEP ? NULL : realloc(p, size);
}

static void fail_syntax(struct reader *r, int code)
{
    if (code == CSV_EPARSE)
        fail(r, error_set(r->err, STATUS_INVALID, "row %zu has a quote where none may be", r->row));
    else
        fail(r, error_set(r->err, STATUS_INVALID, "row %zu has a cell of more than %d bytes",
                          r->row, MAX_CELL));
}

static void parse_all(struct reader *r, struct csv_parser *parser, struct source *source)
{
    static const char mark[] = "\xef\xbb\xbf"; /* of UTF-8, from spreadsheets */
    char block[READ_BYTES];
    size_t got;
    bool first = true;
    do {
        fail(r, source_read(source, block, sizeof block, &got, r->err));
        if (r->status)
            return;
        size_t skip = first && got >= 3 && memcmp(block, mark, 3) == 0 ? 3 : 0;
        first = false;
        if (csv_parse(parser, block + skip, got - skip, on_cell, on_row, r) != got - skip)
            fail_syntax(r, csv_error(parser));
    } while (!r->status && got == sizeof block);
    if (!r->status && csv_fini(parser, on_cell, on_row, r) != 0)
        fail(r, error_set(r->err, STATUS_INVALID, "row %zu: a quoted cell does not end", r->row));
}

static void parse(struct reader *r, const struct source_file *file)
{
    struct csv_parser parser;
    struct source source;
    fail(r, source_open(&source, file, r->err));
    if (r->status)
        return;
    csv_init(&parser, CSV_APPEND_NULL | CSV_STRICT | CSV_STRICT_FINI);
    csv_set_realloc_func(&parser, resize_cell);
    csv_set_blk_size(&parser, CELL_STEP);
    parse_all(r, &parser, &source);
    csv_free(&parser);
    source_close(&source);
}

static int by_value(const void *a, const void *b)
{
    const struct label *l = *(struct label *const *)a, *m = *(struct label *const *)b;
    int order = (l->value > m->value) - (l->value < m->value);
    return order ? order : strcmp(l->text, m->text);
}

static int by_text(const void *a, const void *b)
{
    return strcmp((*(struct label *const *)a)->text, (*(struct label *const *)b)->text);
}

/* Sorts the classes, so that their order does not depend on the order of the rows: as numbers
 * when all of them are (2 before 10), else as text. */
static void sort_classes(struct reader *r)
{
    struct table *t = r->table;
    size_t count = HASH_COUNT(r->labels), i = 0;
    struct label **sorted = mem_alloc(count * sizeof *sorted), *l, *next;
    uint32_t *place = mem_alloc(count * sizeof *place);
    bool numbers = true;
    HASH_ITER(hh, r->labels, l, next)
    {
        sorted[i++] = l;
        numbers = numbers && text_number(bytes_str(l->text), &l->value) == STATUS_OK;
    }
    qsort(sorted, count, sizeof *sorted, numbers ? by_value : by_text);
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

static enum status check_whole(struct reader *r)
{
    if (!r->columns_count)
        return error_set(r->err, STATUS_INVALID,
                         "there are no lines; a table begins with a header");
    if (r->table->rows == 0)
        return error_set(r->err, STATUS_INVALID, "the table has no rows");
    if (HASH_COUNT(r->labels) < 2)
        return error_set(r->err, STATUS_INVALID,
                         "column '%.64s' has only one class: there is nothing to learn", r->target);
    return STATUS_OK;
}

enum status csv_read(const struct source_file *file, const char *target, struct table *out,
                     struct error *err)
{
    struct error inner = { .status = STATUS_OK };
    struct reader r = { .target = target, .table = out, .err = &inner, .row = 1 };
    *out = (struct table){ 0 };
    parse(&r, file);
    if (!r.status)
        fail(&r, check_whole(&r));
    if (!r.status)
        sort_classes(&r);
    drop_labels(&r.names);
    drop_labels(&r.labels);
    free(r.columns);
    if (!r.status)
        return STATUS_OK;
    table_finish(out);
    return error_set(err, r.status, "%s: %s", file->name, inner.text);
}
