/* frame_csv.c - a CSV file into a frame, in two passes. */
#include "services/trainer/data/frame.h"

#include "services/trainer/data/text.h"
#include "services/trainer/data/words.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SHOWN_NAMES 200 /* bytes of column names in an error */

struct reader {
    const struct source_file *file;
    const struct dataframe_options *options;
    struct dataframe *frame;
    struct guess *guesses; /* per column */
    size_t rows;           /* that the first pass has seen */
    size_t file_row;       /* of the second pass; 1 is the header */
    struct words *words;   /* per column */
    double *last;          /* per column: its number in the row before */
    int *way;              /* per column: 1 all numbers rise, -1 all fall, 0 neither */
    bool bad;              /* the row has a bad cell */
};

/* ---- the first pass ----------------------------------------------------------------------------- */

static enum status no_target(const struct reader *r, const char *target, struct error *err)
{
    struct buf list = { 0 };
    const struct dataframe *f = r->frame;
    for (size_t i = 0; i < f->columns_count && list.len < SHOWN_NAMES; i++)
        buf_printf(&list, "%s'%.64s'", i ? ", " : "", f->columns[i].name);
    enum status st = error_set(err, STATUS_INVALID,
                               "there is no column '%.64s' (the target); the header has %s%s",
                               target, buf_cstr(&list), list.len < SHOWN_NAMES ? "" : " ...");
    buf_finish(&list);
    return st;
}

static enum status on_header(void *arg, char *const *names, size_t count, struct error *err)
{
    struct reader *r = arg;
    struct dataframe *f = r->frame;
    f->columns = mem_zalloc(count * sizeof *f->columns);
    r->guesses = mem_zalloc(count * sizeof *r->guesses);
    for (size_t i = 0; i < count; i++)
        f->columns[f->columns_count++].name = mem_str(bytes_str(names[i]));
    for (size_t i = 0; i < r->options->targets_count; i++) {
        struct column *c = dataframe_column(f, r->options->targets[i]);
        if (!c)
            return no_target(r, r->options->targets[i], err);
        c->target = true;
    }
    for (size_t i = 0; i < 2; i++) {
        const char *name = r->options->needed[i];
        struct column *c = name && *name ? dataframe_column(f, name) : NULL;
        if (name && *name && !c)
            return error_set(err, STATUS_INVALID, "there is no column '%.64s' to split by", name);
        if (c)
            c->needed = true;
    }
    if (count <= r->options->targets_count)
        return error_set(err, STATUS_INVALID, "there is no column besides the target");
    return STATUS_OK;
}

static enum status look_at_cell(void *arg, size_t column, struct bytes text, struct error *err)
{
    struct reader *r = arg;
    double number;
    (void)err;
    r->guesses[column].count[cell_read(text, &number)]++;
    return STATUS_OK;
}

static enum status look_at_row(void *arg, bool bad, struct error *err)
{
    struct reader *r = arg;
    r->rows += !bad;
    if (r->rows > MAX_ROWS)
        return error_set(err, STATUS_TOO_LARGE, "the table has more than %u rows", MAX_ROWS);
    if (r->rows * r->frame->columns_count > MAX_CELLS)
        return error_set(err, STATUS_TOO_LARGE, "the table has more than %u cells", MAX_CELLS);
    return source_room(r->file, r->rows, r->frame->columns_count,
                       r->rows * r->frame->columns_count * sizeof(float), err);
}

/* ---- between them ------------------------------------------------------------------------------- */

static bool has_numbers(const struct column *c)
{
    return c->type == COLUMN_NUMBER || c->type == COLUMN_INTEGER;
}

