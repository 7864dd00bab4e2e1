/* prep_fit.c - what the training rows say: fills, scales, words. */
#include "services/trainer/prep/prep.h"

#include "common/msg/limits.h"
#include "services/trainer/data/sort.h"

#include <math.h>
#include <stdlib.h>

#define SCALE_LEAST 1e-12 /* a deviation that is no more is none */

static const char *const impute_words[] = { "mean", "median", "most_frequent", "constant", NULL };
static const char *const scale_words[] = { "standard", "minmax", "clip", "none", NULL };
static const char *const input_words[] = { "columns", "matrix", NULL };

#define FIELD(name) offsetof(struct prep_params, name)

const struct param prep_param_rows[PREP_PARAMS] = {
    { "impute", PARAM_CHOICE, FIELD(impute), 0, 0, 0, impute_words },
    { "impute_constant", PARAM_REAL, FIELD(impute_constant), -1e30, 1e30, 0, NULL },
    { "indicator", PARAM_FLAG, FIELD(indicator), 0, 0, 0, NULL },
    { "scale", PARAM_CHOICE, FIELD(scale), 0, 0, 0, scale_words },
    { "clip_share", PARAM_REAL, FIELD(clip), 0, 0.25, 0, NULL },
    { "max_categories", PARAM_U32, FIELD(max_categories), 1, 4096, 0, NULL },
    { "input", PARAM_CHOICE, FIELD(input), 0, 0, 0, input_words },
    { "drop", PARAM_TEXT, FIELD(drop), 0, PREP_NAMES - 1, 0, NULL },
    { "keep", PARAM_TEXT, FIELD(keep), 0, PREP_NAMES - 1, 0, NULL },
};

/* ---- numbers ------------------------------------------------------------------------------------- */

/* The numbers of the training rows that are there, sorted. */
static float *sorted_numbers(const struct prep_lesson *l, const struct column *c, size_t *count)
{
    float *list = mem_alloc((l->count + 1) * sizeof *list);
    *count = 0;
    for (size_t i = 0; i < l->count; i++)
        if (!isnan(c->number[l->rows[i]]))
            list[(*count)++] = c->number[l->rows[i]];
    sort_floats(list, *count, l->cancelled);
    return list;
}

static float most_frequent(const float *sorted, size_t count)
{
    size_t best = 0, run = 0;
    float value = sorted[0];
    for (size_t i = 0; i < count; i++) {
        run = i && sorted[i] == sorted[i - 1] ? run + 1 : 1;
        if (run > best) {
            best = run;
            value = sorted[i];
        }
    }
    return value;
}

static double mean_of(const float *list, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += list[i];
    return sum / (double)count;
}

static float fill_of(const struct prep_params *p, const float *sorted, size_t count)
{
    switch ((enum prep_impute)p->impute) {
    case IMPUTE_MEDIAN:
        return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
    case IMPUTE_MOST_FREQUENT:
        return most_frequent(sorted, count);
    case IMPUTE_CONSTANT:
        return (float)p->impute_constant;
    default:
        return (float)mean_of(sorted, count);
    }
}

/* shift and scale, of what is filled and clipped. */
static void fit_scale(const struct prep_params *p, const float *sorted, size_t count,
                      size_t missing, struct prep_number *n)
{
    double all = (double)(count + missing), sum = 0, squares = 0, scale;
    for (size_t i = 0; i < count + missing; i++) {
        float x = i < count ? sorted[i] : n->fill;
        sum += fminf(fmaxf(x, n->low), n->high);
    }
    double mean = sum / all;
    for (size_t i = 0; i < count + missing; i++) {
        float x = i < count ? sorted[i] : n->fill;
        double d = (double)fminf(fmaxf(x, n->low), n->high) - mean;
        squares += d * d;
    }
    if (p->scale == SCALE_NONE) {
        n->shift = 0;
        n->scale = 1;
        return;
    }
    bool minmax = p->scale == SCALE_MINMAX;
    scale = minmax ? (double)sorted[count - 1] - (double)sorted[0] : sqrt(squares / all);
    n->shift = minmax ? sorted[0] : (float)mean;
    n->scale = scale > SCALE_LEAST ? (float)(1 / scale) : 1;
    if (!isfinite(n->scale))
        n->scale = 1;
}

/* Nothing but missing values is constant, so there is one number at least. */
static void fit_number(struct prep *p, const struct prep_lesson *l, size_t column)
{
    struct prep_number *n = &p->numbers[p->numbers_count++];
    size_t count;
    float *sorted = sorted_numbers(l, &l->frame->columns[column], &count);
    *n = (struct prep_number){ .column = column, .low = -INFINITY, .high = INFINITY };
    n->fill = fill_of(&p->params, sorted, count);
    n->indicator = p->params.indicator && count < l->count;
    if (p->params.scale == SCALE_CLIP) {
        size_t cut = (size_t)(p->params.clip * (double)(count - 1));
        n->low = sorted[cut];
        n->high = sorted[count - 1 - cut];
    }
    fit_scale(&p->params, sorted, count, l->count - count, n);
    p->indicators += n->indicator;
    free(sorted);
}

