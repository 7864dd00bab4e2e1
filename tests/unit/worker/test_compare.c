/* test_compare.c - what counts as the same tensor, and in which words it is told what differs. */
#include "services/worker/compare.h"

#include <criterion/criterion.h>
#include <math.h>

static struct error err;
static const struct tolerance exact = { 0, 0 };
static const struct tolerance usual = { 1e-3, 1e-5 };

static const int64_t two_two[] = { 2, 2 };

static enum status compare(enum datatype type, const void *got, const void *expected, size_t size,
                           const struct tolerance *t)
{
    const struct compared a = { type, two_two, 2, bytes_of(got, size) };
    const struct compared b = { type, two_two, 2, bytes_of(expected, size) };
    err.text[0] = 0;
    return compare_tensors("y", &a, &b, t, &err);
}

Test(compare, floats_within_the_tolerance)
{
    const float got[] = { 1, 2, 3, 4 };
    const float close[] = { 1.0009f, 2, 3, 4 }, far[] = { 1, 2, 3.1f, 4 };
    cr_expect_eq(compare(DT_FP32, got, got, sizeof got, &exact), STATUS_OK);
    cr_expect_eq(compare(DT_FP32, got, close, sizeof got, &usual), STATUS_OK);
    cr_expect_eq(compare(DT_FP32, got, close, sizeof got, &exact), STATUS_INVALID);
    cr_expect_eq(compare(DT_FP32, got, far, sizeof got, &usual), STATUS_INVALID);
    cr_expect_str_eq(err.text, "output 'y'[1][0] is 3; 3.0999999 was expected");
}

Test(compare, what_is_not_finite)
{
    const double numbers[] = { 1, 2, 3, 4 };
    const double nans[] = { NAN, INFINITY, -INFINITY, 4 }, any[] = { NAN, NAN, NAN, 4 };
    cr_expect_eq(compare(DT_FP64, nans, any, sizeof nans, &exact), STATUS_OK);
    cr_expect_eq(compare(DT_FP64, numbers, any, sizeof any, &usual), STATUS_INVALID);
    cr_expect_str_eq(err.text, "output 'y'[0][0] is 1; no finite number was expected");
    cr_expect_eq(compare(DT_FP64, nans, numbers, sizeof any, &usual), STATUS_INVALID);
    cr_expect_not_null(strstr(err.text, "nan; 1 was expected"), "%s", err.text);
}

Test(compare, whole_numbers_are_equal_or_not)
{
    const int16_t got[] = { 1, -2, 3, 4 }, other[] = { 1, -3, 3, 4 };
    const uint64_t large[] = { 1, 2, 3, UINT64_MAX }, small[] = { 1, 2, 3, 0 };
    const int64_t low[] = { INT64_MIN, 0, 0, 0 }, zero[] = { 0, 0, 0, 0 };
    const uint16_t half[] = { 0x3c00, 0, 0, 0 }, halves[] = { 0x3c01, 0, 0, 0 };
    cr_expect_eq(compare(DT_INT16, got, got, sizeof got, &exact), STATUS_OK);
    cr_expect_eq(compare(DT_INT16, got, other, sizeof got, &usual), STATUS_INVALID);
    cr_expect_str_eq(err.text, "output 'y'[0][1] is -2; -3 was expected");
    cr_expect_eq(compare(DT_UINT64, large, small, sizeof large, &usual), STATUS_INVALID);
    cr_expect_str_eq(err.text, "output 'y'[1][1] is 18446744073709551615; 0 was expected");
    cr_expect_eq(compare(DT_INT64, low, zero, sizeof low, &usual), STATUS_INVALID);
    cr_expect_str_eq(err.text, "output 'y'[0][0] is -9223372036854775808; 0 was expected");
    cr_expect_eq(compare(DT_BOOL, "\1\0\1\0", "\1\0\1\1", 4, &usual), STATUS_INVALID);
    cr_expect_eq(compare(DT_FP16, half, halves, sizeof half, &usual), STATUS_INVALID);
    cr_expect_str_eq(err.text, "output 'y'[0][0] is 0x3c00; 0x3c01 was expected");
}

static const char got_words[] = "\1\0\0\0a\2\0\0\0bc\0\0\0\0\1\0\0\0d";
static const char other_words[] = "\1\0\0\0a\2\0\0\0bc\1\0\0\0x\1\0\0\0d";

Test(compare, strings)
{
    cr_expect_eq(compare(DT_BYTES, got_words, got_words, sizeof got_words - 1, &exact), STATUS_OK);
    cr_expect_eq(compare(DT_BYTES, got_words, other_words, sizeof got_words - 1, &exact),
                 STATUS_INVALID);
    cr_expect_str_eq(err.text, "output 'y'[1][0] is \"\"; \"x\" was expected");
}

Test(compare, types_and_shapes)
{
    static const int64_t four[] = { 4 };
    const float data[] = { 1, 2, 3, 4 };
    const struct compared square = { DT_FP32, two_two, 2, bytes_of(data, sizeof data) };
    const struct compared line = { DT_FP32, four, 1, bytes_of(data, sizeof data) };
    const struct compared whole = { DT_INT32, two_two, 2, bytes_of(data, sizeof data) };
    const struct compared single = { DT_FP32, NULL, 0, bytes_of(data, sizeof *data) };
    const struct compared other = { DT_FP32, NULL, 0, bytes_of(data + 1, sizeof *data) };
    cr_expect_eq(compare_tensors("y", &square, &line, &usual, &err), STATUS_INVALID);
    cr_expect_str_eq(err.text, "output 'y' has the shape [2,2]; [4] was expected");
    cr_expect_eq(compare_tensors("y", &square, &whole, &usual, &err), STATUS_INVALID);
    cr_expect_str_eq(err.text, "output 'y' is FP32; INT32 was expected");
    cr_expect_eq(compare_tensors("y", &single, &single, &usual, &err), STATUS_OK);
    cr_expect_eq(compare_tensors("y", &single, &other, &usual, &err), STATUS_INVALID);
    cr_expect_str_eq(err.text, "output 'y' is 1; 2 was expected");
}
