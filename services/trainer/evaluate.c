/* evaluate.c - accuracy, log loss, macro F1, confusion matrix. */
#include "services/trainer/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <yyjson.h>

#define CONFUSION_CLASSES_MAX 32 /* a larger matrix does not help anybody */

static double macro_f1(const uint64_t *matrix, size_t classes)
{
    double sum = 0;
    for (size_t c = 0; c < classes; c++) {
        uint64_t hit = matrix[c * classes + c], actual = 0, predicted = 0;
        for (size_t k = 0; k < classes; k++) {
            actual += matrix[c * classes + k];
            predicted += matrix[k * classes + c];
        }
        if (actual + predicted)
            sum += 2.0 * (double)hit / (double)(actual + predicted);
    }
    return sum / (double)classes;
}

static void put_matrix(yyjson_mut_doc *doc, yyjson_mut_val *root, const uint64_t *matrix,
                       size_t classes)
{
    yyjson_mut_val *rows = yyjson_mut_obj_add_arr(doc, root, "confusion");
    for (size_t c = 0; c < classes; c++)
        yyjson_mut_arr_append(rows, yyjson_mut_arr_with_uint64(doc, matrix + c * classes, classes));
}

static void add_rounded(yyjson_mut_doc *doc, yyjson_mut_val *root, const char *key, double value)
{
    yyjson_mut_obj_add_real(doc, root, key, round(value * 1e6) / 1e6);
}

void evaluate_json(const struct table *t, const float *probabilities, struct buf *out)
{
    size_t classes = t->classes_count, hits = 0;
    double loss = 0;
    uint64_t *matrix = mem_zalloc(classes * classes * sizeof *matrix);
    for (size_t i = 0; i < t->rows; i++) {
        const float *p = probabilities + i * classes;
        size_t best = 0;
        for (size_t c = 1; c < classes; c++)
            best = p[c] > p[best] ? c : best;
        hits += best == t->y[i];
        loss -= log(p[t->y[i]] > 1e-30f ? (double)p[t->y[i]] : 1e-30);
        matrix[t->y[i] * classes + best]++;
    }
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    size_t len = 0;
    yyjson_mut_doc_set_root(doc, root);
    add_rounded(doc, root, "accuracy", (double)hits / (double)t->rows);
    add_rounded(doc, root, "log_loss", loss / (double)t->rows);
    add_rounded(doc, root, "macro_f1", macro_f1(matrix, classes));
    yyjson_mut_obj_add_uint(doc, root, "rows", t->rows);
    if (classes <= CONFUSION_CLASSES_MAX)
        put_matrix(doc, root, matrix, classes);
    char *text = yyjson_mut_write(doc, 0, &len);
    buf_append(out, text, len);
    free(text);
    yyjson_mut_doc_free(doc);
    free(matrix);
}
