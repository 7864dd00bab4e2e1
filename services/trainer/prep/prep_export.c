/* prep_export.c - the same as ONNX operators.
 *
 * Numbers are joined to one matrix first, so that an operator does all columns at once.  A word
 * becomes a row's place (LabelEncoder) and that the row (Gather).
 */
#include "services/trainer/prep/prep.h"

#include <stdio.h>
#include <stdlib.h>

#define NAME_SIZE 48 /* of a tensor that we name */

const char *prep_input_name(const char *column, char *out, size_t size)
{
    bool taken = strcmp(column, ONNX_PROBABILITIES) == 0 || strcmp(column, ONNX_VALUES) == 0;
    snprintf(out, size, "%s%s", column, taken ? "_" : "");
    return out;
}

static const char *add_input(const struct prep *p, struct onnx_graph *g, size_t column,
                             enum onnx_type type)
{
    char name[MAX_CELL + 2];
    return onnx_graph_input(g, prep_input_name(p->frame->columns[column].name, name, sizeof name),
                            type, 1);
}

static const char *concat(struct onnx_graph *g, const char *const *parts, size_t count,
                          const char *name)
{
    static const int64_t axis = 1;
    static const struct onnx_attr attr = { "axis", ONNX_ATTR_INT, &axis, 1 };
    if (count == 1)
        return parts[0];
    return onnx_graph_op(g, &(struct onnx_op){ .type = "Concat",
                                               .inputs = parts,
                                               .inputs_count = count,
                                               .outputs = &name,
                                               .outputs_count = 1,
                                               .attrs = &attr,
                                               .attrs_count = 1 });
}

static const char *gather(struct onnx_graph *g, const char *from, const char *places, int64_t axis,
                          const char *name)
{
    const struct onnx_attr attr = { "axis", ONNX_ATTR_INT, &axis, 1 };
    const char *const inputs[] = { from, places };
    return onnx_graph_op(g, &(struct onnx_op){ .type = "Gather",
                                               .inputs = inputs,
                                               .inputs_count = 2,
                                               .outputs = &name,
                                               .outputs_count = 1,
                                               .attrs = &attr,
                                               .attrs_count = 1 });
}

/* The constants of the numbers, side by side. */
static void lay_out(struct prep *p)
{
    size_t n = p->numbers_count, flagged = 0;
    free(p->fills);
    free(p->flagged);
    p->fills = mem_alloc((5 * n + 1) * sizeof *p->fills);
    p->flagged = mem_alloc((n + 1) * sizeof *p->flagged);
    p->lows = p->fills + n;
    p->highs = p->lows + n;
    p->shifts = p->highs + n;
    p->scales = p->shifts + n;
    for (size_t i = 0; i < n; i++) {
        p->fills[i] = p->numbers[i].fill;
        p->lows[i] = p->numbers[i].low;
        p->highs[i] = p->numbers[i].high;
        p->shifts[i] = p->numbers[i].shift;
        p->scales[i] = p->numbers[i].scale;
        if (p->numbers[i].indicator)
            p->flagged[flagged++] = (int64_t)i;
    }
}

static const char *join_numbers(const struct prep *p, struct onnx_graph *g)
{
    if (p->params.input == INPUT_MATRIX)
        return onnx_graph_input(g, ONNX_INPUT, ONNX_FLOAT, p->numbers_count);
    const char **parts = mem_alloc(p->numbers_count * sizeof *parts);
    for (size_t i = 0; i < p->numbers_count; i++)
        parts[i] = add_input(p, g, p->numbers[i].column, ONNX_FLOAT);
    const char *joined = concat(g, parts, p->numbers_count, "prep_numbers");
    free(parts);
    return joined;
}

