/* params.c - see params.h. */
#include "services/trainer/params.h"

#include <yyjson.h>

static enum status take_list(const struct param *row, void *at, yyjson_val *list, struct error *err)
{
    uint32_t *items = (uint32_t *)(void *)((char *)at + row->offset);
    size_t i, max;
    yyjson_val *v;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) > PARAM_LIST_MAX)
        return error_set(err, STATUS_INVALID, "\"%s\" must be a list of at most %d integers",
                         row->name, PARAM_LIST_MAX);
    *(size_t *)(void *)((char *)at + row->count_offset) = yyjson_arr_size(list);
    yyjson_arr_foreach(list, i, max, v)
    {
        double value = yyjson_get_num(v);
        if (!yyjson_is_uint(v) || value < row->low || value > row->high)
            return error_set(err, STATUS_INVALID, "%s[%zu] must be an integer from %g to %g",
                             row->name, i, row->low, row->high);
        items[i] = (uint32_t)value;
    }
    return STATUS_OK;
}

static enum status take_number(const struct param *row, void *at, yyjson_val *v, struct error *err)
{
    bool whole = row->kind == PARAM_U32;
    double value = yyjson_get_num(v);
    if (!(whole ? yyjson_is_uint(v) : yyjson_is_num(v)) || value < row->low || value > row->high)
        return error_set(err, STATUS_INVALID, "\"%s\" must be %s from %g to %g", row->name,
                         whole ? "an integer" : "a number", row->low, row->high);
    if (whole)
        *(uint32_t *)(void *)((char *)at + row->offset) = (uint32_t)value;
    else
        *(double *)(void *)((char *)at + row->offset) = value;
    return STATUS_OK;
}

static enum status take_choice(const struct param *row, void *at, yyjson_val *v, struct error *err)
{
    const char *word = yyjson_get_str(v);
    struct buf words = { 0 };
    for (uint32_t i = 0; row->choices[i]; i++) {
        if (word && strcmp(word, row->choices[i]) == 0) {
            *(uint32_t *)(void *)((char *)at + row->offset) = i;
            buf_finish(&words);
            return STATUS_OK;
        }
        buf_printf(&words, "%s\"%s\"", i ? ", " : "", row->choices[i]);
    }
    enum status st =
        error_set(err, STATUS_INVALID, "\"%s\" must be one of %s", row->name, buf_cstr(&words));
    buf_finish(&words);
    return st;
}

static enum status take_flag(const struct param *row, void *at, yyjson_val *v, struct error *err)
{
    if (!yyjson_is_bool(v))
        return error_set(err, STATUS_INVALID, "\"%s\" must be true or false", row->name);
    *(bool *)(void *)((char *)at + row->offset) = yyjson_get_bool(v);
    return STATUS_OK;
}

static enum status take_text(const struct param *row, void *at, yyjson_val *v, struct error *err)
{
    struct bytes text = bytes_of(yyjson_get_str(v), yyjson_get_len(v));
    if (!yyjson_is_str(v) || bytes_copy_str(text, (char *)at + row->offset, (size_t)row->high + 1))
        return error_set(err, STATUS_INVALID, "\"%s\" must be a text of at most %g bytes",
                         row->name, row->high);
    return STATUS_OK;
}

static enum status take_value(const struct param *row, void *at, yyjson_val *v, struct error *err)
{
    switch (row->kind) {
    case PARAM_LIST:
        return take_list(row, at, v, err);
    case PARAM_CHOICE:
        return take_choice(row, at, v, err);
    case PARAM_FLAG:
        return take_flag(row, at, v, err);
    case PARAM_TEXT:
        return take_text(row, at, v, err);
    default:
        return take_number(row, at, v, err);
    }
}

static enum status fail_unknown(const char *name, const struct param_set *sets, size_t sets_count,
                                struct error *err)
{
    struct buf names = { 0 };
    for (size_t s = 0; s < sets_count; s++)
        for (size_t i = 0; i < sets[s].count; i++)
            buf_printf(&names, "%s%s", names.len ? ", " : "", sets[s].rows[i].name);
    enum status st =
        error_set(err, STATUS_INVALID, "there is no parameter \"%.64s\"; there are: %s", name,
                  buf_cstr(&names));
    buf_finish(&names);
    return st;
}

static enum status take(const char *name, yyjson_val *v, const struct param_set *sets,
                        size_t sets_count, struct error *err)
{
    for (size_t s = 0; s < sets_count; s++)
        for (size_t i = 0; i < sets[s].count; i++) {
            const struct param *row = &sets[s].rows[i];
            if (strcmp(name, row->name) == 0)
                return take_value(row, sets[s].at, v, err);
        }
    return fail_unknown(name, sets, sets_count, err);
}

enum status params_parse(struct bytes json, const struct param_set *sets, size_t sets_count,
                         struct error *err)
{
    size_t i, max;
    yyjson_val *key, *v;
    enum status st = STATUS_OK;
    if (!json.len)
        return STATUS_OK;
    yyjson_doc *doc = yyjson_read(json.data, json.len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (!yyjson_is_obj(root))
        st = error_set(err, STATUS_INVALID, "\"params\" must be a JSON object");
    yyjson_obj_foreach(root, i, max, key, v)
    {
        if (!st)
            st = take(yyjson_get_str(key), v, sets, sets_count, err);
    }
    yyjson_doc_free(doc);
    return st;
}

static yyjson_mut_val *value_of(const struct param *row, const void *at, yyjson_mut_doc *doc)
{
    const char *field = (const char *)at + row->offset;
    if (row->kind == PARAM_REAL)
        return yyjson_mut_real(doc, *(const double *)(const void *)field);
    if (row->kind == PARAM_CHOICE)
        return yyjson_mut_str(doc, row->choices[*(const uint32_t *)(const void *)field]);
    if (row->kind == PARAM_FLAG)
        return yyjson_mut_bool(doc, *(const bool *)(const void *)field);
    if (row->kind == PARAM_TEXT)
        return yyjson_mut_strcpy(doc, field);
    if (row->kind == PARAM_U32)
        return yyjson_mut_uint(doc, *(const uint32_t *)(const void *)field);
    const char *count = (const char *)at + row->count_offset;
    return yyjson_mut_arr_with_uint32(doc, (const uint32_t *)(const void *)field,
                                      *(const size_t *)(const void *)count);
}

void params_put(const struct param_set *sets, size_t sets_count, yyjson_mut_doc *doc,
                yyjson_mut_val *object)
{
    for (size_t s = 0; s < sets_count; s++)
        for (size_t i = 0; i < sets[s].count; i++) {
            const struct param *row = &sets[s].rows[i];
            yyjson_mut_obj_add(object, yyjson_mut_str(doc, row->name),
                               value_of(row, sets[s].at, doc));
        }
}
