/* classes.c - of classifiers: accuracy, log loss, F1, areas under curves, calibration. */
#include "services/trainer/data/sort.h"
#include "services/trainer/evaluate/parts.h"

#include <math.h>
#include <stdlib.h>
#include <yyjson.h>

#define PROBABILITY_LEAST 1e-30 /* the logarithm of nothing is no number */

/* What one pass over the rows counts. */
struct tally {
    size_t rows, classes, hits;
    double loss;
    uint64_t *matrix; /* classes x classes: true, predicted */
    struct bin {
        uint64_t rows, hits;
        double confidence; /* sum */
    } bins[CALIBRATION_BINS];
};

static size_t best_of(const float *p, size_t classes)
{
    size_t best = 0;
    for (size_t c = 1; c < classes; c++)
        best = p[c] > p[best] ? c : best;
    return best;
}

static void count_row(struct tally *t, const float *p, uint32_t is)
{
    size_t best = best_of(p, t->classes);
    double truth = (double)p[is], confidence = (double)p[best];
    size_t bin = confidence > 0 ? (size_t)(confidence * CALIBRATION_BINS) : 0;
    struct bin *b = &t->bins[bin < CALIBRATION_BINS ? bin : CALIBRATION_BINS - 1];
    t->hits += best == is;
    t->loss -= log(truth > PROBABILITY_LEAST ? truth : PROBABILITY_LEAST);
    t->matrix[is * t->classes + best]++;
    b->rows++;
    b->hits += best == is;
    b->confidence += confidence;
}

/* Means over classes: of F1 over all that were there or predicted, of recall over those that were
 * there (that is the balanced accuracy). */
static void mean_of_classes(const struct tally *t, double *f1, double *recall)
{
    size_t seen = 0;
    *f1 = *recall = 0;
    for (size_t c = 0; c < t->classes; c++) {
        uint64_t hit = t->matrix[c * t->classes + c], actual = 0, predicted = 0;
        for (size_t k = 0; k < t->classes; k++) {
            actual += t->matrix[c * t->classes + k];
            predicted += t->matrix[k * t->classes + c];
        }
        if (actual + predicted)
            *f1 += 2.0 * (double)hit / (double)(actual + predicted);
        if (actual) {
            *recall += (double)hit / (double)actual;
            seen++;
        }
    }
    *f1 /= (double)t->classes;
    *recall /= seen ? (double)seen : 1;
}

/* ---- area under the ROC curve --------------------------------------------------------------- */

struct scored {
    float score;
    bool positive;
};

static int by_score(const void *a, const void *b)
{
    float x = ((const struct scored *)a)->score, y = ((const struct scored *)b)->score;
    return (x > y) - (x < y);
}

/* How often a row of the class has a larger score than a row of another, a tie counting half: the
 * statistic of Mann and Whitney, by ranks.  NaN: there are rows of one kind only. */
static double area(struct scored *list, size_t count, const atomic_bool *cancelled)
{
    double ranks = 0, positives = 0;
    sort_list(list, count, sizeof *list, by_score, cancelled);
    for (size_t i = 0, end; i < count; i = end) {
        size_t in_tie = 0;
        for (end = i; end < count && !(list[end].score > list[i].score); end++)
            in_tie += list[end].positive;
        ranks += (double)in_tie * ((double)(i + end + 1) / 2); /* ranks begin with 1 */
        positives += (double)in_tie;
    }
    double negatives = (double)count - positives;
    return (ranks - positives * (positives + 1) / 2) / (positives * negatives);
}

/* Of two classes: of the second.  Of more: the mean over each against the rest (Provost and
 * Domingos 2000, without weights), where that says something. */
static double mean_area(const struct table *t, const float *p, const atomic_bool *cancelled)
{
    size_t classes = t->classes_count, counted = 0;
    struct scored *list = mem_alloc(t->rows * sizeof *list);
    double sum = 0;
    for (size_t c = classes == 2 ? 1 : 0; c < classes; c++) {
        if (cancel_is_set(cancelled))
            break;
        for (size_t i = 0; i < t->rows; i++)
            list[i] = (struct scored){ p[i * classes + c], t->y[i] == c };
        double one = area(list, t->rows, cancelled);
        if (!isfinite(one))
            continue;
        sum += one;
        counted++;
    }
    free(list);
    return counted ? sum / (double)counted : NAN;
}

/* ---- JSON ---------------------------------------------------------------------------------------- */

/* Expected calibration error: how far confidence and accuracy are from each other, over bins of the
 * same width (Guo et al., On Calibration of Modern Neural Networks, 2017). */
static void put_calibration(const struct tally *t, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
    yyjson_mut_val *object = yyjson_mut_obj_add_obj(doc, root, "calibration");
    yyjson_mut_val *bins = yyjson_mut_arr(doc);
    double error = 0;
    for (size_t i = 0; i < CALIBRATION_BINS; i++) {
        const struct bin *b = &t->bins[i];
        if (!b->rows)
            continue;
        yyjson_mut_val *one = yyjson_mut_arr_add_obj(doc, bins);
        double n = (double)b->rows;
        error += fabs(b->confidence - (double)b->hits) / (double)t->rows;
        yyjson_mut_obj_add_uint(doc, one, "rows", b->rows);
        yyjson_mut_obj_add_val(doc, one, "confidence", json_rounded(doc, b->confidence / n));
        yyjson_mut_obj_add_val(doc, one, "accuracy", json_rounded(doc, (double)b->hits / n));
    }
    yyjson_mut_obj_add_val(doc, object, "expected_error", json_rounded(doc, error));
    yyjson_mut_obj_add_val(doc, object, "bins", bins);
}

static void put_matrix(const struct tally *t, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
    yyjson_mut_val *rows = yyjson_mut_obj_add_arr(doc, root, "confusion");
    for (size_t c = 0; c < t->classes; c++)
        yyjson_mut_arr_append(
            rows, yyjson_mut_arr_with_uint64(doc, t->matrix + c * t->classes, t->classes));
}

void classes_put(const struct table *table, const float *p, const atomic_bool *cancelled,
                 yyjson_mut_doc *doc, yyjson_mut_val *root)
{
    struct tally t = { .rows = table->rows, .classes = table->classes_count };
    double f1, recall, n = (double)t.rows;
    t.matrix = mem_zalloc(t.classes * t.classes * sizeof *t.matrix);
    for (size_t i = 0; i < t.rows; i++)
        count_row(&t, p + i * t.classes, table->y[i]);
    mean_of_classes(&t, &f1, &recall);
    yyjson_mut_obj_add_val(doc, root, "accuracy", json_rounded(doc, (double)t.hits / n));
    yyjson_mut_obj_add_val(doc, root, "balanced_accuracy", json_rounded(doc, recall));
    yyjson_mut_obj_add_val(doc, root, "log_loss", json_rounded(doc, t.loss / n));
    yyjson_mut_obj_add_val(doc, root, "macro_f1", json_rounded(doc, f1));
    yyjson_mut_obj_add_val(doc, root, "roc_auc", json_rounded(doc, mean_area(table, p, cancelled)));
    yyjson_mut_obj_add_uint(doc, root, "rows", t.rows);
    if (t.classes <= CONFUSION_CLASSES_MAX)
        put_matrix(&t, doc, root);
    put_calibration(&t, doc, root);
    free(t.matrix);
}

double classes_score(const struct table *t, const float *p)
{
    size_t hits = 0;
    for (size_t i = 0; i < t->rows; i++)
        hits += best_of(p + i * t->classes_count, t->classes_count) == t->y[i];
    return (double)hits / (double)t->rows;
}