/* A row that turns out to be bad at its end needs room behind the others. */
static void prepare(struct reader *r)
{
    struct dataframe *f = r->frame;
    size_t rows = r->rows + 1;
    r->words = mem_zalloc(f->columns_count * sizeof *r->words);
    r->last = mem_zalloc(f->columns_count * sizeof *r->last);
    r->way = mem_zalloc(f->columns_count * sizeof *r->way);
    for (size_t i = 0; i < f->columns_count; i++) {
        struct column *c = &f->columns[i];
        c->type = guess_type(&r->guesses[i]);
        r->way[i] = c->type == COLUMN_INTEGER ? 1 : 0;
        if (has_numbers(c))
            c->number = mem_alloc(rows * sizeof *c->number);
        if (!has_numbers(c) || c->target)
            c->code = mem_alloc(rows * sizeof *c->code);
    }
}

/* ---- the second pass ---------------------------------------------------------------------------- */

static enum status on_header_again(void *arg, char *const *names, size_t count, struct error *err)
{
    (void)arg;
    (void)names;
    (void)count;
    (void)err;
    return STATUS_OK;
}

/* The row is bad: that ends the reading, or is noted. */
static enum status bad_cell(struct reader *r, const struct column *c, const char *is,
                            struct error *err)
{
    struct dataframe *f = r->frame;
    r->bad = true;
    if (!r->options->csv.drop_bad)
        return error_set(err, STATUS_INVALID, "row %zu, column '%.64s': %s", r->file_row, c->name,
                         is);
    if (!f->dropped_first.status)
        (void)error_set(&f->dropped_first, STATUS_INVALID, "row %zu, column '%.64s': %s",
                        r->file_row, c->name, is);
    return STATUS_OK;
}

/* Watches whether the numbers go one way. */
static void watch(struct reader *r, size_t column, double number)
{
    double last = r->last[column];
    int *way = &r->way[column];
    if (r->frame->rows == 1 && number < last)
        *way = -1;
    if (r->frame->rows && (*way > 0 ? number <= last : number >= last))
        *way = 0;
    r->last[column] = number;
}

static enum status keep_number(struct reader *r, size_t column, struct bytes text,
                               struct error *err)
{
    struct column *c = &r->frame->columns[column];
    char shown[TEXT_SHOWN_SIZE], is[TEXT_SHOWN_SIZE + 48];
    double number = 0;
    enum cell_kind kind = cell_read(text, &number);
    if (kind != CELL_INTEGER && kind != CELL_NUMBER && kind != CELL_MISSING) {
        snprintf(is, sizeof is, "'%s' is not a number (finite, float32)", text_shown(text, shown));
        return bad_cell(r, c, is, err);
    }
    if (kind == CELL_MISSING && c->target)
        return bad_cell(r, c, "the label is missing", err);
    c->number[r->frame->rows] = kind == CELL_MISSING ? NAN : (float)number;
    if (kind == CELL_MISSING)
        r->way[column] = 0;
    else if (r->way[column])
        watch(r, column, number);
    return STATUS_OK;
}

static enum status keep_word(struct reader *r, size_t column, struct bytes text, struct error *err)
{
    struct column *c = &r->frame->columns[column];
    double number;
    enum cell_kind kind = cell_read(text, &number);
    uint32_t code = CODE_MISSING;
    if (kind == CELL_BAD)
        return bad_cell(r, c, c->target ? "the label is not UTF-8 text" : "it is not UTF-8 text",
                        err);
    if (kind == CELL_MISSING && c->target)
        return bad_cell(r, c, "the label is missing", err);
    if (c->target && text.len > MAX_LABEL)
        return bad_cell(r, c, "the label is too long", err);
    if (kind != CELL_MISSING) {
        size_t max = c->target ? MAX_CLASSES : c->needed ? MAX_ROWS : MAX_WORDS;
        code = words_add(&r->words[column], text, max);
        if (code == WORDS_NONE) { /* it turns out to be TEXT, or a target of values */
            free(c->code);
            c->code = NULL;
            return STATUS_OK;
        }
    }
    c->code[r->frame->rows] = code;
    return STATUS_OK;
}

