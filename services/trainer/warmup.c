/* warmup.c - rows of the held-out data with what the trainer computed for them: the model's samples.
 *
 * An engine runs them before it is ready (worker/warmup.h), so what it would answer is what was
 * evaluated here, or the version fails.
 */
#include "services/trainer/run.h"

#include <stdlib.h>
#include <yyjson.h>

#define ROWS_MAX  32
#define CELLS_MAX 200000 /* numbers of at most 25 bytes each: below MAX_WARMUP_BYTES */
#define ATOL      1e-4   /* of answers; both sides add float32 in an order of their own */

/* One row. */
static void add_tensor(yyjson_mut_doc *doc, yyjson_mut_val *sample, const char *list,
                       const char *name, const float *values, size_t count)
{
    const uint64_t shape[] = { 1, count };
    yyjson_mut_val *t = yyjson_mut_arr_add_obj(doc, yyjson_mut_obj_add_arr(doc, sample, list));
    yyjson_mut_obj_add_str(doc, t, "name", name);
    yyjson_mut_obj_add_str(doc, t, "datatype", "FP32");
    yyjson_mut_obj_add_val(doc, t, "shape", yyjson_mut_arr_with_uint64(doc, shape, 2));
    yyjson_mut_obj_add_val(doc, t, "data", yyjson_mut_arr_with_float(doc, values, count));
}

void run_warmup(struct run *r, const struct table *t)
{
    const float *answers = (const float *)(const void *)r->predictions.data;
    const char *output = t->outputs ? ONNX_VALUES : ONNX_PROBABILITIES;
    size_t features = t->features, width = table_width(t), len = 0;
    size_t rows = CELLS_MAX / (features + width);
    rows = rows < ROWS_MAX ? rows : ROWS_MAX;
    rows = rows < t->rows ? rows : t->rows;
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    yyjson_mut_obj_add_real(doc, root, "atol", ATOL);
    yyjson_mut_val *samples = yyjson_mut_obj_add_arr(doc, root, "samples");
    for (size_t i = 0; i < rows; i++) {
        size_t row = i * t->rows / rows; /* from all over the table, which may be sorted */
        yyjson_mut_val *sample = yyjson_mut_arr_add_obj(doc, samples);
        add_tensor(doc, sample, "inputs", ONNX_INPUT, t->x + row * features, features);
        add_tensor(doc, sample, "outputs", output, answers + row * width, width);
    }
    char *text = yyjson_mut_write(doc, YYJSON_WRITE_INF_AND_NAN_AS_NULL, &len);
    buf_append(run_make(r, WARMUP_FILE), text, len);
    free(text);
    yyjson_mut_doc_free(doc);
}
