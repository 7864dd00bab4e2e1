/* warmup.c - rows of the held-out data with what the trainer computed for them: the model's samples.
 *
 * An engine runs them before it is ready (worker/warmup.h), so what it would answer is what was
 * evaluated here, or the version fails.
 */
#include "services/trainer/json.h"
#include "services/trainer/run.h"

#include <stdlib.h>
#include <yyjson.h>

#define ROWS_MAX  32
#define CELLS_MAX 200000 /* numbers of at most 25 bytes each: below MAX_WARMUP_BYTES */
#define ATOL      1e-4   /* of answers; both sides add float32 in an order of their own */

/* One row of a tensor. */
static void add_tensor(yyjson_mut_doc *doc, yyjson_mut_val *list, const char *name,
                       const char *datatype, size_t count, yyjson_mut_val *data)
{
    const uint64_t shape[] = { 1, count };
    yyjson_mut_val *t = yyjson_mut_arr_add_obj(doc, list);
    yyjson_mut_obj_add_strcpy(doc, t, "name", name);
    yyjson_mut_obj_add_str(doc, t, "datatype", datatype);
    yyjson_mut_obj_add_val(doc, t, "shape", yyjson_mut_arr_with_uint64(doc, shape, 2));
    yyjson_mut_obj_add_val(doc, t, "data", data);
}

static void add_floats(yyjson_mut_doc *doc, yyjson_mut_val *list, const char *name,
                       const float *values, size_t count)
{
    add_tensor(doc, list, name, "FP32", count, yyjson_mut_arr_with_float(doc, values, count));
}

/* A row as clients send it: an input for each column that is used. */
static void add_columns(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct prep *p, size_t row)
{
    const struct column *columns = p->frame->columns;
    char name[MAX_CELL + 2];
    for (size_t i = 0; i < p->numbers_count; i++) {
        const struct column *c = &columns[p->numbers[i].column];
        add_floats(doc, list, prep_input_name(c->name, name, sizeof name), &c->number[row], 1);
    }
    for (size_t i = 0; i < p->words_count; i++) {
        const struct column *c = &columns[p->words[i].column];
        const char *word = c->code[row] == CODE_MISSING ? "" : c->words[c->code[row]];
        add_tensor(doc, list, prep_input_name(c->name, name, sizeof name), "BYTES", 1,
                   yyjson_mut_arr_with_str(doc, &word, 1));
    }
}

/* The same where the model takes one matrix. */
static void add_numbers(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct prep *p, size_t row)
{
    float *x = mem_alloc(p->numbers_count * sizeof *x);
    for (size_t i = 0; i < p->numbers_count; i++)
        x[i] = p->frame->columns[p->numbers[i].column].number[row];
    add_floats(doc, list, ONNX_INPUT, x, p->numbers_count);
    free(x);
}

static void add_plain(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct table *t, size_t row)
{
    float *room = mem_alloc(t->features * sizeof *room);
    add_floats(doc, list, ONNX_INPUT, table_row(t, row, room), t->features);
    free(room);
}

static void add_inputs(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct data *d, size_t held)
{
    const struct table *t = &d->test;
    if (!d->prep)
        add_plain(doc, list, t, held);
    else if (d->prep->params.input == INPUT_MATRIX)
        add_numbers(doc, list, d->prep, d->split.rows[held]);
    else
        add_columns(doc, list, d->prep, d->split.rows[held]);
}

static size_t cells(const struct data *d)
{
    size_t inputs = d->prep ? d->prep->numbers_count + d->prep->words_count : d->test.features;
    return inputs + table_width(&d->test);
}

void run_warmup(struct run *r, const struct data *d)
{
    const struct table *t = &d->test;
    const float *answers = (const float *)(const void *)r->predictions.data;
    const char *output = t->outputs ? ONNX_VALUES : ONNX_PROBABILITIES;
    size_t width = table_width(t);
    size_t rows = CELLS_MAX / cells(d);
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
        add_inputs(doc, yyjson_mut_obj_add_arr(doc, sample, "inputs"), d, row);
        add_floats(doc, yyjson_mut_obj_add_arr(doc, sample, "outputs"), output,
                   answers + row * width, width);
    }
    json_append(doc, run_make(r, WARMUP_FILE));
}
