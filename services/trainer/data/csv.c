/* csv.c - see csv.h. */
#include "services/trainer/data/csv.h"

#include "services/trainer/data/text.h"

#include <csv.h>
#include <stdlib.h>
#include <uthash.h>

#define READ_BYTES   65536
#define CELL_STEP    256 /* bytes by which libcsv's buffer for a cell grows */
#define COLUMNS_STEP 64

/* A column's name, to see what is there twice. */
struct label {
    UT_hash_handle hh;
    char *text;
};

struct csv {
    const struct csv_options *options;
    const struct csv_events *events;
    void *arg;
    struct error *err;
    enum status status;
    struct label *labels;
    char **names; /* the same in order; borrowed */
    size_t columns;
    size_t row;    /* 1 is the header */
    size_t column; /* of the next cell */
    bool bad;      /* the row has a cell too many */
};

static void fail(struct csv *c, enum status st)
{
    if (!c->status)
        c->status = st;
}

static void on_name(struct csv *c, struct bytes name)
{
    size_t n = c->columns;
    struct label *l;
    HASH_FIND(hh, c->labels, name.data, name.len, l);
    if (!name.len)
        fail(c, error_set(c->err, STATUS_INVALID, "column %zu has no name in the header", n + 1));
    else if (!text_is_utf8(name))
        fail(c,
             error_set(c->err, STATUS_INVALID, "the name of column %zu is not UTF-8 text", n + 1));
    else if (l)
        fail(c, error_set(c->err, STATUS_INVALID, "the header names the column '%.64s' twice",
                          l->text));
    else if (n >= MAX_COLUMNS)
        fail(c, error_set(c->err, STATUS_TOO_LARGE, "there are more than %u columns", MAX_COLUMNS));
    if (c->status)
        return;
    if (n % COLUMNS_STEP == 0)
        c->names = mem_resize(c->names, (n + COLUMNS_STEP) * sizeof *c->names);
    l = mem_zalloc(sizeof *l);
    l->text = mem_str(name);
    HASH_ADD_KEYPTR(hh, c->labels, l->text, name.len, l);
    c->names[c->columns++] = l->text;
}

static void too_many_cells(struct csv *c)
{
    c->bad = true;
    if (!c->options->drop_bad)
        fail(c,
             error_set(c->err, STATUS_INVALID,
                       "row %zu has more than the %zu columns of the header", c->row, c->columns));
}

/* libcsv: one cell is complete. */
static void on_cell(void *cell, size_t len, void *arg)
{
    struct csv *c = arg;
    struct bytes text = bytes_of(cell, len);
    if (c->status)
        return;
    if (len > MAX_CELL || (len && memchr(cell, 0, len)))
        fail(c, error_set(c->err, STATUS_INVALID, "row %zu has a cell that is too long or binary",
                          c->row));
    else if (c->row == 1)
        on_name(c, text);
    else if (c->column >= c->columns)
        too_many_cells(c);
    else
        fail(c, c->events->cell(c->arg, c->column, text, c->err));
    c->column++;
}

static void on_data_row(struct csv *c)
{
    bool bad = c->bad || c->column != c->columns;
    if (bad && !c->options->drop_bad)
        fail(c, error_set(c->err, STATUS_INVALID, "row %zu has %zu columns; the header has %zu",
                          c->row, c->column, c->columns));
    else
        fail(c, c->events->row(c->arg, bad, c->err));
}

/* libcsv: one row is complete. */
static void on_row(int terminator, void *arg)
{
    struct csv *c = arg;
    (void)terminator;
    if (c->status)
        return;
    if (c->row == 1)
        fail(c, c->events->header(c->arg, c->names, c->columns, c->err));
    else
        on_data_row(c);
    c->row++;
    c->column = 0;
    c->bad = false;
}

/* libcsv keeps a cell in one buffer, which grows by CELL_STEP: its bound. */
static void *resize_cell(void *p, size_t size)
{
    return size > MAX_CELL + 2 * CELL_STEP ? NULL : realloc(p, size);
}

static void fail_syntax(struct csv *c, int code)
{
    if (code == CSV_EPARSE)
        fail(c, error_set(c->err, STATUS_INVALID, "row %zu has a quote where none may be", c->row));
    else
        fail(c, error_set(c->err, STATUS_INVALID, "row %zu has a cell of more than %d bytes",
                          c->row, MAX_CELL));
}

/* The candidate that stands most often in the first line, outside of quotes. */
static char find_delimiter(const char *text, size_t len)
{
    static const char candidates[] = ",;\t|";
    size_t count[sizeof candidates] = { 0 }, best = 0, i = 0;
    bool quoted = false;
    while (i < len && (text[i] == '\n' || text[i] == '\r'))
        i++;
    for (; i < len && (quoted || (text[i] != '\n' && text[i] != '\r')); i++) {
        const char *found = text[i] ? strchr(candidates, text[i]) : NULL;
        quoted ^= text[i] == '"';
        if (found && !quoted)
            count[found - candidates]++;
    }
    for (size_t k = 1; k < sizeof candidates; k++)
        best = count[k] > count[best] ? k : best;
    return candidates[best];
}

static void parse_all(struct csv *c, struct csv_parser *parser, struct source *source)
{
    static const char mark[] = "\xef\xbb\xbf"; /* of UTF-8, from spreadsheets */
    char block[READ_BYTES];
    size_t got;
    bool first = true;
    do {
        fail(c, source_read(source, block, sizeof block, &got, c->err));
        if (c->status)
            return;
        size_t skip = first && got >= 3 && memcmp(block, mark, 3) == 0 ? 3 : 0;
        if (first)
            csv_set_delim(parser, (unsigned char)(c->options->delimiter
                                                      ? c->options->delimiter
                                                      : find_delimiter(block + skip, got - skip)));
        first = false;
        if (csv_parse(parser, block + skip, got - skip, on_cell, on_row, c) != got - skip)
            fail_syntax(c, csv_error(parser));
    } while (!c->status && got == sizeof block);
    if (!c->status && csv_fini(parser, on_cell, on_row, c) != 0)
        fail(c, error_set(c->err, STATUS_INVALID, "row %zu: a quoted cell does not end", c->row));
    if (!c->status && c->row == 1)
        fail(c,
             error_set(c->err, STATUS_INVALID, "there are no lines; a table begins with a header"));
}

static void parse(struct csv *c, const struct source_file *file)
{
    struct csv_parser parser;
    struct source source;
    fail(c, source_open(&source, file, c->err));
    if (c->status)
        return;
    csv_init(&parser, CSV_APPEND_NULL | CSV_STRICT | CSV_STRICT_FINI);
    csv_set_realloc_func(&parser, resize_cell);
    csv_set_blk_size(&parser, CELL_STEP);
    parse_all(c, &parser, &source);
    csv_free(&parser);
    source_close(&source);
}

enum status csv_scan(const struct source_file *file, const struct csv_options *options,
                     const struct csv_events *events, void *arg, struct error *err)
{
    struct error inner = { .status = STATUS_OK };
    struct csv c = { .options = options, .events = events, .arg = arg, .err = &inner, .row = 1 };
    struct label *l, *next;
    parse(&c, file);
    HASH_ITER(hh, c.labels, l, next)
    {
        HASH_DEL(c.labels, l);
        free(l->text);
        free(l);
    }
    free(c.names);
    return c.status ? error_set(err, c.status, "%s: %s", file->name, inner.text) : STATUS_OK;
}
