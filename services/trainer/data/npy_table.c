/* npy_table.c - two arrays as a table. */
#include "services/trainer/data/npy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_CHANNELS 4

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static enum status check_finite(const struct npy *a, const char *what, struct error *err)
{
    size_t width = 1;
    for (size_t i = 1; i < a->rank; i++)
        width *= a->dims[i];
    for (size_t i = 0; i < a->dims[0] * width; i++)
        if (!isfinite(a->data[i]))
            return error_set(err, STATUS_INVALID,
                             "%s, row %zu, column %zu: %g is not a number (finite, float32)", what,
                             i / width + 1, i % width + 1, (double)a->data[i]);
    return STATUS_OK;
}

/* height x width x channels to channels x height x width, row by row. */
static void put_channels_first(struct npy *x)
{
    size_t pixels = x->dims[1] * x->dims[2], channels = x->dims[3], width = pixels * channels;
    float *row = mem_alloc(width * sizeof *row);
    for (size_t i = 0; i < x->dims[0]; i++) {
        float *at = x->data + i * width;
        memcpy(row, at, width * sizeof *row);
        for (size_t p = 0; p < pixels; p++)
            for (size_t c = 0; c < channels; c++)
                at[c * pixels + p] = row[p * channels + c];
    }
    free(row);
}

static enum status take_x(struct npy *x, struct table *out, struct error *err)
{
    size_t features = 1;
    if (x->rank < 2)
        return error_set(err, STATUS_INVALID, "x has one dimension; it needs rows and columns");
    for (size_t i = 1; i < x->rank; i++)
        features *= x->dims[i];
    if (features > MAX_FEATURES)
        return error_set(err, STATUS_TOO_LARGE, "x has more than %u numbers in a row",
                         MAX_FEATURES);
    bool last = x->rank == 4 && x->dims[3] <= MAX_CHANNELS;
    if (x->rank == 4 && !last && x->dims[1] > MAX_CHANNELS)
        return error_set(err, STATUS_INVALID, "x has images of more than %d channels",
                         MAX_CHANNELS);
    if (last)
        put_channels_first(x);
    if (x->rank == 3)
        out->image = (struct image_shape){ 1, (uint32_t)x->dims[1], (uint32_t)x->dims[2] };
    else if (last)
        out->image = (struct image_shape){ (uint32_t)x->dims[3], (uint32_t)x->dims[1],
                                           (uint32_t)x->dims[2] };
    else if (x->rank == 4)
        out->image = (struct image_shape){ (uint32_t)x->dims[1], (uint32_t)x->dims[2],
                                           (uint32_t)x->dims[3] };
    out->rows = x->dims[0];
    out->features = features;
    out->x = x->data;
    x->data = NULL;
    return STATUS_OK;
}

/* The different numbers of y, sorted. */
static float *different(const struct npy *y, size_t *count)
{
    float *list = mem_alloc(y->dims[0] * sizeof *list);
    memcpy(list, y->data, y->dims[0] * sizeof *list);
    qsort(list, y->dims[0], sizeof *list, by_size);
    *count = 0;
    for (size_t i = 0; i < y->dims[0]; i++)
        if (!i || list[i] != list[*count - 1])
            list[(*count)++] = list[i];
    return list;
}

static enum status take_classes(const struct npy *y, const float *labels, size_t count,
                                struct table *out, struct error *err)
{
    if (count < 2)
        return error_set(err, STATUS_INVALID, "y has only one class: there is nothing to learn");
    if (count > MAX_CLASSES)
        return error_set(err, STATUS_INVALID, "y has more than %u classes", MAX_CLASSES);
    out->classes = mem_alloc(count * sizeof *out->classes);
    for (; out->classes_count < count; out->classes_count++) {
        char text[32];
        snprintf(text, sizeof text, "%.9g", (double)labels[out->classes_count]);
        out->classes[out->classes_count] = mem_str(bytes_str(text));
    }
    out->y = mem_alloc(out->rows * sizeof *out->y);
    for (size_t i = 0; i < out->rows; i++) {
        const float *at = bsearch(&y->data[i], labels, count, sizeof *labels, by_size);
        out->y[i] = (uint32_t)(at - labels);
    }
    return STATUS_OK;
}

/* The classes of another table: all labels of y must be among them. */
static enum status take_like(const struct npy *y, const struct table *like, struct table *out,
                             struct error *err)
{
    out->classes = mem_alloc(like->classes_count * sizeof *out->classes);
    for (; out->classes_count < like->classes_count; out->classes_count++)
        out->classes[out->classes_count] = mem_str(bytes_str(like->classes[out->classes_count]));
    out->y = mem_alloc(out->rows * sizeof *out->y);
    for (size_t i = 0; i < out->rows; i++) {
        char text[32];
        uint32_t c = 0;
        snprintf(text, sizeof text, "%.9g", (double)y->data[i]);
        while (c < like->classes_count && strcmp(like->classes[c], text) != 0)
            c++;
        if (c == like->classes_count)
            return error_set(err, STATUS_INVALID,
                             "row %zu has the label %s, which the training rows have not", i + 1,
                             text);
        out->y[i] = c;
    }
    return STATUS_OK;
}

static enum status take_y(struct npy *y, enum task task, const struct table *like,
                          struct table *out, struct error *err)
{
    size_t outputs = y->rank == 2 ? y->dims[1] : 1, count = 0;
    if (y->rank > 2 || y->dims[0] != out->rows)
        return error_set(err, STATUS_INVALID,
                         "y has %zu rows, x has %zu; and y is [rows] or "
                         "[rows, outputs]",
                         y->dims[0], out->rows);
    if (outputs > MAX_TARGETS || (outputs > 1 && task == TASK_CLASSES))
        return error_set(err, STATUS_INVALID, "y has %zu columns", outputs);
    if (like)
        task = like->outputs ? TASK_VALUES : TASK_CLASSES;
    if (like && like->outputs != (task == TASK_VALUES ? outputs : 0))
        return error_set(err, STATUS_INVALID, "y has another number of columns than in training");
    if (like && task == TASK_CLASSES)
        return take_like(y, like, out, err);
    float *labels = outputs == 1 ? different(y, &count) : NULL;
    if (task == TASK_AUTO)
        task = outputs == 1 && count <= (y->whole ? AUTO_INTEGERS : AUTO_NUMBERS) ? TASK_CLASSES
                                                                                  : TASK_VALUES;
    enum status st = STATUS_OK;
    if (task == TASK_CLASSES) {
        st = take_classes(y, labels, count, out, err);
    } else {
        out->outputs = outputs;
        out->values = y->data;
        y->data = NULL;
    }
    free(labels);
    return st;
}

enum status npy_table(struct npy *x, struct npy *y, enum task task, const struct table *like,
                      struct table *out, struct error *err)
{
    *out = (struct table){ 0 };
    enum status st = check_finite(x, "x", err);
    if (!st)
        st = check_finite(y, "y", err);
    if (!st)
        st = take_x(x, out, err);
    if (!st)
        st = take_y(y, task, like, out, err);
    if (st)
        table_finish(out);
    npy_finish(x);
    npy_finish(y);
    return st;
}