/* ---- words --------------------------------------------------------------------------------------- */

/* A word, and in how many training rows it is. */
struct word_count {
    uint32_t code;
    uint32_t count;
    const char *text;
};

static int more_first(const void *a, const void *b)
{
    const struct word_count *x = a, *y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return strcmp(x->text, y->text);
}

static struct word_count *count_words(const struct prep_lesson *l, const struct column *c,
                                      size_t *missing)
{
    struct word_count *list = mem_alloc((c->words_count + 1) * sizeof *list);
    for (size_t i = 0; i < c->words_count; i++)
        list[i] = (struct word_count){ (uint32_t)i, 0, c->words[i] };
    *missing = 0;
    for (size_t i = 0; i < l->count; i++) {
        uint32_t code = c->code[l->rows[i]];
        if (code == CODE_MISSING)
            ++*missing;
        else
            list[code].count++;
    }
    return list;
}

static void add_key(struct prep_words *w, const char *key, int64_t row)
{
    w->keys[w->keys_count] = key;
    w->rows[w->keys_count++] = row;
}

static size_t length(const char *const *list)
{
    size_t n = 0;
    while (list[n])
        n++;
    return n;
}

static void start_words(struct prep_words *w, const struct column *c, size_t column, size_t keys)
{
    *w = (struct prep_words){ .column = column };
    keys += length(cell_missing_words);
    w->keys = mem_alloc(keys * sizeof *w->keys);
    w->rows = mem_alloc(keys * sizeof *w->rows);
    w->row_of = mem_alloc((c->words_count + 1) * sizeof *w->row_of);
    for (size_t i = 0; cell_missing_words[i]; i++)
        add_key(w, cell_missing_words[i], 0);
}

static void end_words(struct prep_words *w, size_t rows, size_t width)
{
    w->matrix_rows = rows;
    w->width = width;
    w->matrix = mem_zalloc(rows * width * sizeof *w->matrix);
    for (size_t i = 0; cell_missing_words[i]; i++)
        w->rows[i] = w->missing;
}

/* Rows: a word each, then all others, then what is missing if it was so in training (else it is as
 * other words). */
static void fit_category(struct prep *p, const struct prep_lesson *l, size_t column)
{
    const struct column *c = &l->frame->columns[column];
    struct prep_words *w = &p->words[p->words_count++];
    size_t missing, kept = 0;
    struct word_count *list = count_words(l, c, &missing);
    qsort(list, c->words_count, sizeof *list, more_first);
    while (kept < c->words_count && kept < p->params.max_categories && list[kept].count)
        kept++;
    start_words(w, c, column, kept);
    w->other = (int64_t)kept;
    w->missing = (int64_t)(missing ? kept + 1 : kept);
    for (size_t i = 0; i < c->words_count; i++) {
        w->row_of[list[i].code] = (uint32_t)(i < kept ? i : kept);
        if (i < kept)
            add_key(w, list[i].text, (int64_t)i);
    }
    end_words(w, (size_t)w->missing + 1, (size_t)w->missing + 1);
    p->words_cells += w->matrix_rows * w->width;
    for (size_t i = 0; i < w->matrix_rows; i++)
        w->matrix[i * w->width + i] = 1;
    free(list);
}

/* Rows: false, true, and what is missing or neither: the mean, and an indicator where it was missing
 * in training. */
static void fit_boolean(struct prep *p, const struct prep_lesson *l, size_t column)
{
    const struct column *c = &l->frame->columns[column];
    struct prep_words *w = &p->words[p->words_count++];
    size_t missing, trues = 0;
    struct word_count *list = count_words(l, c, &missing);
    start_words(w, c, column, length(cell_boolean_words));
    w->other = w->missing = 2;
    for (size_t i = 0; cell_boolean_words[i]; i++)
        add_key(w, cell_boolean_words[i], (int64_t)(i & 1));
    for (size_t i = 0; i < c->words_count; i++) {
        double value = 0;
        (void)cell_read(bytes_str(c->words[i]), &value);
        w->row_of[i] = value > 0;
        trues += value > 0 ? list[i].count : 0;
    }
    end_words(w, 3, missing && p->params.indicator ? 2 : 1);
    w->matrix[w->width] = 1;
    w->matrix[2 * w->width] = (float)trues / (float)(l->count - missing);
    if (w->width == 2)
        w->matrix[2 * w->width + 1] = 1;
    free(list);
}

/* ---- all ----------------------------------------------------------------------------------------- */

