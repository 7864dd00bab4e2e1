/* prep_json.c - what the preprocessing does, for people and for the lineage. */
#include "services/trainer/prep/prep.h"

#include <yyjson.h>

static yyjson_mut_val *add_column(const struct prep *p, yyjson_mut_doc *doc, yyjson_mut_val *list,
                                  size_t column)
{
    const struct column *c = &p->frame->columns[column];
    yyjson_mut_val *o = yyjson_mut_arr_add_obj(doc, list);
    yyjson_mut_obj_add_strcpy(doc, o, "column", c->name);
    yyjson_mut_obj_add_str(doc, o, "type", column_type_name(c->type));
    return o;
}

static void add_numbers(const struct prep *p, yyjson_mut_doc *doc, yyjson_mut_val *inputs)
{
    for (size_t i = 0; i < p->numbers_count; i++) {
        const struct prep_number *n = &p->numbers[i];
        yyjson_mut_val *o = add_column(p, doc, inputs, n->column);
        yyjson_mut_obj_add_real(doc, o, "fill", (double)n->fill);
        yyjson_mut_obj_add_real(doc, o, "shift", (double)n->shift);
        yyjson_mut_obj_add_real(doc, o, "scale", (double)n->scale);
        if (p->params.scale == SCALE_CLIP) {
            yyjson_mut_obj_add_real(doc, o, "low", (double)n->low);
            yyjson_mut_obj_add_real(doc, o, "high", (double)n->high);
        }
        yyjson_mut_obj_add_bool(doc, o, "indicator", n->indicator);
    }
}

static void add_words(const struct prep *p, yyjson_mut_doc *doc, yyjson_mut_val *inputs)
{
    for (size_t i = 0; i < p->words_count; i++) {
        const struct prep_words *w = &p->words[i];
        const struct column *c = &p->frame->columns[w->column];
        yyjson_mut_val *o = add_column(p, doc, inputs, w->column);
        yyjson_mut_obj_add_uint(doc, o, "features", w->width);
        if (c->type != COLUMN_BOOLEAN) {
            yyjson_mut_obj_add_uint(doc, o, "words", (uint64_t)w->other);
            yyjson_mut_obj_add_uint(doc, o, "words_of_column", c->words_count);
        }
    }
}

void prep_json(const struct prep *p, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
    yyjson_mut_val *inputs = yyjson_mut_obj_add_arr(doc, object, "inputs");
    add_numbers(p, doc, inputs);
    add_words(p, doc, inputs);
    yyjson_mut_val *dropped = yyjson_mut_obj_add_arr(doc, object, "dropped");
    yyjson_mut_val *warnings = yyjson_mut_obj_add_arr(doc, object, "warnings");
    for (size_t i = 0; i < p->frame->columns_count; i++) {
        if (!p->drops[i])
            continue;
        yyjson_mut_val *o = add_column(p, doc, dropped, i);
        yyjson_mut_obj_add_str(doc, o, "why", prep_drop_text(p->drops[i]));
        if (p->drops[i] == DROP_LEAK) {
            struct error text; /* cuts a long name where a character ends */
            error_set(&text, STATUS_INVALID,
                      "column '%.64s' says the target by itself: it was left out (\"keep\" "
                      "keeps it)",
                      p->frame->columns[i].name);
            yyjson_mut_arr_add_strcpy(doc, warnings, text.text);
        }
    }
    yyjson_mut_obj_add_uint(doc, object, "features", p->features);
}
