/* profile_json.c - a profile as JSON. */
#include "services/trainer/data/profile_parts.h"

#include "services/trainer/data/frame.h"
#include "services/trainer/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static int more_first(const void *a, const void *b)
{
    const struct word *x = a, *y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return strcmp(x->text, y->text);
}

/* Words that are mostly different are TEXT, as in a frame. */
static enum column_type type_of(const struct profile_column *c)
{
    enum column_type type = guess_type(&c->guess);
    uint64_t kept = 0;
    if (type != COLUMN_CATEGORY)
        return type;
    for (size_t i = 0; i < c->words.count; i++)
        kept += c->words.list[i].count;
    bool many =
        c->words.count > TEXT_ROWS && (double)c->words.count > TEXT_SHARE * (double)c->counted;
    bool longer = (double)c->long_words > TEXT_SHARE * (double)c->counted;
    bool spread = c->reduced && (double)kept < TEXT_SHARE * (double)c->counted;
    return many || longer || spread ? COLUMN_TEXT : type;
}

static void put_quantiles(const struct profile *p, size_t column, yyjson_mut_doc *doc,
                          yyjson_mut_val *o)
{
    static const double shares[] = { 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99 };
    size_t slots = p->rows < p->slots ? (size_t)p->rows : p->slots, count = 0;
    float *list = mem_alloc((slots + 1) * sizeof *list);
    for (size_t i = 0; i < slots; i++)
        if (!isnan(p->sample[i * p->columns_count + column]))
            list[count++] = p->sample[i * p->columns_count + column];
    qsort(list, count, sizeof *list, by_size);
    yyjson_mut_val *quantiles = yyjson_mut_obj_add_obj(doc, o, "quantiles");
    for (size_t i = 0; count && i < sizeof shares / sizeof *shares; i++) {
        char name[16];
        double at = shares[i] * (double)(count - 1);
        size_t low = (size_t)at, high = low + 1 < count ? low + 1 : low;
        double value = list[low] + (at - (double)low) * ((double)list[high] - (double)list[low]);
        snprintf(name, sizeof name, "%g", shares[i]);
        yyjson_mut_obj_add(quantiles, yyjson_mut_strcpy(doc, name), yyjson_mut_real(doc, value));
    }
    free(list);
}

static void put_numbers(const struct profile *p, size_t column, yyjson_mut_doc *doc,
                        yyjson_mut_val *o)
{
    const struct profile_column *c = &p->columns[column];
    double n = (double)(c->guess.count[CELL_INTEGER] + c->guess.count[CELL_NUMBER]);
    double variance = (c->squares - c->sum * c->sum / n) / n;
    yyjson_mut_obj_add_real(doc, o, "min", c->least);
    yyjson_mut_obj_add_real(doc, o, "max", c->largest);
    yyjson_mut_obj_add_real(doc, o, "mean", c->first + c->sum / n);
    yyjson_mut_obj_add_real(doc, o, "std", variance > 0 ? sqrt(variance) : 0);
    put_quantiles(p, column, doc, o);
}

/* Sorts the words. */
static void put_top(const struct profile *p, struct profile_column *c, const char *name,
                    yyjson_mut_doc *doc, yyjson_mut_val *o)
{
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, o, name);
    if (c->words.count)
        qsort(c->words.list, c->words.count, sizeof *c->words.list, more_first);
    for (size_t i = 0; i < c->words.count && i < PROFILE_TOP; i++) {
        const struct word *w = &c->words.list[i];
        yyjson_mut_val *item = yyjson_mut_arr_add_obj(doc, list);
        yyjson_mut_obj_add_strn(doc, item, "value", w->text, w->len);
        yyjson_mut_obj_add_uint(doc, item, "count", w->count);
        yyjson_mut_obj_add_real(doc, item, "share", (double)w->count / (double)p->rows);
    }
    if (c->reduced)
        yyjson_mut_obj_add_uint(doc, o, "top_error", c->reduced);
    else if (!c->long_words)
        yyjson_mut_obj_add_uint(doc, o, "distinct", c->words.count);
}

static void put_column(const struct profile *p, size_t column, yyjson_mut_doc *doc,
                       yyjson_mut_val *list)
{
    struct profile_column *c = &p->columns[column];
    enum column_type type = type_of(c);
    yyjson_mut_val *o = yyjson_mut_arr_add_obj(doc, list);
    yyjson_mut_obj_add_str(doc, o, "name", c->name);
    yyjson_mut_obj_add_str(doc, o, "type", column_type_name(type));
    yyjson_mut_obj_add_bool(doc, o, "left_out", type == COLUMN_TEXT || type == COLUMN_DATE);
    yyjson_mut_obj_add_real(doc, o, "missing",
                            p->rows ? (double)c->guess.count[CELL_MISSING] / (double)p->rows : 0);
    if (c->guess.count[CELL_BAD])
        yyjson_mut_obj_add_uint(doc, o, "not_utf8", c->guess.count[CELL_BAD]);
    if (type == COLUMN_NUMBER || type == COLUMN_INTEGER) {
        uint64_t others =
            c->guess.count[CELL_WORD] + c->guess.count[CELL_BOOLEAN] + c->guess.count[CELL_DATE];
        put_numbers(p, column, doc, o);
        if (others)
            yyjson_mut_obj_add_uint(doc, o, "not_numbers", others);
    } else {
        put_top(p, c, "top", doc, o);
    }
}

/* Of a target with few different values. */
static void put_balance(const struct profile *p, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
    struct profile_column *c = &p->columns[p->target];
    if (c->reduced || c->long_words || !c->words.count)
        return;
    yyjson_mut_val *o = yyjson_mut_obj_add_obj(doc, root, "class_balance");
    yyjson_mut_obj_add_str(doc, o, "column", c->name);
    put_top(p, c, "classes", doc, o);
}

void profile_put(const struct profile *p, struct buf *out)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    yyjson_mut_obj_add_uint(doc, root, "rows", p->rows);
    yyjson_mut_obj_add_uint(doc, root, "bad_rows", p->bad_rows);
    yyjson_mut_obj_add_uint(doc, root, "columns_count", p->columns_count);
    yyjson_mut_obj_add_uint(doc, root, "sampled_rows", p->rows < p->slots ? p->rows : p->slots);
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "columns");
    for (size_t i = 0; i < p->columns_count; i++)
        put_column(p, i, doc, list);
    put_balance(p, doc, root);
    json_append(doc, out);
}
