/* load.c - see load.h. */
#include "services/trainer/data/load.h"

#include "services/trainer/data/sort.h"

#include <math.h>
#include <stdlib.h>
#include <yyjson.h>

static const char *const task_words[] = { "auto", "classification", "regression", NULL };
static const char *const bad_row_words[] = { "fail", "drop", NULL };
static const char *const split_words[] = { "stratified", "random", NULL };

#define FIELD(name) offsetof(struct data_params, name)
#define LOOK_ROWS   65536u /* between two looks whether the job is cancelled */
#define APPLY_ROWS  4096u  /* the same, of rows that become features */

static const struct param data_rows[] = {
    { "task", PARAM_CHOICE, FIELD(task), 0, 0, 0, task_words },
    { "on_bad_row", PARAM_CHOICE, FIELD(on_bad_row), 0, 0, 0, bad_row_words },
    { "delimiter", PARAM_TEXT, FIELD(delimiter), 0, 1, 0, NULL },
    { "split", PARAM_CHOICE, FIELD(split), 0, 0, 0, split_words },
    { "group", PARAM_TEXT, FIELD(group), 0, COLUMN_NAME_MAX, 0, NULL },
    { "order", PARAM_TEXT, FIELD(order), 0, COLUMN_NAME_MAX, 0, NULL },
};

const struct data_params data_defaults = {
    .prep = { .indicator = true, .clip = 0.01, .max_categories = 64 }
};

void data_param_sets(struct data_params *p, struct param_set sets[DATA_PARAM_SETS])
{
    sets[0] = (struct param_set){ data_rows, sizeof data_rows / sizeof *data_rows, p };
    sets[1] = (struct param_set){ prep_param_rows, PREP_PARAMS, &p->prep };
}

static uint64_t table_memory(const struct table *t)
{
    uint64_t cells = (uint64_t)t->rows * t->features;
    return (t->x ? cells * sizeof *t->x : 0) + (t->pixels ? cells : 0) +
           t->rows * (t->y ? sizeof *t->y : t->outputs * sizeof *t->values);
}

uint64_t data_memory(const struct data *d)
{
    uint64_t columns = 0;
    for (size_t i = 0; i < d->frame.columns_count; i++)
        columns += !!d->frame.columns[i].number + !!d->frame.columns[i].code;
    return columns * d->frame.rows * sizeof(float) + table_memory(&d->train) +
           table_memory(&d->test) + d->train.rows * sizeof *d->split.rows;
}

/* ---- tables ------------------------------------------------------------------------------------- */

struct targets {
    char *text; /* the names, each with a NUL */
    const char *names[MAX_TARGETS];
    size_t count;
};

static enum status take_targets(const char *list, struct targets *t, struct error *err)
{
    *t = (struct targets){ 0 };
    if (!*list)
        return error_set(err, STATUS_INVALID,
                         "a table needs \"target\": the name of its label column");
    t->text = mem_str(bytes_str(list));
    for (char *p = t->text; p;) {
        char *comma = strchr(p, ',');
        if (t->count == MAX_TARGETS)
            return error_set(err, STATUS_TOO_LARGE, "\"target\" names more than %u columns",
                             MAX_TARGETS);
        t->names[t->count++] = p;
        if (comma)
            *comma++ = 0;
        p = comma;
    }
    return STATUS_OK;
}

static bool given_up(const struct data_request *r, size_t row)
{
    return row % LOOK_ROWS == 0 && source_cancelled(&r->files[0]);
}

static enum status unless_given_up(enum status st, const struct data_request *r, struct error *err)
{
    return !st && given_up(r, 0) ? error_set(err, STATUS_CANCELLED, "cancelled") : st;
}

/* The place of each row in the order of a column. */
static enum status order_keys(const struct data_request *r, const struct dataframe *f, double **out,
                              struct error *err)
{
    const struct column *c = dataframe_column(f, r->params->order);
    double *keys = mem_alloc(f->rows * sizeof *keys);
    *out = keys;
    for (size_t i = 0; i < f->rows && !given_up(r, i); i++) {
        bool missing = c->number ? isnan(c->number[i]) : c->code[i] == CODE_MISSING;
        if (missing)
            return error_set(err, STATUS_INVALID,
                             "column '%.64s' has missing values: rows cannot be ordered by it",
                             c->name);
        if (c->number)
            keys[i] = c->number[i];
        else
            keys[i] = (double)cell_date(bytes_str(c->words[c->code[i]]));
    }
    return c->number || c->type == COLUMN_DATE
               ? STATUS_OK
               : error_set(err, STATUS_INVALID,
                           "column '%.64s' has neither numbers nor dates to order rows by",
                           c->name);
}

