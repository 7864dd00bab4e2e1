/* target.c - see target.h. */
#include "services/trainer/data/target.h"

#include "services/trainer/data/number.h"

#include <stdlib.h>

struct class
{
    const char *text;
    double value; /* where all classes are numbers */
    uint32_t code;
};

static int by_value(const void *a, const void *b)
{
    const struct class *x = a, *y = b;
    int order = (x->value > y->value) - (x->value < y->value);
    return order ? order : strcmp(x->text, y->text);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(((const struct class *)a)->text, ((const struct class *)b)->text);
}

/* The words that are in a row, sorted. */
static struct class *sorted_classes(const struct column *c, size_t rows, size_t *count)
{
    struct class *list = mem_alloc((c->words_count + 1) * sizeof *list);
    bool *used = mem_zalloc(c->words_count + 1), numbers = true, whole;
    *count = 0;
    for (size_t i = 0; i < rows; i++)
        used[c->code[i]] = true;
    for (size_t i = 0; i < c->words_count; i++) {
        struct class k = { .text = c->words[i], .code = (uint32_t)i };
        if (!used[i])
            continue;
        numbers = numbers && number_read(k.text, strlen(k.text), &k.value, &whole);
        list[(*count)++] = k;
    }
    qsort(list, *count, sizeof *list, numbers ? by_value : by_text);
    free(used);
    return list;
}

static enum status take_classes(const struct dataframe *f, const struct column *c,
                                struct table *out, struct error *err)
{
    size_t count;
    if (!c->code)
        return error_set(err, STATUS_INVALID,
                         "column '%.64s' has more than %u classes; numbers are learnt with "
                         "\"task\":\"regression\"",
                         c->name, MAX_CLASSES);
    struct class *list = sorted_classes(c, f->rows, &count);
    if (count < 2) {
        free(list);
        return error_set(err, STATUS_INVALID,
                         "column '%.64s' has only one class: there is nothing to learn", c->name);
    }
    uint32_t *place = mem_alloc(c->words_count * sizeof *place);
    out->classes = mem_alloc(count * sizeof *out->classes);
    for (; out->classes_count < count; out->classes_count++) {
        place[list[out->classes_count].code] = (uint32_t)out->classes_count;
        out->classes[out->classes_count] = mem_str(bytes_str(list[out->classes_count].text));
    }
    out->y = mem_alloc(f->rows * sizeof *out->y);
    for (size_t i = 0; i < f->rows; i++)
        out->y[i] = place[c->code[i]];
    free(place);
    free(list);
    return STATUS_OK;
}

static enum status take_values(const struct dataframe *f, const char *const *names, size_t count,
                               struct table *out, struct error *err)
{
    out->outputs = count;
    out->values = mem_alloc(f->rows * count * sizeof *out->values);
    for (size_t k = 0; k < count; k++) {
        const struct column *c = dataframe_column(f, names[k]);
        bool differ = false;
        if (!c->number)
            return error_set(err, STATUS_INVALID,
                             "column '%.64s' has words: values to be learnt are numbers", c->name);
        for (size_t i = 0; i < f->rows; i++) {
            out->values[i * count + k] = c->number[i];
            differ = differ || c->number[i] != c->number[0];
        }
        if (!differ)
            return error_set(err, STATUS_INVALID,
                             "column '%.64s' has the same value everywhere: there is nothing to "
                             "learn",
                             c->name);
    }
    return STATUS_OK;
}

static bool is_of_values(const struct column *c)
{
    if (!c->number)
        return false;
    return !c->code || c->words_count > (c->type == COLUMN_NUMBER ? AUTO_NUMBERS : AUTO_INTEGERS);
}

enum status target_read(const struct dataframe *f, const char *const *names, size_t count,
                        enum task task, struct table *out, struct error *err)
{
    if (task == TASK_CLASSES && count > 1)
        return error_set(err, STATUS_INVALID,
                         "classes are learnt of one column; \"target\" names %zu", count);
    if (task == TASK_AUTO)
        task =
            count > 1 || is_of_values(dataframe_column(f, names[0])) ? TASK_VALUES : TASK_CLASSES;
    out->rows = f->rows;
    enum status st = task == TASK_VALUES ? take_values(f, names, count, out, err)
                                         : take_classes(f, dataframe_column(f, names[0]), out, err);
    if (st)
        table_finish(out);
    return st;
}
