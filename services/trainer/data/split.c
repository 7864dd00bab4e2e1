/* split.c - largest remainders by class, then rows at random within the class. */
#include "services/trainer/data/split.h"

#include "services/trainer/random.h"

#include <math.h>
#include <stdlib.h>

enum part { TEST, TRAIN, VALIDATION, PARTS };

/* A class's claim to one row more than the whole part of its share. */
struct claim {
    double rest;
    uint32_t class;
};

static int larger_first(const void *a, const void *b)
{
    const struct claim *x = a, *y = b;
    if (x->rest != y->rest)
        return x->rest > y->rest ? -1 : 1;
    return (x->class > y->class) - (x->class < y->class);
}

/* How many of the left[c] rows of each class a part gets; they are taken from left[c]. */
static size_t allot(size_t *left, size_t classes, double share, size_t least, size_t *got)
{
    struct claim *claims = mem_alloc(classes * sizeof *claims);
    size_t all = 0, given = 0;
    for (size_t c = 0; c < classes; c++) {
        double quota = (double)left[c] * share;
        got[c] = (size_t)quota;
        claims[c] = (struct claim){ quota - (double)got[c], (uint32_t)c };
        all += left[c];
        given += got[c];
    }
    size_t wanted = (size_t)llround((double)all * share);
    wanted = wanted < least ? least : wanted;
    qsort(claims, classes, sizeof *claims, larger_first);
    for (size_t i = 0; i < classes && given < wanted; i++) {
        uint32_t c = claims[i].class;
        if (claims[i].rest <= 0 || got[c] + 1 >= left[c])
            continue; /* the last row of a class is to be learnt from */
        got[c]++;
        given++;
    }
    for (size_t c = 0; c < classes; c++)
        left[c] -= got[c];
    free(claims);
    return given;
}

/* Gives each row to a part; a random row of a class is as likely as any other. */
static void choose(const struct table *t, uint64_t seed, size_t *test, size_t *validation,
                   unsigned char *part)
{
    struct random random = { .state = seed };
    uint32_t *order = mem_alloc(t->rows * sizeof *order);
    for (size_t i = 0; i < t->rows; i++)
        order[i] = (uint32_t)i;
    random_shuffle(&random, order, t->rows);
    for (size_t i = 0; i < t->rows; i++) {
        uint32_t c = t->y[order[i]];
        part[order[i]] = TRAIN;
        if (test[c]) {
            part[order[i]] = TEST;
            test[c]--;
        } else if (validation[c]) {
            part[order[i]] = VALIDATION;
            validation[c]--;
        }
    }
    free(order);
}

static void collect(const struct table *t, const unsigned char *part, struct split *s)
{
    size_t at[PARTS] = { [TEST] = 0, [TRAIN] = s->test, [VALIDATION] = s->test + s->train };
    s->rows = mem_alloc(t->rows * sizeof *s->rows);
    for (size_t i = 0; i < t->rows; i++)
        s->rows[at[part[i]]++] = (uint32_t)i;
}

enum status split_make(const struct table *t, const struct split_shares *shares, uint64_t seed,
                       struct split *out, struct error *err)
{
    size_t classes = t->classes_count, *left = mem_zalloc(3 * classes * sizeof *left);
    size_t *test = left + classes, *validation = test + classes;
    *out = (struct split){ 0 };
    for (size_t i = 0; i < t->rows; i++)
        left[t->y[i]]++;
    if (shares->test > 0)
        out->test = allot(left, classes, shares->test, 1, test);
    if (shares->validation > 0)
        out->validation = allot(left, classes, shares->validation, 0, validation);
    out->train = t->rows - out->test - out->validation;
    if (out->train < 2 || (shares->test > 0 && !out->test)) {
        free(left);
        return error_set(err, STATUS_INVALID,
                         "%zu rows of %zu classes are too few to learn from and to hold some out",
                         t->rows, classes);
    }
    unsigned char *part = mem_alloc(t->rows);
    choose(t, seed, test, validation, part);
    collect(t, part, out);
    free(part);
    free(left);
    return STATUS_OK;
}

void split_finish(struct split *s)
{
    free(s->rows);
    *s = (struct split){ 0 };
}
