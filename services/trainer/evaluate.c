/* evaluate.c - accuracy, log loss, macro F1, confusion matrix. */
#include "services/trainer/evaluate.h"

#include <math.h>
#include <stdlib.h>

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

static void put_matrix(struct buf *out, const uint64_t *matrix, size_t classes)
{
    buf_append_str(out, ",\"confusion\":[");
    for (size_t c = 0; c < classes; c++) {
        buf_append_str(out, c ? ",[" : "[");
        for (size_t k = 0; k < classes; k++)
            buf_printf(out, "%s%llu", k ? "," : "", (unsigned long long)matrix[c * classes + k]);
        buf_append_str(out, "]");
    }
    buf_append_str(out, "]");
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
    buf_printf(out, "{\"accuracy\":%.6f,\"log_loss\":%.6f,\"macro_f1\":%.6f,\"rows\":%zu",
               (double)hits / (double)t->rows, loss / (double)t->rows, macro_f1(matrix, classes),
               t->rows);
    if (classes <= CONFUSION_CLASSES_MAX)
        put_matrix(out, matrix, classes);
    buf_append_str(out, "}");
    free(matrix);
}
