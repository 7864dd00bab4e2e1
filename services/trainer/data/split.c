/* split.c - largest remainders by class, then rows at random within the class; whole groups; the
 * order of keys. */
#include "services/trainer/data/split.h"

#include "services/trainer/data/sort.h"
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

/* Gives each row to a part; a random row of a class is as likely as any other.  y: NULL: all rows
 * are of one class. */
static void choose(const uint32_t *y, size_t rows, uint64_t seed, size_t *test, size_t *validation,
                   unsigned char *part)
{
    struct random random = { .state = seed };
    uint32_t *order = mem_alloc(rows * sizeof *order);
    for (size_t i = 0; i < rows; i++)
        order[i] = (uint32_t)i;
    random_shuffle(&random, order, rows);
    for (size_t i = 0; i < rows; i++) {
        uint32_t c = y ? y[order[i]] : 0;
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

/* Rows by part, in the order of the table. */
static void collect(const unsigned char *part, size_t rows, struct split *s)
{
    size_t count[PARTS] = { 0 };
    for (size_t i = 0; i < rows; i++)
        count[part[i]]++;
    s->test = count[TEST];
    s->train = count[TRAIN];
    s->validation = count[VALIDATION];
    size_t at[PARTS] = { [TEST] = 0, [TRAIN] = s->test, [VALIDATION] = s->test + s->train };
    s->rows = mem_alloc(rows * sizeof *s->rows);
    for (size_t i = 0; i < rows; i++)
        s->rows[at[part[i]]++] = (uint32_t)i;
}

static enum status too_few(size_t rows, size_t of, const char *what, struct error *err)
{
    return error_set(err, STATUS_INVALID,
                     "%zu rows of %zu %s are too few to learn from and to hold some out", rows, of,
                     what);
}

static enum status split_classes(const uint32_t *y, size_t classes, size_t rows,
                                 const struct split_shares *shares, uint64_t seed,
                                 struct split *out, struct error *err)
{
    size_t *left = mem_zalloc(3 * classes * sizeof *left), held = 0, watched = 0;
    size_t *test = left + classes, *validation = test + classes;
    *out = (struct split){ 0 };
    for (size_t i = 0; i < rows; i++)
        left[y ? y[i] : 0]++;
    if (shares->test > 0)
        held = allot(left, classes, shares->test, 1, test);
    if (shares->validation > 0)
        watched = allot(left, classes, shares->validation, 0, validation);
    if (rows - held - watched < 2 || (shares->test > 0 && !held)) {
        free(left);
        return too_few(rows, classes, "classes", err);
    }
    unsigned char *part = mem_alloc(rows);
    choose(y, rows, seed, test, validation, part);
    collect(part, rows, out);
    free(part);
    free(left);
    return STATUS_OK;
}

enum status split_make(const struct table *t, const struct split_shares *shares, uint64_t seed,
                       struct split *out, struct error *err)
{
    return t->outputs ? split_random(t->rows, shares, seed, out, err)
                      : split_classes(t->y, t->classes_count, t->rows, shares, seed, out, err);
}

enum status split_random(size_t rows, const struct split_shares *shares, uint64_t seed,
                         struct split *out, struct error *err)
{
    return split_classes(NULL, 1, rows, shares, seed, out, err);
}

/* Groups at random, until a part has its share of the rows. */
enum status split_groups(const uint32_t *group, size_t groups, size_t rows,
                         const struct split_shares *shares, uint64_t seed, struct split *out,
                         struct error *err)
{
    struct random random = { .state = seed };
    uint32_t *order = mem_alloc(groups * sizeof *order);
    size_t *size = mem_zalloc(groups * sizeof *size), held = 0, watched = 0;
    unsigned char *of_group = mem_alloc(groups), *part = mem_alloc(rows);
    double test = shares->test * (double)rows, validation;
    *out = (struct split){ 0 };
    for (size_t i = 0; i < rows; i++)
        size[group[i]]++;
    for (size_t i = 0; i < groups; i++)
        order[i] = (uint32_t)i;
    random_shuffle(&random, order, groups);
    for (size_t i = 0; i < groups; i++) {
        uint32_t g = order[i];
        validation = shares->validation * ((double)rows - (double)held);
        of_group[g] = TRAIN;
        if (size[g] && i + 1 < groups && (double)held + (double)size[g] / 2 <= test) {
            of_group[g] = TEST;
            held += size[g];
        } else if (size[g] && i + 1 < groups &&
                   (double)watched + (double)size[g] / 2 <= validation) {
            of_group[g] = VALIDATION;
            watched += size[g];
        }
    }
    for (size_t i = 0; i < rows; i++)
        part[i] = of_group[group[i]];
    collect(part, rows, out);
    free(order);
    free(size);
    free(of_group);
    free(part);
    return out->train < 2 || (shares->test > 0 && !out->test) ? too_few(rows, groups, "groups", err)
                                                              : STATUS_OK;
}

/* A row and its place in the order. */
struct place {
    double key;
    uint32_t row;
};

static int by_key(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->key != y->key)
        return x->key > y->key ? 1 : -1;
    return (x->row > y->row) - (x->row < y->row);
}

enum status split_ordered(const double *key, size_t rows, const struct split_shares *shares,
                          const atomic_bool *cancelled, struct split *out, struct error *err)
{
    struct place *places = mem_alloc(rows * sizeof *places);
    unsigned char *part = mem_alloc(rows);
    size_t held = (size_t)llround(shares->test * (double)rows);
    held = shares->test > 0 && !held ? 1 : held;
    size_t watched = (size_t)llround(shares->validation * (double)(rows - held));
    *out = (struct split){ 0 };
    for (size_t i = 0; i < rows; i++)
        places[i] = (struct place){ key[i], (uint32_t)i };
    sort_list(places, rows, sizeof *places, by_key, cancelled);
    for (size_t i = 0; i < rows; i++)
        part[places[i].row] = i < rows - held - watched ? TRAIN
                              : i < rows - held         ? VALIDATION
                                                        : TEST;
    free(places);
    collect(part, rows, out);
    free(part);
    return out->train < 2 ? too_few(rows, 1, "ordered tables", err) : STATUS_OK;
}

void split_finish(struct split *s)
{
    free(s->rows);
    *s = (struct split){ 0 };
}