static const char *add_flags(struct prep *p, struct onnx_graph *g, const char *missing)
{
    static const int64_t to = ONNX_FLOAT;
    static const struct onnx_attr attr = { "to", ONNX_ATTR_INT, &to, 1 };
    static const char *const name = "prep_indicators";
    const char *places = onnx_graph_ints(g, "prep_flagged", p->flagged, p->indicators);
    const char *flags = gather(g, missing, places, 1, "prep_flags");
    return onnx_graph_op(g, &(struct onnx_op){ .type = "Cast",
                                               .inputs = &flags,
                                               .inputs_count = 1,
                                               .outputs = &name,
                                               .outputs_count = 1,
                                               .attrs = &attr,
                                               .attrs_count = 1 });
}

/* Adds one or two parts. */
static size_t export_numbers(struct prep *p, struct onnx_graph *g, const char **parts)
{
    size_t n = p->numbers_count;
    const char *x = join_numbers(p, g);
    const char *missing = onnx_graph_node(g, "IsNaN", "prep_missing", x, NULL, NULL);
    x = onnx_graph_node(g, "Where", "prep_filled", missing,
                        onnx_graph_tensor(g, "prep_fill", p->fills, 0, n), x);
    if (p->params.scale == SCALE_CLIP) {
        x = onnx_graph_node(g, "Max", "prep_raised", x,
                            onnx_graph_tensor(g, "prep_low", p->lows, 0, n), NULL);
        x = onnx_graph_node(g, "Min", "prep_clipped", x,
                            onnx_graph_tensor(g, "prep_high", p->highs, 0, n), NULL);
    }
    if (p->params.scale != SCALE_NONE) {
        x = onnx_graph_node(g, "Sub", "prep_shifted", x,
                            onnx_graph_tensor(g, "prep_shift", p->shifts, 0, n), NULL);
        x = onnx_graph_node(g, "Mul", "prep_scaled", x,
                            onnx_graph_tensor(g, "prep_scale", p->scales, 0, n), NULL);
    }
    parts[0] = x;
    if (p->indicators)
        parts[1] = add_flags(p, g, missing);
    return p->indicators ? 2 : 1;
}

static const char *export_words(const struct prep *p, struct onnx_graph *g, size_t i,
                                const char *axis)
{
    const struct prep_words *w = &p->words[i];
    const struct onnx_attr attrs[] = {
        { "keys_strings", ONNX_ATTR_STRINGS, w->keys, w->keys_count },
        { "values_int64s", ONNX_ATTR_INTS, w->rows, w->keys_count },
        { "default_int64", ONNX_ATTR_INT, &w->other, 1 },
    };
    char place[NAME_SIZE], matrix[NAME_SIZE], row[NAME_SIZE], flat[NAME_SIZE];
    snprintf(place, sizeof place, "prep_place%zu", i);
    snprintf(matrix, sizeof matrix, "prep_words%zu", i);
    snprintf(row, sizeof row, "prep_row%zu", i);
    snprintf(flat, sizeof flat, "prep_features%zu", i);
    const char *in = add_input(p, g, w->column, ONNX_STRING), *out = place;
    const char *places = onnx_graph_op(g, &(struct onnx_op){ .domain = ONNX_ML,
                                                             .type = "LabelEncoder",
                                                             .inputs = &in,
                                                             .inputs_count = 1,
                                                             .outputs = &out,
                                                             .outputs_count = 1,
                                                             .attrs = attrs,
                                                             .attrs_count = 3 });
    const char *rows = onnx_graph_tensor(g, matrix, w->matrix, w->matrix_rows, w->width);
    return onnx_graph_node(g, "Squeeze", flat, gather(g, rows, places, 0, row), axis, NULL);
}

const char *prep_export(struct prep *p, struct onnx_graph *g)
{
    const char **parts = mem_alloc((p->words_count + 2) * sizeof *parts), *axis = NULL;
    size_t count = 0;
    lay_out(p);
    p->one = 1;
    if (p->numbers_count)
        count = export_numbers(p, g, parts);
    if (p->words_count)
        axis = onnx_graph_ints(g, "prep_axis", &p->one, 1);
    for (size_t i = 0; i < p->words_count; i++)
        parts[count++] = export_words(p, g, i, axis);
    const char *all = concat(g, parts, count, "prep_features");
    free(parts);
    return all;
}