static enum status split_by_order(const struct data_request *r, struct data *d, struct error *err)
{
    double *keys = NULL;
    enum status st = unless_given_up(order_keys(r, &d->frame, &keys, err), r, err);
    if (!st)
        st = split_ordered(keys, d->frame.rows, &r->shares, r->files[0].cancelled, &d->split, err);
    free(keys);
    return st;
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Equal numbers get equal groups; what is missing is a group, too. */
static uint32_t *number_groups(const struct data_request *r, const struct column *c, size_t rows,
                               size_t *groups)
{
    float *sorted = mem_alloc(rows * sizeof *sorted);
    uint32_t *group = mem_zalloc(rows * sizeof *group);
    size_t count = 0, different = 0;
    for (size_t i = 0; i < rows; i++)
        if (!isnan(c->number[i]))
            sorted[count++] = c->number[i];
    sort_floats(sorted, count, r->files[0].cancelled);
    for (size_t i = 0; i < count; i++)
        if (!different || sorted[i] != sorted[different - 1])
            sorted[different++] = sorted[i];
    for (size_t i = 0; i < rows; i++) {
        const float *at = isnan(c->number[i])
                              ? NULL
                              : bsearch(&c->number[i], sorted, different, sizeof *sorted, by_size);
        group[i] = (uint32_t)(at ? at - sorted : (ptrdiff_t)different);
        if (given_up(r, i))
            break;
    }
    free(sorted);
    *groups = different + 1;
    return group;
}

static uint32_t *word_groups(const struct column *c, size_t rows, size_t *groups)
{
    uint32_t *group = mem_alloc(rows * sizeof *group);
    for (size_t i = 0; i < rows; i++)
        group[i] = c->code[i] == CODE_MISSING ? (uint32_t)c->words_count : c->code[i];
    *groups = c->words_count + 1;
    return group;
}

static enum status split_by_group(const struct data_request *r, struct data *d, struct error *err)
{
    const struct column *c = dataframe_column(&d->frame, r->params->group);
    size_t groups;
    uint32_t *group = c->number ? number_groups(r, c, d->frame.rows, &groups)
                                : word_groups(c, d->frame.rows, &groups);
    enum status st =
        split_groups(group, groups, d->frame.rows, &r->shares, r->seed, &d->split, err);
    free(group);
    return st;
}

static enum status split_rows(const struct data_request *r, struct data *d, struct error *err)
{
    const struct data_params *p = r->params;
    struct split_shares shares = r->shares;
    if (p->group[0] && p->order[0])
        return error_set(err, STATUS_INVALID, "\"group\" and \"order\" exclude each other");
    if (d->own_test)
        shares.test = 0; /* the data set says what is held out */
    if (p->order[0])
        return split_by_order(r, d, err);
    if (p->group[0])
        return split_by_group(r, d, err);
    return p->split == SPLIT_RANDOM ? split_random(d->train.rows, &shares, r->seed, &d->split, err)
                                    : split_make(&d->train, &shares, r->seed, &d->split, err);
}

/* A split by group or order may leave one class alone. */
static enum status check_training_rows(const struct data *d, struct error *err)
{
    const uint32_t *rows = d->split.rows + d->split.test;
    const struct table *t = &d->train;
    for (size_t i = 1; i < d->split.train && !t->outputs; i++)
        if (t->y[rows[i]] != t->y[rows[0]])
            return STATUS_OK;
    return t->outputs ? STATUS_OK
                      : error_set(err, STATUS_INVALID,
                                  "the rows to be learnt from are all of class '%.64s': there is "
                                  "nothing to learn",
                                  t->classes[t->y[rows[0]]]);
}

static enum status fit_prep(const struct data_request *r, struct data *d, struct error *err)
{
    const struct prep_lesson lesson = { .frame = &d->frame,
                                        .target = &d->train,
                                        .rows = d->split.rows + d->split.test,
                                        .count = d->split.train,
                                        .group = r->params->group,
                                        .cancelled = r->files[0].cancelled };
    return prep_fit(&lesson, &r->params->prep, &d->prep, err);
}

/* The features of all rows, where there is room for them beside the frame. */
static enum status apply_prep(const struct data_request *r, struct data *d, struct error *err)
{
    struct table *t = &d->train;
    uint32_t rows[APPLY_ROWS];
    struct error inner;
    t->features = d->prep->features;
    uint64_t cells = (uint64_t)(t->rows + d->split.test) * t->features;
    if (source_room(&r->files[0], t->rows, t->features, data_memory(d) + cells * sizeof *t->x,
                    &inner))
        return error_set(err, inner.status, "%s: %s", r->files[0].name, inner.text);
    t->x = mem_alloc(t->rows * t->features * sizeof *t->x);
    for (size_t at = 0; at < t->rows && !given_up(r, 0);) {
        size_t n = 0, begin = at;
        for (; n < APPLY_ROWS && at < t->rows; n++)
            rows[n] = (uint32_t)at++;
        prep_apply(d->prep, &d->frame, rows, n, t->x + begin * t->features);
    }
    return unless_given_up(STATUS_OK, r, err);
}

static enum status read_table(const struct data_request *r, struct data *d, struct error *err)
{
    struct targets targets;
    const struct data_params *p = r->params;
    enum status st = take_targets(r->target, &targets, err);
    const struct dataframe_options options = { .csv = { p->delimiter[0], p->on_bad_row != 0 },
                                               .targets = targets.names,
                                               .targets_count = targets.count,
                                               .needed = { p->group, p->order } };
    if (!st)
        st = dataframe_read_csv(&r->files[0], &options, &d->frame, err);
    if (!st) {
        struct error inner;
        st = target_read(&d->frame, targets.names, targets.count, (enum task)p->task, &d->train,
                         &inner);
        if (st)
            (void)error_set(err, st, "%s: %s", r->files[0].name, inner.text);
    }
    if (!st)
        st = split_rows(r, d, err);
    if (!st)
        st = check_training_rows(d, err);
    st = unless_given_up(st, r, err);
    if (!st)
        st = fit_prep(r, d, err);
    if (!st)
        st = apply_prep(r, d, err);
    free(targets.text);
    return st;
}

/* ---- all ---------------------------------------------------------------------------------------- */

/* Copies the held-out rows into a table of their own. */
static void take_test(const struct table *t, const uint32_t *list, size_t count, struct table *out)
{
    size_t width = t->features;
    *out = (struct table){
        .rows = count, .features = width, .outputs = t->outputs, .image = t->image
    };
    if (t->pixels)
        out->pixels = mem_alloc(count * width);
    else
        out->x = mem_alloc(count * width * sizeof *out->x);
    out->y = t->y ? mem_alloc(count * sizeof *out->y) : NULL;
    out->values = t->values ? mem_alloc(count * t->outputs * sizeof *out->values) : NULL;
    out->classes = mem_alloc((t->classes_count + 1) * sizeof *out->classes);
    for (size_t i = 0; i < count; i++) {
        if (t->pixels)
            memcpy(out->pixels + i * width, t->pixels + list[i] * width, width);
        else
            memcpy(out->x + i * width, t->x + list[i] * width, width * sizeof *out->x);
        if (t->y)
            out->y[i] = t->y[list[i]];
        if (t->values)
            memcpy(out->values + i * t->outputs, t->values + list[i] * t->outputs,
                   t->outputs * sizeof *out->values);
    }
    for (; out->classes_count < t->classes_count; out->classes_count++)
        out->classes[out->classes_count] = mem_str(bytes_str(t->classes[out->classes_count]));
}

enum status data_load(const struct data_request *r, struct data *d, struct error *err)
{
    enum status st;
    *d = (struct data){ 0 };
    if (data_is_arrays(r)) {
        st = data_read_arrays(r, d, err);
        if (!st)
            st = split_rows(r, d, err);
    } else if (r->files_count != 1) {
        st = error_set(err, STATUS_INVALID,
                       "a data set has one CSV file, the four IDX files, or NPY files; this one "
                       "has %zu files",
                       r->files_count);
    } else {
        st = read_table(r, d, err);
    }
    if (!st && !d->own_test)
        take_test(&d->train, d->split.rows, d->split.test, &d->test);
    return st;
}

void data_finish(struct data *d)
{
    prep_destroy(d->prep);
    split_finish(&d->split);
    table_finish(&d->train);
    table_finish(&d->test);
    dataframe_finish(&d->frame);
    *d = (struct data){ 0 };
}

const char *data_export(struct data *d, struct onnx_graph *g)
{
    return d->prep ? prep_export(d->prep, g)
                   : onnx_graph_input(g, ONNX_INPUT, ONNX_FLOAT, d->train.features);
}

void data_json(const struct data *d, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
    if (!d->prep)
        return;
    if (d->frame.dropped) {
        yyjson_mut_obj_add_uint(doc, object, "rows_dropped", d->frame.dropped);
        yyjson_mut_obj_add_strcpy(doc, object, "first_dropped", d->frame.dropped_first.text);
    }
    prep_json(d->prep, doc, object);
}
