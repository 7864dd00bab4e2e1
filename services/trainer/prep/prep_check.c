/* prep_check.c - columns from which nothing can be learnt, or too much. */
#include "services/trainer/prep/prep.h"

#include "services/trainer/cancel.h"

#include <math.h>
#include <stdlib.h>

#define LEAK_TOLERANCE 1e-6 /* of values, relative */

/* Is the name in a list with commas? */
static bool listed(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ",");
        if (n == len && memcmp(p, name, n) == 0)
            return true;
        p += n + (p[n] == ',');
    }
    return false;
}

static bool is_constant(const struct prep_lesson *l, const struct column *c)
{
    for (size_t i = 1; i < l->count; i++) {
        uint32_t a = l->rows[0], b = l->rows[i];
        if (c->number
                ? !(c->number[a] == c->number[b] || (isnan(c->number[a]) && isnan(c->number[b])))
                : c->code[a] != c->code[b])
            return false;
    }
    return true;
}

/* The same numbers as one of the values that are to be learnt. */
static bool equals_values(const struct prep_lesson *l, const struct column *c)
{
    size_t outputs = l->target->outputs;
    for (size_t k = 0; c->number && k < outputs; k++) {
        bool same = true;
        for (size_t i = 0; i < l->count && same; i++) {
            float x = c->number[l->rows[i]], y = l->target->values[l->rows[i] * outputs + k];
            same = fabsf(x - y) <= (float)LEAK_TOLERANCE * fabsf(y);
        }
        if (same)
            return true;
    }
    return false;
}

/* Each class has one word or number of its own. */
static bool names_classes(const struct prep_lesson *l, const struct column *c)
{
    size_t classes = l->target->classes_count;
    int64_t *of_class = mem_alloc(classes * sizeof *of_class);
    bool same = true;
    for (size_t k = 0; k < classes; k++)
        of_class[k] = -1; /* the row in which the class was seen first */
    for (size_t i = 0; i < l->count && same; i++) {
        uint32_t row = l->rows[i], y = l->target->y[row];
        int64_t first = of_class[y];
        if (c->number ? isnan(c->number[row]) : c->code[row] == CODE_MISSING)
            same = false;
        else if (first < 0)
            of_class[y] = row;
        else
            same = c->number ? c->number[first] == c->number[row] : c->code[first] == c->code[row];
    }
    for (size_t k = 0; k < classes && same; k++)
        for (size_t j = 0; j < k && same; j++)
            if (of_class[k] >= 0 && of_class[j] >= 0)
                same = c->number ? c->number[of_class[k]] != c->number[of_class[j]]
                                 : c->code[of_class[k]] != c->code[of_class[j]];
    free(of_class);
    return same;
}

static bool is_leak(const struct prep_lesson *l, const struct column *c)
{
    return l->target->outputs ? equals_values(l, c) : names_classes(l, c);
}

static enum prep_drop check(const struct prep_lesson *l, const struct prep_params *p,
                            const struct column *c)
{
    bool keep = listed(p->keep, c->name), few = l->count < PREP_FEW_ROWS;
    bool group = l->group && strcmp(l->group, c->name) == 0; /* who it is says nothing of others */
    if (group || listed(p->drop, c->name))
        return DROP_ASKED;
    if (c->type == COLUMN_TEXT)
        return c->all_differ ? DROP_IDENTIFIER : DROP_TEXT;
    if (c->type == COLUMN_DATE)
        return DROP_DATE;
    if (is_constant(l, c))
        return DROP_CONSTANT;
    if (!keep && !few && c->one_way)
        return DROP_IDENTIFIER;
    if (!keep && !few && is_leak(l, c))
        return DROP_LEAK;
    return DROP_NOT;
}

void prep_check(const struct prep_lesson *l, const struct prep_params *params,
                enum prep_drop *drops)
{
    for (size_t i = 0; i < l->frame->columns_count; i++)
        if (!l->frame->columns[i].target && !cancel_is_set(l->cancelled))
            drops[i] = check(l, params, &l->frame->columns[i]);
}

const char *prep_drop_text(enum prep_drop drop)
{
    static const char *const texts[] = {
        [DROP_NOT] = "",
        [DROP_ASKED] = "asked for",
        [DROP_TEXT] = "text: too many different words",
        [DROP_DATE] = "dates",
        [DROP_CONSTANT] = "the same in all training rows",
        [DROP_IDENTIFIER] = "an identifier: different in each row",
        [DROP_LEAK] = "a leak: it says the target",
    };
    return texts[drop];
}
