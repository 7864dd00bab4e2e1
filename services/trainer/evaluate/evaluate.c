/* evaluate.c - metrics of classes or of values; permutation importance. */
#include "services/trainer/evaluate/parts.h"

#include "services/trainer/random.h"

#include <math.h>
#include <stdlib.h>
#include <yyjson.h>

void evaluate_json(const struct table *t, const float *answers, const atomic_bool *cancelled,
                   struct buf *out)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    if (t->outputs)
        values_put(t, answers, doc, root);
    else
        classes_put(t, answers, cancelled, doc, root);
    json_append(doc, out);
}

double evaluate_score(const struct table *t, const float *answers)
{
    return t->outputs ? values_score(t, answers) : classes_score(t, answers);
}

/* ---- permutation importance ---------------------------------------------------------------- */

struct weight {
    size_t column;
    double loss; /* of the score */
};

static int heavier_first(const void *a, const void *b)
{
    const struct weight *x = a, *y = b;
    if (x->loss != y->loss)
        return x->loss > y->loss ? -1 : 1;
    return (x->column > y->column) - (x->column < y->column);
}

size_t importance_rows(size_t rows, size_t columns, size_t width)
{
    if (!columns || columns > IMPORTANCE_COLUMNS)
        return 0;
    size_t afford = IMPORTANCE_CELLS / (columns * (width ? width : 1));
    size_t most = afford < IMPORTANCE_ROWS ? afford : IMPORTANCE_ROWS;
    rows = rows < most ? rows : most;
    return rows < IMPORTANCE_ROWS_LEAST ? 0 : rows;
}

static void put_weights(const struct importance *i, struct weight *weights, struct buf *out)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *list = yyjson_mut_arr(doc);
    yyjson_mut_doc_set_root(doc, list);
    qsort(weights, i->columns, sizeof *weights, heavier_first);
    for (size_t k = 0; k < i->columns; k++) {
        yyjson_mut_val *one = yyjson_mut_arr_add_obj(doc, list);
        yyjson_mut_obj_add_strcpy(doc, one, "column", i->name(i->arg, weights[k].column));
        yyjson_mut_obj_add_val(doc, one, "importance", json_rounded(doc, weights[k].loss));
    }
    json_append(doc, out);
}

enum status importance_json(const struct importance *i, uint64_t seed, struct buf *out,
                            struct error *err)
{
    size_t rows = i->truth->rows;
    struct random random = { .state = seed ^ 0x696d70u };
    if (!rows || i->columns > IMPORTANCE_COLUMNS) {
        buf_append_str(out, "[]");
        return STATUS_OK;
    }
    float *answers = mem_alloc(rows * table_width(i->truth) * sizeof *answers);
    uint32_t *order = mem_alloc(rows * sizeof *order);
    struct weight *weights = mem_alloc(i->columns * sizeof *weights);
    for (uint32_t k = 0; k < rows; k++)
        order[k] = k;
    enum status st = i->predict(i->arg, SIZE_MAX, order, answers);
    double whole = st ? 0 : evaluate_score(i->truth, answers);
    for (size_t k = 0; k < i->columns && !st; k++) {
        random_shuffle(&random, order, rows);
        st = i->predict(i->arg, k, order, answers);
        weights[k] = (struct weight){ k, st ? 0 : whole - evaluate_score(i->truth, answers) };
    }
    if (st)
        error_set(err, st, "%s", status_text(st));
    else
        put_weights(i, weights, out);
    free(answers);
    free(order);
    free(weights);
    return st;
}
