/* profile.c - see profile.h. */
#include "services/trainer/data/profile_parts.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define WORD_BYTES  128 /* of a word in a table, roughly, with its text */
#define WORDS_LEAST 8u

static enum status on_header(void *arg, char *const *names, size_t count, struct error *err)
{
    struct profile *p = arg;
    const char *target = p->options->target ? p->options->target : "";
    assert(count); /* a line that is not empty has a cell */
    if (count > PROFILE_COLUMNS)
        return error_set(err, STATUS_TOO_LARGE, "it has more than %u columns", PROFILE_COLUMNS);
    p->columns = mem_zalloc(count * sizeof *p->columns);
    p->target = count - 1;
    for (; p->columns_count < count; p->columns_count++)
        p->columns[p->columns_count].name = mem_str(bytes_str(names[p->columns_count]));
    for (size_t i = 0; i < count && *target; i++) {
        if (strcmp(names[i], target) == 0) {
            p->target = i;
            break;
        }
        if (i + 1 == count)
            return error_set(err, STATUS_INVALID, "there is no column '%.64s'", target);
    }
    size_t slots = PROFILE_SAMPLE_BYTES / (count * sizeof *p->sample);
    size_t words = PROFILE_WORDS_BYTES / (count * WORD_BYTES);
    p->slots = slots < PROFILE_SAMPLE ? slots : PROFILE_SAMPLE;
    p->words_max = words < WORDS_LEAST     ? WORDS_LEAST
                   : words < PROFILE_WORDS ? words
                                           : PROFILE_WORDS;
    p->sample = mem_alloc(p->slots * count * sizeof *p->sample);
    return STATUS_OK;
}

static void add_number(struct profile_column *c, double number)
{
    if (c->guess.count[CELL_INTEGER] + c->guess.count[CELL_NUMBER] == 1)
        c->first = c->least = c->largest = number;
    double above = number - c->first;
    c->sum += above;
    c->squares += above * above;
    c->least = number < c->least ? number : c->least;
    c->largest = number > c->largest ? number : c->largest;
}

static void add_word(struct profile *p, struct profile_column *c, struct bytes text)
{
    c->counted++;
    if (text.len > PROFILE_WORD_MAX) {
        c->long_words++;
    } else if (words_add(&c->words, text, p->words_max) == WORDS_NONE) {
        words_reduce(&c->words);
        c->reduced++;
    }
}

static enum status on_cell(void *arg, size_t column, struct bytes text, struct error *err)
{
    struct profile *p = arg;
    struct profile_column *c = &p->columns[column];
    double number;
    enum cell_kind kind = cell_read(text, &number);
    bool is_number = kind == CELL_INTEGER || kind == CELL_NUMBER;
    (void)err;
    c->guess.count[kind]++;
    if (is_number)
        add_number(c, number);
    if (p->slot < p->slots)
        p->sample[p->slot * p->columns_count + column] = is_number ? (float)number : NAN;
    if (kind != CELL_MISSING && kind != CELL_BAD && (!is_number || column == p->target))
        add_word(p, c, text);
    return STATUS_OK;
}

/* How far it is to the next row of the sample, and its slot. */
static void skip(struct profile *p)
{
    double share = 1 / (double)p->slots;
    p->weight *= exp(log(1 - random_uniform(&p->random)) * share);
    double step = floor(log(1 - random_uniform(&p->random)) / log1p(-p->weight));
    p->next += 1 + (step < 1e15 ? (uint64_t)step : (uint64_t)1e15);
}

static enum status on_row(void *arg, bool bad, struct error *err)
{
    struct profile *p = arg;
    (void)err;
    if (bad) {
        p->bad_rows++;
        return STATUS_OK;
    }
    if (++p->rows < p->slots) {
        p->slot = (size_t)p->rows;
        return STATUS_OK;
    }
    if (p->rows == p->slots) {
        p->next = p->rows - 1;
        skip(p);
    }
    p->slot = p->slots;
    if (p->rows == p->next) {
        p->slot = (size_t)(random_u64(&p->random) % p->slots);
        skip(p);
    }
    return STATUS_OK;
}

enum status profile_csv(const struct source_file *file, const struct profile_options *options,
                        struct buf *out, struct error *err)
{
    static const struct csv_events events = { on_header, on_cell, on_row };
    const struct csv_options csv = { options->csv.delimiter, true };
    struct profile p = { .options = options, .weight = 1 };
    enum status st = csv_scan(file, &csv, &events, &p, err);
    if (!st)
        profile_put(&p, out);
    for (size_t i = 0; i < p.columns_count; i++) {
        words_finish(&p.columns[i].words);
        free(p.columns[i].name);
    }
    free(p.columns);
    free(p.sample);
    return st;
}
