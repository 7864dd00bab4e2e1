/* statistics.c - see statistics.h. */
#include "services/trainer/evaluate/statistics.h"

#include "services/trainer/data/sort.h"
#include "services/trainer/json.h"

#include <math.h>
#include <stdlib.h>
#include <yyjson.h>

struct statistics {
    yyjson_mut_doc *doc;
    yyjson_mut_val *columns;
    size_t rows, told;
    float *sorted; /* room for a column */
    const atomic_bool *cancelled;
};

struct statistics *statistics_create(size_t rows, const atomic_bool *cancelled)
{
    struct statistics *s = mem_zalloc(sizeof *s);
    s->rows = rows;
    s->cancelled = cancelled;
    s->doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(s->doc);
    yyjson_mut_doc_set_root(s->doc, root);
    yyjson_mut_obj_add_uint(s->doc, root, "rows", rows);
    s->columns = yyjson_mut_obj_add_arr(s->doc, root, "columns");
    s->sorted = mem_alloc((rows ? rows : 1) * sizeof *s->sorted);
    return s;
}

/* NULL: enough has been told. */
static yyjson_mut_val *add_column(struct statistics *s, const char *name, const char *type,
                                  size_t missing)
{
    if (s->told++ >= STATISTICS_COLUMNS)
        return NULL;
    yyjson_mut_val *column = yyjson_mut_arr_add_obj(s->doc, s->columns);
    yyjson_mut_obj_add_strcpy(s->doc, column, "name", name);
    yyjson_mut_obj_add_str(s->doc, column, "type", type);
    yyjson_mut_obj_add_val(s->doc, column, "missing",
                           json_rounded(s->doc, (double)missing / (double)s->rows));
    return column;
}

static void put_moments(struct statistics *s, yyjson_mut_val *column, size_t count)
{
    double mean = 0, squares = 0;
    for (size_t i = 0; i < count; i++)
        mean += (double)s->sorted[i] / (double)count;
    for (size_t i = 0; i < count; i++)
        squares += ((double)s->sorted[i] - mean) * ((double)s->sorted[i] - mean);
    yyjson_mut_obj_add_val(s->doc, column, "mean", json_rounded(s->doc, mean));
    yyjson_mut_obj_add_val(s->doc, column, "deviation",
                           json_rounded(s->doc, sqrt(squares / (double)count)));
}

/* Edges may be equal where a value is frequent; a row then belongs to the first bin that has room for
 * it, up to and with its upper edge. */
static void put_bins(struct statistics *s, yyjson_mut_val *column, size_t count)
{
    yyjson_mut_val *edges = yyjson_mut_obj_add_arr(s->doc, column, "edges");
    yyjson_mut_val *shares = yyjson_mut_obj_add_arr(s->doc, column, "shares");
    size_t at = 0;
    for (size_t bin = 0; bin <= STATISTICS_BINS; bin++) {
        float edge = s->sorted[bin * (count - 1) / STATISTICS_BINS];
        size_t begin = at;
        yyjson_mut_arr_add_real(s->doc, edges, (double)edge);
        if (bin == 0)
            continue;
        while (at < count && s->sorted[at] <= edge)
            at++;
        yyjson_mut_arr_append(shares, json_rounded(s->doc, (double)(at - begin) / (double)s->rows));
    }
}

void statistics_numbers(struct statistics *s, const char *name, const float *values, size_t stride,
                        const uint32_t *rows)
{
    size_t count = 0;
    for (size_t i = 0; i < s->rows && !cancel_is_set(s->cancelled); i++) {
        float value = values[rows[i] * stride];
        if (isfinite(value))
            s->sorted[count++] = value;
    }
    yyjson_mut_val *column = add_column(s, name, "number", s->rows - count);
    if (!column || !count)
        return;
    sort_floats(s->sorted, count, s->cancelled);
    put_moments(s, column, count);
    put_bins(s, column, count);
}

struct frequent {
    uint32_t code;
    size_t rows;
};

static int more_first(const void *a, const void *b)
{
    const struct frequent *x = a, *y = b;
    if (x->rows != y->rows)
        return x->rows > y->rows ? -1 : 1;
    return (x->code > y->code) - (x->code < y->code);
}

static void put_words(struct statistics *s, yyjson_mut_val *column, const struct frequent *counts,
                      char *const *words, size_t words_count)
{
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(s->doc, column, "words");
    size_t others = 0;
    for (size_t i = 0; i < words_count; i++) {
        if (i >= STATISTICS_WORDS) {
            others += counts[i].rows;
            continue;
        }
        yyjson_mut_val *one = yyjson_mut_arr_add_obj(s->doc, list);
        yyjson_mut_obj_add_strcpy(s->doc, one, "word", words[counts[i].code]);
        yyjson_mut_obj_add_val(s->doc, one, "share",
                               json_rounded(s->doc, (double)counts[i].rows / (double)s->rows));
    }
    yyjson_mut_obj_add_val(s->doc, column, "others",
                           json_rounded(s->doc, (double)others / (double)s->rows));
}

void statistics_words(struct statistics *s, const char *name, const uint32_t *codes,
                      const uint32_t *rows, char *const *words, size_t words_count)
{
    struct frequent *counts = mem_zalloc((words_count + 1) * sizeof *counts);
    size_t missing = 0;
    for (size_t i = 0; i < words_count; i++)
        counts[i].code = (uint32_t)i;
    for (size_t i = 0; i < s->rows; i++) {
        uint32_t code = codes[rows[i]];
        if (code < words_count)
            counts[code].rows++;
        else
            missing++;
    }
    qsort(counts, words_count, sizeof *counts, more_first);
    yyjson_mut_val *column = add_column(s, name, "category", missing);
    if (column)
        put_words(s, column, counts, words, words_count);
    free(counts);
}

void statistics_end(struct statistics *s, struct buf *out)
{
    json_append(s->doc, out);
    free(s->sorted);
    free(s);
}
