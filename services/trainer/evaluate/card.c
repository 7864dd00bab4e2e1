/* card.c - see card.h. */
#include "services/trainer/evaluate/card.h"

#include "services/trainer/json.h"

#include <stdlib.h>
#include <yyjson.h>

#define IMBALANCE_GAP   0.1 /* between accuracy and balanced accuracy */
#define CALIBRATION_GAP 0.1

/* The texts, read. */
struct read {
    yyjson_doc *lineage, *metrics, *importance;
};

static yyjson_doc *read_text(struct bytes text)
{
    return text.len ? yyjson_read(text.data, text.len, YYJSON_READ_ALLOW_INVALID_UNICODE) : NULL;
}

static struct read read_all(const struct card *c)
{
    return (struct read){ read_text(c->lineage), read_text(c->metrics), read_text(c->importance) };
}

static void read_finish(struct read *r)
{
    yyjson_doc_free(r->lineage);
    yyjson_doc_free(r->metrics);
    yyjson_doc_free(r->importance);
}

static double number(yyjson_val *object, const char *name, double otherwise)
{
    yyjson_val *v = yyjson_obj_get(object, name);
    return yyjson_is_num(v) ? yyjson_get_num(v) : otherwise;
}

/* ---- limits ---------------------------------------------------------------------------------------- */

typedef void sentence_fn(void *arg, const char *sentence);

/* Each sentence that a reader should be warned with. */
static void each_limit(const struct card *c, yyjson_val *metrics, sentence_fn *each, void *arg)
{
    yyjson_val *calibration = yyjson_obj_get(metrics, "calibration");
    double accuracy = number(metrics, "accuracy", 0);
    for (size_t i = 0; i < c->findings_count; i++)
        each(arg, c->findings[i]);
    if (number(metrics, "rows", SMALL_TEST_ROWS) < SMALL_TEST_ROWS)
        each(arg,
             "Few rows were held out: the metrics may be far from what other rows would give.");
    if (accuracy - number(metrics, "balanced_accuracy", accuracy) > IMBALANCE_GAP)
        each(arg, "Rare classes are found less often than the accuracy suggests: see the balanced "
                  "accuracy.");
    if (number(calibration, "expected_error", 0) > CALIBRATION_GAP)
        each(arg, "The probabilities are not calibrated: they are for ranking, not to be taken as "
                  "frequencies.");
    if (number(metrics, "r2", 1) <= 0)
        each(arg, "The model is no better than the mean of the values.");
    each(arg,
         "What was not in the training data (other sources, later times, other groups) was not "
         "tested.");
}

/* ---- JSON --------------------------------------------------------------------------------------------- */

struct list {
    yyjson_mut_doc *doc;
    yyjson_mut_val *array;
};

static void add_to_list(void *arg, const char *sentence)
{
    struct list *l = arg;
    yyjson_mut_arr_add_strcpy(l->doc, l->array, sentence);
}

static void add_copy(yyjson_mut_doc *doc, yyjson_mut_val *root, const char *name, yyjson_doc *from)
{
    if (from)
        yyjson_mut_obj_add_val(doc, root, name,
                               yyjson_val_mut_copy(doc, yyjson_doc_get_root(from)));
}

void card_json(const struct card *c, struct buf *out)
{
    struct read r = read_all(c);
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    yyjson_mut_obj_add_str(doc, root, "name", c->name);
    add_copy(doc, root, "lineage", r.lineage);
    add_copy(doc, root, "metrics", r.metrics);
    add_copy(doc, root, "importance", r.importance);
    struct list l = { doc, yyjson_mut_obj_add_arr(doc, root, "limits") };
    each_limit(c, yyjson_doc_get_root(r.metrics), add_to_list, &l);
    json_append(doc, out);
    read_finish(&r);
}

/* ---- Markdown ----------------------------------------------------------------------------------------- */

static void put_sentence(void *arg, const char *sentence)
{
    buf_printf(arg, "- %s\n", sentence);
}

/* A value as a cell of a table; what would end the cell, or the table, is left out. */
static void put_cell(struct buf *out, yyjson_val *v)
{
    char *text =
        yyjson_is_str(v) ? NULL : yyjson_val_write(v, YYJSON_WRITE_ALLOW_INVALID_UNICODE, NULL);
    for (const char *s = text ? text : yyjson_get_str(v); s && *s; s++)
        if (*s != '|' && (unsigned char)*s >= ' ')
            buf_append(out, s, 1);
    free(text);
}

/* The members that are no objects, as rows. */
static void put_members(struct buf *out, const char *title, yyjson_val *object)
{
    size_t i, max;
    yyjson_val *key, *v;
    if (!yyjson_obj_size(object))
        return;
    buf_printf(out, "\n## %s\n\n| | |\n|---|---|\n", title);
    yyjson_obj_foreach(object, i, max, key, v)
    {
        bool large =
            yyjson_is_obj(v) || (yyjson_is_arr(v) && yyjson_is_ctn(yyjson_arr_get_first(v)));
        if (large)
            continue;
        buf_append_str(out, "| ");
        put_cell(out, key);
        buf_append_str(out, " | ");
        put_cell(out, v);
        buf_append_str(out, " |\n");
    }
}

static void put_importance(struct buf *out, yyjson_val *list)
{
    size_t i, max;
    yyjson_val *one;
    if (!yyjson_arr_size(list))
        return;
    buf_append_str(out,
                   "\n## What it looks at\n\nWhat the score loses when the column's cells change "
                   "places.\n\n| column | importance |\n|---|---|\n");
    yyjson_arr_foreach(list, i, max, one)
    {
        if (i == CARD_IMPORTANCE_TOP)
            break;
        buf_append_str(out, "| ");
        put_cell(out, yyjson_obj_get(one, "column"));
        buf_append_str(out, " | ");
        put_cell(out, yyjson_obj_get(one, "importance"));
        buf_append_str(out, " |\n");
    }
}

void card_markdown(const struct card *c, struct buf *out)
{
    struct read r = read_all(c);
    yyjson_val *lineage = yyjson_doc_get_root(r.lineage);
    yyjson_val *metrics = yyjson_doc_get_root(r.metrics);
    buf_printf(out, "# %s\n", c->name);
    put_members(out, "What it comes from", lineage);
    put_members(out, "Rows", yyjson_obj_get(lineage, "rows"));
    put_members(out, "Files of the data set (SHA-256)", yyjson_obj_get(lineage, "files"));
    put_members(out, "Parameters", yyjson_obj_get(lineage, "params"));
    put_members(out, "How good it is on rows that were held out", metrics);
    put_importance(out, yyjson_doc_get_root(r.importance));
    buf_append_str(out, "\n## Limits\n\n");
    each_limit(c, metrics, put_sentence, out);
    read_finish(&r);
}
