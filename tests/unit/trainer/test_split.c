/* test_split.c - every row once, each class in its share, the same for the same seed. */
#include "services/trainer/data/split.h"
#include "tests/unit/trainer/fixture.h"

#include <math.h>

static struct table t;
static struct split s;
static struct error err;

static void finish(void)
{
    split_finish(&s);
    table_finish(&t);
}

TestSuite(split, .fini = finish);

/* Rows of the classes in turn, class c with sizes[c] of them. */
static void make_table(const size_t *sizes, size_t classes)
{
    size_t rows = 0, at = 0, made[8] = { 0 };
    for (size_t c = 0; c < classes; c++)
        rows += sizes[c];
    fixture_table(&t, rows, 1, classes);
    for (size_t c = 0; at < rows; c = (c + 1) % classes)
        if (made[c] < sizes[c]) {
            made[c]++;
            t.y[at++] = (uint32_t)c;
        }
}

static enum status make(double test, double validation, uint64_t seed)
{
    split_finish(&s);
    return split_make(&t, &(struct split_shares){ test, validation }, seed, &s, &err);
}

static size_t count(size_t from, size_t rows, uint32_t class)
{
    size_t n = 0;
    for (size_t i = from; i < from + rows; i++)
        n += t.y[s.rows[i]] == class;
    return n;
}

static void check_shares(const size_t *sizes, size_t classes, double test, double validation)
{
    cr_assert_eq(make(test, validation, 3), STATUS_OK, "%s", err.text);
    cr_assert_eq(s.test + s.train + s.validation, t.rows);
    for (uint32_t c = 0; c < classes; c++) {
        size_t held = count(0, s.test, c), watched = count(s.test + s.train, s.validation, c);
        double others = (double)(sizes[c] - held);
        cr_expect_lt(fabs((double)held - test * (double)sizes[c]), 1, "class %u: %zu of %zu", c,
                     held, sizes[c]);
        cr_expect_lt(fabs((double)watched - validation * others), 1, "class %u: %zu of %g", c,
                     watched, others);
        cr_expect_geq(count(s.test, s.train, c), 1);
    }
}

Test(split, each_class_has_its_share)
{
    static const double shares[] = { 0.01, 0.1, 0.2, 0.37, 0.5, 0.9 };
    static const size_t sizes[] = { 700, 200, 93, 7, 1, 2, 50 };
    make_table(sizes, 7);
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
        for (size_t k = 0; k < sizeof shares / sizeof *shares; k++)
            check_shares(sizes, 7, shares[i], shares[k] > 0.8 ? 0.8 : shares[k]);
}

Test(split, the_parts_have_their_sizes)
{
    make_table((const size_t[]){ 100, 100, 100 }, 3);
    cr_assert_eq(make(0.2, 0.1, 1), STATUS_OK);
    cr_assert_eq(s.test, 60);
    cr_assert_eq(s.validation, 24);
    cr_assert_eq(s.train, 216);
}

Test(split, every_row_is_there_once)
{
    unsigned char seen[300] = { 0 };
    make_table((const size_t[]){ 150, 100, 50 }, 3);
    cr_assert_eq(make(0.2, 0.3, 1), STATUS_OK);
    for (size_t i = 0; i < t.rows; i++)
        seen[s.rows[i]]++;
    for (size_t i = 0; i < t.rows; i++)
        cr_assert_eq(seen[i], 1);
}

Test(split, a_seed_decides_it)
{
    uint32_t first[300];
    make_table((const size_t[]){ 150, 150 }, 2);
    cr_assert_eq(make(0.2, 0.1, 7), STATUS_OK);
    memcpy(first, s.rows, sizeof first);
    cr_assert_eq(make(0.2, 0.1, 7), STATUS_OK);
    cr_assert_arr_eq(first, s.rows, sizeof first);
    cr_assert_eq(make(0.2, 0.1, 8), STATUS_OK);
    cr_assert_arr_neq(first, s.rows, sizeof first);
}

Test(split, without_shares_all_rows_are_learnt_from)
{
    make_table((const size_t[]){ 3, 3 }, 2);
    cr_assert_eq(make(0, 0, 1), STATUS_OK);
    cr_assert_eq(s.train, 6);
}

Test(split, one_row_of_each_class_is_too_few)
{
    make_table((const size_t[]){ 1, 1, 1, 1 }, 4);
    cr_assert_eq(make(0.2, 0.1, 1), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "too few"));
}