static enum status on_cell(void *arg, size_t column, struct bytes text, struct error *err)
{
    struct reader *r = arg;
    const struct column *c = &r->frame->columns[column];
    enum status st = STATUS_OK;
    if (r->bad)
        return STATUS_OK;
    if (c->target && !c->code && !c->number)
        return STATUS_OK;
    if (c->code || c->target)
        st = c->code ? keep_word(r, column, text, err) : STATUS_OK;
    if (!st && c->number && !r->bad)
        st = keep_number(r, column, text, err);
    return st;
}

/* Words of a row that is dropped stay counted, which matters to nobody. */
static enum status on_row(void *arg, bool bad, struct error *err)
{
    struct reader *r = arg;
    struct dataframe *f = r->frame;
    (void)err;
    if (bad && !f->dropped_first.status)
        (void)error_set(&f->dropped_first, STATUS_INVALID,
                        "row %zu has more or fewer columns than the header", r->file_row);
    if (bad || r->bad || f->rows == r->rows)
        f->dropped++;
    else
        f->rows++;
    r->bad = false;
    r->file_row++;
    return STATUS_OK;
}

/* ---- the end ------------------------------------------------------------------------------------ */

/* Words that are in no row any more keep their numbers. */
static void take_words(struct column *c, struct words *w, size_t rows)
{
    size_t missing = 0;
    for (size_t i = 0; c->code && i < rows; i++)
        missing += c->code[i] == CODE_MISSING;
    for (size_t i = 0; c->number && i < rows; i++)
        missing += isnan(c->number[i]);
    c->missing = missing;
    bool many = w->count > TEXT_ROWS && (double)w->count > TEXT_SHARE * (double)(rows - missing);
    if (!c->number && !c->target && c->type != COLUMN_DATE && (many || !c->code)) {
        c->type = COLUMN_TEXT;
        c->all_differ = w->count >= (rows - missing < MAX_WORDS ? rows - missing : MAX_WORDS);
        if (!c->needed) {
            free(c->code);
            c->code = NULL;
        }
    }
    if (!c->code)
        return;
    c->words = mem_alloc((w->count ? w->count : 1) * sizeof *c->words);
    for (; c->words_count < w->count; c->words_count++)
        c->words[c->words_count] = mem_str(bytes_str(w->list[c->words_count].text));
}

static enum status finish(struct reader *r, const char *name, struct error *err)
{
    struct dataframe *f = r->frame;
    if (!f->rows)
        return f->dropped ? error_set(err, STATUS_INVALID,
                                      "%s: there are no rows left: all %zu are bad; the first: %s",
                                      name, f->dropped, f->dropped_first.text)
                          : error_set(err, STATUS_INVALID, "%s: the table has no rows", name);
    for (size_t i = 0; i < f->columns_count; i++) {
        take_words(&f->columns[i], &r->words[i], f->rows);
        f->columns[i].one_way = r->way[i] != 0;
        if (source_cancelled(r->file))
            return error_set(err, STATUS_CANCELLED, "cancelled");
    }
    return STATUS_OK;
}

enum status dataframe_read_csv(const struct source_file *file,
                               const struct dataframe_options *options, struct dataframe *out,
                               struct error *err)
{
    static const struct csv_events look = { on_header, look_at_cell, look_at_row };
    static const struct csv_events keep = { on_header_again, on_cell, on_row };
    struct reader r = { .file = file, .options = options, .frame = out, .file_row = 2 };
    *out = (struct dataframe){ 0 };
    enum status st = csv_scan(file, &options->csv, &look, &r, err);
    if (!st) {
        prepare(&r);
        st = csv_scan(file, &options->csv, &keep, &r, err);
    }
    if (!st)
        st = finish(&r, file->name, err);
    for (size_t i = 0; r.words && i < out->columns_count; i++)
        words_finish(&r.words[i]);
    free(r.words);
    free(r.guesses);
    free(r.last);
    free(r.way);
    if (st)
        dataframe_finish(out);
    return st;
}
