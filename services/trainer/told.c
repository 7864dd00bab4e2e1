/* told.c - what goes with a model for those who use it: what it looks at, its card, and what the
 * columns were like that it was trained on.
 */
#include "services/trainer/evaluate/card.h"
#include "services/trainer/evaluate/evaluate.h"
#include "services/trainer/evaluate/statistics.h"
#include "services/trainer/random.h"
#include "services/trainer/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#define CARD_JSON       "model_card.json"
#define CARD_MARKDOWN   "model_card.md"
#define STATISTICS_FILE "statistics.json"
#define NAME_SIZE       24 /* of a column that has only a number */

/* Some of the held-out rows, by themselves: raw columns of a table, or plain numbers. */
struct sample {
    struct run *run;
    const void *model;
    const struct data *data;
    struct table truth;   /* of these rows, without x */
    struct dataframe raw; /* of tables: columns of these rows; what prep leaves out is empty */
    size_t *columns;      /* of tables: those that prep uses */
    float *plain;         /* of arrays: rows x features */
    float *x;             /* what the learner is given */
    void *changed;        /* room for the cells of a column */
    char name[NAME_SIZE];
};

/* ---- the sample ----------------------------------------------------------------------------- */

static size_t used_columns(const struct prep *p, size_t *columns)
{
    size_t count = 0;
    for (size_t i = 0; i < p->numbers_count; i++)
        columns[count++] = p->numbers[i].column;
    for (size_t i = 0; i < p->words_count; i++)
        columns[count++] = p->words[i].column;
    return count;
}

static void take_truth(struct sample *s, const uint32_t *rows, size_t count)
{
    const struct table *t = &s->data->test;
    s->truth = (struct table){ .rows = count,
                               .features = t->features,
                               .classes = t->classes,
                               .classes_count = t->classes_count,
                               .outputs = t->outputs };
    if (t->outputs) {
        s->truth.values = mem_alloc(count * t->outputs * sizeof *t->values);
        for (size_t i = 0; i < count; i++)
            memcpy(s->truth.values + i * t->outputs, t->values + rows[i] * t->outputs,
                   t->outputs * sizeof *t->values);
    } else {
        s->truth.y = mem_alloc(count * sizeof *t->y);
        for (size_t i = 0; i < count; i++)
            s->truth.y[i] = t->y[rows[i]];
    }
}

/* Both kinds of cells have four bytes. */
static void *take_cells(const void *cells, const uint32_t *rows, size_t count)
{
    uint32_t *out = mem_alloc(count * sizeof *out);
    for (size_t i = 0; i < count; i++)
        memcpy(&out[i], (const char *)cells + rows[i] * sizeof *out, sizeof *out);
    return out;
}

static void take_raw(struct sample *s, const uint32_t *rows, size_t count, size_t used)
{
    const struct dataframe *f = &s->data->frame;
    uint32_t *of_frame = mem_alloc(count * sizeof *of_frame);
    for (size_t i = 0; i < count; i++)
        of_frame[i] = s->data->split.rows[rows[i]];
    s->raw = *f;
    s->raw.rows = count;
    s->raw.columns = mem_alloc(f->columns_count * sizeof *f->columns);
    memcpy(s->raw.columns, f->columns, f->columns_count * sizeof *f->columns);
    for (size_t i = 0; i < used; i++) {
        struct column *c = &s->raw.columns[s->columns[i]];
        if (c->number)
            c->number = take_cells(c->number, of_frame, count);
        if (c->code)
            c->code = take_cells(c->code, of_frame, count);
    }
    free(of_frame);
}

static void take_plain(struct sample *s, const uint32_t *rows, size_t count)
{
    const struct table *t = &s->data->test;
    s->plain = mem_alloc(count * t->features * sizeof *s->plain);
    table_rows(t, rows, count, s->plain);
}

static void sample_finish(struct sample *s, size_t used)
{
    for (size_t i = 0; i < used && s->raw.columns; i++) {
        free(s->raw.columns[s->columns[i]].number);
        free(s->raw.columns[s->columns[i]].code);
    }
    free(s->raw.columns);
    free(s->truth.y);
    free(s->truth.values);
    free(s->plain);
    free(s->x);
    free(s->changed);
}

/* ---- importance ------------------------------------------------------------------------------- */

static const char *name_of(void *arg, size_t column)
{
    struct sample *s = arg;
    if (s->raw.columns)
        return s->raw.columns[s->columns[column]].name;
    snprintf(s->name, sizeof s->name, "%zu", column);
    return s->name;
}

/* The cells of a column in another order, for as long as the features are made of them. */
static void apply_changed(struct sample *s, size_t column, const uint32_t *order)
{
    struct column *c = column == SIZE_MAX ? NULL : &s->raw.columns[s->columns[column]];
    struct column own = c ? *c : (struct column){ .name = NULL };
    size_t rows = s->raw.rows;
    for (size_t i = 0; c && i < rows; i++) {
        if (own.number)
            ((float *)s->changed)[i] = own.number[order[i]];
        if (own.code)
            ((uint32_t *)s->changed + rows)[i] = own.code[order[i]];
    }
    if (c && own.number)
        c->number = s->changed;
    if (c && own.code)
        c->code = (uint32_t *)s->changed + rows;
    prep_apply(s->data->prep, &s->raw, NULL, rows, s->x);
    if (c)
        *c = own;
}

