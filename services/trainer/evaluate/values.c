/* values.c - of regressions: root mean squared error, mean absolute error, R2. */
#include "services/trainer/evaluate/parts.h"

#include <math.h>
#include <yyjson.h>

struct fit {
    double rmse, mae, r2; /* r2: NaN where all rows have the same value */
};

/* R2 = 1 - (sum of squared errors) / (sum of squares about the mean). */
static struct fit measure(const struct table *t, const float *answers, size_t output)
{
    double n = (double)t->rows, mean = 0, squares = 0, absolute = 0, spread = 0;
    for (size_t i = 0; i < t->rows; i++)
        mean += (double)t->values[i * t->outputs + output] / n;
    for (size_t i = 0; i < t->rows; i++) {
        double is = (double)t->values[i * t->outputs + output];
        double error = (double)answers[i * t->outputs + output] - is;
        squares += error * error;
        absolute += fabs(error);
        spread += (is - mean) * (is - mean);
    }
    return (struct fit){ sqrt(squares / n), absolute / n, spread > 0 ? 1 - squares / spread : NAN };
}

static void put(const struct fit *f, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
    yyjson_mut_obj_add_val(doc, object, "rmse", json_rounded(doc, f->rmse));
    yyjson_mut_obj_add_val(doc, object, "mae", json_rounded(doc, f->mae));
    yyjson_mut_obj_add_val(doc, object, "r2", json_rounded(doc, f->r2));
}

/* The mean over the outputs; each by itself where there are several. */
void values_put(const struct table *t, const float *answers, yyjson_mut_doc *doc,
                yyjson_mut_val *root)
{
    struct fit mean = { 0 };
    double n = (double)t->outputs;
    yyjson_mut_val *list = yyjson_mut_arr(doc);
    for (size_t k = 0; k < t->outputs; k++) {
        struct fit one = measure(t, answers, k);
        mean.rmse += one.rmse / n;
        mean.mae += one.mae / n;
        mean.r2 += one.r2 / n;
        put(&one, doc, yyjson_mut_arr_add_obj(doc, list));
    }
    put(&mean, doc, root);
    yyjson_mut_obj_add_uint(doc, root, "rows", t->rows);
    if (t->outputs > 1)
        yyjson_mut_obj_add_val(doc, root, "outputs", list);
}

double values_score(const struct table *t, const float *answers)
{
    double sum = 0;
    for (size_t k = 0; k < t->outputs; k++)
        sum += measure(t, answers, k).r2;
    return sum / (double)t->outputs;
}