static enum status check_inputs(struct prep *p, struct error *err)
{
    struct buf list = { 0 };
    if (!p->features) {
        for (size_t i = 0; i < p->frame->columns_count; i++)
            if (p->drops[i] && list.len < ERROR_TEXT_MAX / 2)
                buf_printf(&list, "%s'%.64s' (%s)", list.len ? ", " : "", p->frame->columns[i].name,
                           prep_drop_text(p->drops[i]));
        enum status st =
            error_set(err, STATUS_INVALID, "there is no column to learn from: %s", buf_cstr(&list));
        buf_finish(&list);
        return st;
    }
    size_t inputs = p->numbers_count + p->words_count;
    if (p->words_cells > PREP_CELLS)
        return error_set(err, STATUS_TOO_LARGE,
                         "the words of all columns need more than %u numbers; fewer "
                         "\"max_categories\" may help",
                         PREP_CELLS);
    if (inputs > MAX_TENSORS && !p->words_count)
        p->params.input = INPUT_MATRIX; /* so many inputs no engine takes */
    if (inputs > MAX_TENSORS && p->words_count)
        return error_set(
            err, STATUS_TOO_LARGE,
            "%zu columns would be inputs of the model, which are at most %d where some "
            "are words; leave others out with \"drop\"",
            inputs, MAX_TENSORS);
    if (p->params.input == INPUT_MATRIX && p->words_count)
        return error_set(err, STATUS_INVALID,
                         "one matrix as the input needs columns of numbers; '%.64s' has words",
                         p->frame->columns[p->words[0].column].name);
    if (p->features > MAX_FEATURES || (uint64_t)p->features * p->frame->rows > MAX_CELLS)
        return error_set(err, STATUS_TOO_LARGE,
                         "%zu rows with %zu features are too many; fewer \"max_categories\" may "
                         "help",
                         p->frame->rows, p->features);
    return STATUS_OK;
}

/* An input has the name of its column, and engines take names of MAX_NAME bytes. */
static enum status check_name(const struct prep *p, size_t column, struct error *err)
{
    const char *name = p->frame->columns[column].name;
    char input[MAX_CELL + 2];
    size_t len = strlen(prep_input_name(name, input, sizeof input));
    return len <= MAX_NAME
               ? STATUS_OK
               : error_set(err, STATUS_INVALID,
                           "column '%.64s...' would be an input of the model with a name of "
                           "%zu bytes; names have at most %d: give it a shorter one",
                           name, len, MAX_NAME);
}

static enum status check_names(const struct prep *p, struct error *err)
{
    enum status st = STATUS_OK;
    if (p->params.input == INPUT_MATRIX)
        return st;
    for (size_t i = 0; i < p->numbers_count && !st; i++)
        st = check_name(p, p->numbers[i].column, err);
    for (size_t i = 0; i < p->words_count && !st; i++)
        st = check_name(p, p->words[i].column, err);
    return st;
}

static bool given_up(const struct prep_lesson *l)
{
    return cancel_is_set(l->cancelled);
}

enum status prep_fit(const struct prep_lesson *l, const struct prep_params *params,
                     struct prep **out, struct error *err)
{
    size_t columns = l->frame->columns_count;
    struct prep *p = mem_zalloc(sizeof *p);
    p->params = *params;
    p->frame = l->frame;
    p->drops = mem_zalloc(columns * sizeof *p->drops);
    p->numbers = mem_zalloc(columns * sizeof *p->numbers);
    p->words = mem_zalloc(columns * sizeof *p->words);
    prep_check(l, params, p->drops);
    for (size_t i = 0; i < columns; i++) {
        const struct column *c = &l->frame->columns[i];
        if (c->target || p->drops[i])
            continue;
        if (c->number)
            fit_number(p, l, i);
        else if (c->type == COLUMN_BOOLEAN)
            fit_boolean(p, l, i);
        else
            fit_category(p, l, i);
        if (p->words_cells > PREP_CELLS || given_up(l))
            break; /* it is refused below */
    }
    p->features = p->numbers_count + p->indicators;
    for (size_t i = 0; i < p->words_count; i++)
        p->features += p->words[i].width;
    enum status st =
        given_up(l) ? error_set(err, STATUS_CANCELLED, "cancelled") : check_inputs(p, err);
    if (!st)
        st = check_names(p, err);
    if (st) {
        prep_destroy(p);
        return st;
    }
    *out = p;
    return STATUS_OK;
}

void prep_destroy(struct prep *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->words_count; i++) {
        free(p->words[i].keys);
        free(p->words[i].rows);
        free(p->words[i].row_of);
        free(p->words[i].matrix);
    }
    free(p->words);
    free(p->numbers);
    free(p->drops);
    free(p->fills);
    free(p->flagged);
    free(p);
}