static void copy_changed(struct sample *s, size_t column, const uint32_t *order)
{
    size_t features = s->truth.features;
    memcpy(s->x, s->plain, s->truth.rows * features * sizeof *s->x);
    for (size_t i = 0; column != SIZE_MAX && i < s->truth.rows; i++)
        s->x[i * features + column] = s->plain[order[i] * features + column];
}

static enum status ask_model(void *arg, size_t column, const uint32_t *order, float *answers)
{
    struct sample *s = arg;
    if (atomic_load(&s->run->cancel))
        return STATUS_CANCELLED;
    if (s->raw.columns)
        apply_changed(s, column, order);
    else
        copy_changed(s, column, order);
    s->run->learner->predict(s->model, s->x, s->truth.rows, answers);
    return STATUS_OK;
}

/* Pixels by themselves mean nothing. */
static enum status weigh_columns(struct run *r, const void *model, const struct data *d,
                                 struct buf *out, struct error *err)
{
    const struct table *t = &d->test;
    struct sample s = { .run = r, .model = model, .data = d };
    s.columns = mem_alloc((d->frame.columns_count + 1) * sizeof *s.columns);
    size_t columns = d->prep ? used_columns(d->prep, s.columns) : t->features;
    size_t count = t->image.channels ? 0 : importance_rows(t->rows, columns, t->features);
    uint32_t *rows = mem_alloc((t->rows + 1) * sizeof *rows);
    struct random random = { .state = r->seed ^ 0x726f7773u };
    for (uint32_t i = 0; i < t->rows; i++)
        rows[i] = i;
    random_shuffle(&random, rows, t->rows);
    take_truth(&s, rows, count);
    if (count && d->prep)
        take_raw(&s, rows, count, columns);
    else if (count)
        take_plain(&s, rows, count);
    s.x = mem_alloc((count * t->features + 1) * sizeof *s.x);
    s.changed = mem_alloc(2 * (count + 1) * sizeof(uint32_t));
    const struct importance i = { &s.truth, columns, t->features, name_of, ask_model, &s };
    enum status st = importance_json(&i, r->seed, out, err);
    sample_finish(&s, columns);
    free(s.columns);
    free(rows);
    return st;
}

/* ---- statistics ----------------------------------------------------------------------------- */

static void tell_columns(struct run *r, const struct data *d)
{
    const uint32_t *rows = d->split.rows + d->split.test; /* those that were trained on */
    struct statistics *s = statistics_create(d->split.train, &r->cancel);
    size_t features = d->prep || d->train.image.channels ? 0 : d->train.features;
    for (size_t i = 0; d->prep && i < d->prep->numbers_count; i++) {
        const struct column *c = &d->frame.columns[d->prep->numbers[i].column];
        statistics_numbers(s, c->name, c->number, 1, rows);
    }
    for (size_t i = 0; d->prep && i < d->prep->words_count; i++) {
        const struct column *c = &d->frame.columns[d->prep->words[i].column];
        statistics_words(s, c->name, c->code, rows, c->words, c->words_count);
    }
    for (size_t i = 0; i < features && i < STATISTICS_COLUMNS; i++) {
        char name[NAME_SIZE];
        snprintf(name, sizeof name, "%zu", i);
        statistics_numbers(s, name, d->train.x + i, features, rows);
    }
    statistics_end(s, run_make(r, STATISTICS_FILE));
}

/* ---- the card --------------------------------------------------------------------------------- */

/* What the report on the data warns of and has left out, as sentences. */
static void add_findings(struct card *c, yyjson_val *report, struct buf *text)
{
    size_t starts[CARD_FINDINGS_MAX], i, max;
    yyjson_val *v;
    yyjson_arr_foreach(yyjson_obj_get(report, "warnings"), i, max, v)
    {
        if (!yyjson_is_str(v) || c->findings_count == CARD_FINDINGS_MAX)
            continue;
        starts[c->findings_count++] = text->len;
        buf_append(text, yyjson_get_str(v), yyjson_get_len(v) + 1); /* with its end */
    }
    for (i = 0; i < c->findings_count; i++)
        c->findings[i] = (const char *)text->data + starts[i];
}

static void make_card(struct run *r, struct bytes importance)
{
    struct buf lineage = { 0 }, text = { 0 };
    yyjson_doc *report = yyjson_read((const char *)r->data_report.data, r->data_report.len, 0);
    run_lineage(r, NULL, &lineage);
    struct card card = { .name = r->dataset,
                         .lineage = buf_bytes(&lineage),
                         .metrics = buf_bytes(&r->metrics),
                         .importance = importance };
    add_findings(&card, yyjson_doc_get_root(report), &text);
    card_json(&card, run_make(r, CARD_JSON));
    card_markdown(&card, run_make(r, CARD_MARKDOWN));
    yyjson_doc_free(report);
    buf_finish(&lineage);
    buf_finish(&text);
}

enum status run_tell(struct run *r, const void *model, const struct data *d, struct error *err)
{
    struct buf importance = { 0 };
    enum status st = weigh_columns(r, model, d, &importance, err);
    if (!st) {
        tell_columns(r, d);
        make_card(r, buf_bytes(&importance));
        if (atomic_load(&r->cancel))
            st = error_set(err, STATUS_CANCELLED, "cancelled");
    }
    buf_finish(&importance);
    return st;
}
