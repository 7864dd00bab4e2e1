/* params.c - one table of parameters with their bounds. */
#include "services/trainer/params.h"

#include <yyjson.h>

static const struct {
    const char *name;
    size_t offset;
    bool whole; /* uint32_t; else double */
    double low, high;
} rows[] = {
    { "epochs", offsetof(struct params, epochs), true, 1, MAX_EPOCHS },
    { "batch", offsetof(struct params, batch), true, 1, MAX_BATCH },
    { "patience", offsetof(struct params, patience), true, 0, MAX_EPOCHS },
    { "lr", offsetof(struct params, lr), false, 1e-9, 100 },
    { "lr_decay", offsetof(struct params, lr_decay), false, 1e-3, 1 },
    { "momentum", offsetof(struct params, momentum), false, 0, 0.9999 },
    { "weight_decay", offsetof(struct params, weight_decay), false, 0, 1 },
    { "validation", offsetof(struct params, validation), false, 0, 0.9 },
    { "test", offsetof(struct params, test), false, 0.01, 0.9 },
};

void params_default(struct params *p, bool images)
{
    *p = (struct params){ .hidden = { images ? 256 : 64, 128 },
                          .hidden_count = images ? 2 : 1,
                          .epochs = images ? 10 : 60,
                          .batch = images ? 128 : 16,
                          .lr = 0.05,
                          .lr_decay = images ? 0.8 : 1,
                          .momentum = 0.9,
                          .weight_decay = 1e-4,
                          .validation = 0.1,
                          .test = 0.2,
                          .patience = images ? 5 : 15 };
}

static enum status take_hidden(yyjson_val *list, struct params *p, struct error *err)
{
    size_t i, max;
    yyjson_val *v;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) > MAX_HIDDEN)
        return error_set(err, STATUS_INVALID, "\"hidden\" must be a list of at most %d layer sizes",
                         MAX_HIDDEN);
    p->hidden_count = yyjson_arr_size(list);
    yyjson_arr_foreach(list, i, max, v)
    {
        if (!yyjson_is_uint(v) || yyjson_get_uint(v) < 1 || yyjson_get_uint(v) > MAX_HIDDEN_UNITS)
            return error_set(err, STATUS_INVALID, "hidden[%zu] must be an integer from 1 to %d", i,
                             MAX_HIDDEN_UNITS);
        p->hidden[i] = (uint32_t)yyjson_get_uint(v);
    }
    return STATUS_OK;
}

static enum status take(const char *name, yyjson_val *v, struct params *p, struct error *err)
{
    if (strcmp(name, "hidden") == 0)
        return take_hidden(v, p, err);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(name, rows[i].name) != 0)
            continue;
        double value = yyjson_get_num(v);
        if (!(rows[i].whole ? yyjson_is_uint(v) : yyjson_is_num(v)) || value < rows[i].low ||
            value > rows[i].high)
            return error_set(err, STATUS_INVALID, "\"%s\" must be %s from %g to %g", name,
                             rows[i].whole ? "an integer" : "a number", rows[i].low, rows[i].high);
        if (rows[i].whole)
            *(uint32_t *)((char *)p + rows[i].offset) = (uint32_t)value;
        else
            *(double *)((char *)p + rows[i].offset) = value;
        return STATUS_OK;
    }
    return error_set(err, STATUS_INVALID,
                     "there is no parameter \"%.64s\"; there are: hidden, epochs, "
                     "batch, lr, lr_decay, momentum, weight_decay, validation, test, patience",
                     name);
}

enum status params_parse(struct bytes json, struct params *p, struct error *err)
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
            st = take(yyjson_get_str(key), v, p, err);
    }
    yyjson_doc_free(doc);
    return st;
}
