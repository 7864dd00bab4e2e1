/* test_compare.c - how far outputs are apart, type by type, and which rows agree. */
#include "services/gateway/compare.h"

#include <criterion/criterion.h>
#include <math.h>

#define SHAPE(...) \
    { (const int64_t[]){ __VA_ARGS__ }, sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t) }
#define TENSOR(text, type, ...) { { text, sizeof text - 1 }, type, SHAPE(__VA_ARGS__) }

/* One output, of both. */
static struct comparison compare(struct msg_tensor t, const void *a, const void *b, size_t len)
{
    struct bytes one = bytes_of(a, len), other = bytes_of(b, len);
    struct compare_side mine = { &t, &one, 1 }, theirs = { &t, &other, 1 };
    struct comparison out;
    compare_outputs(&mine, &theirs, &out);
    cr_assert(out.matched);
    return out;
}

/* The same, where a and b are arrays. */
#define COMPARE(a, b, type, ...) \
    compare((struct msg_tensor)TENSOR("y", type, __VA_ARGS__), a, b, sizeof(a))

static void expect_gaps(const struct comparison *is, uint64_t values, double mean, double largest)
{
    cr_assert_eq(is->values, values);
    cr_assert_float_eq(is->mean, mean, 1e-12, "%.17g", is->mean);
    cr_assert_float_eq(is->largest, largest, 1e-12, "%.17g", is->largest);
}

static void expect_rows(const struct comparison *is, uint64_t rows, uint64_t agreeing)
{
    cr_assert_eq(is->rows, rows, "%llu", (unsigned long long)is->rows);
    cr_assert_eq(is->agreeing, agreeing, "%llu", (unsigned long long)is->agreeing);
}

Test(compare, floats_are_subtracted_and_their_classes_compared)
{
    const float a[2][3] = { { 1, 5, 2 }, { 9, 0, 0 } }, b[2][3] = { { 1.5, 4, 2 }, { 1, 2, 3 } };
    struct comparison is = COMPARE(a, b, DT_FP32, 2, 3);
    expect_gaps(&is, 6, (0.5 + 1 + 8 + 2 + 3) / 6, 8);
    expect_rows(&is, 2, 1);
    is = COMPARE(a, a, DT_FP32, 2, 3);
    expect_gaps(&is, 6, 0, 0);
    expect_rows(&is, 2, 2);
}

Test(compare, every_type_of_floats)
{
    const double a64[] = { 1, -2 }, b64[] = { 1.25, 2 };
    struct comparison is = COMPARE(a64, b64, DT_FP64, 1, 2);
    expect_gaps(&is, 2, 4.25 / 2, 4);
    expect_rows(&is, 1, 0);
    const uint16_t a16[] = { 0x3c00, 0xc000, 0x0001 }, b16[] = { 0x3e00, 0x4000, 0x0000 };
    is = COMPARE(a16, b16, DT_FP16, 1, 3); /* 1, -2, 2^-24 and 1.5, 2, 0 */
    expect_gaps(&is, 3, (0.5 + 4 + 0x1p-24) / 3, 4);
    expect_rows(&is, 1, 0);
    const uint16_t abf[] = { 0x3f80, 0xc000 }, bbf[] = { 0x3fc0, 0x4000 };
    is = COMPARE(abf, bbf, DT_BF16, 1, 2); /* the same numbers */
    expect_gaps(&is, 2, 4.5 / 2, 4);
}

Test(compare, whole_numbers_are_subtracted_exactly_and_their_rows_are_equal_or_not)
{
    const int64_t a[] = { INT64_MIN, 1ll << 60, 3, 4 }, b[] = { INT64_MAX, (1ll << 60) + 1, 3, 4 };
    struct comparison is = COMPARE(a, b, DT_INT64, 2, 2);
    cr_assert_eq(is.largest, 0x1p64);
    cr_assert_eq(is.values, 4);
    expect_rows(&is, 2, 1);
    is = COMPARE(a, b, DT_INT64, 4);
    expect_rows(&is, 4, 2);
    const int64_t near[] = { 1ll << 60 }, nearly[] = { (1ll << 60) + 1 };
    is = COMPARE(near, nearly, DT_INT64, 1);
    expect_gaps(&is, 1, 1, 1);
    const uint64_t au[] = { UINT64_MAX - 1, 0 }, bu[] = { UINT64_MAX, 7 };
    is = COMPARE(au, bu, DT_UINT64, 1, 2);
    expect_gaps(&is, 2, 4, 7);
    expect_rows(&is, 1, 0);
    const int8_t a8[] = { -128, 5 }, b8[] = { 127, 5 };
    is = COMPARE(a8, b8, DT_INT8, 2);
    expect_gaps(&is, 2, 255.0 / 2, 255);
    expect_rows(&is, 2, 1);
    const uint8_t au8[] = { 0, 1, 1 }, bu8[] = { 255, 1, 0 };
    is = COMPARE(au8, bu8, DT_UINT8, 3);
    expect_gaps(&is, 3, 256.0 / 3, 255);
    const uint8_t yes[] = { 1, 1 }, no[] = { 1, 0 };
    is = COMPARE(yes, no, DT_BOOL, 2);
    expect_gaps(&is, 2, 0.5, 1);
    expect_rows(&is, 2, 1);
    const int16_t a16[] = { -32768 }, b16[] = { 32767 };
    is = COMPARE(a16, b16, DT_INT16, 1);
    expect_gaps(&is, 1, 65535, 65535);
    const uint32_t a32[] = { 0 }, b32[] = { UINT32_MAX };
    is = COMPARE(a32, b32, DT_UINT32, 1);
    expect_gaps(&is, 1, UINT32_MAX, UINT32_MAX);
}

Test(compare, strings_are_equal_or_not)
{
    static const char a[] = "\1\0\0\0x\2\0\0\0yz\0\0\0\0\1\0\0\0w";
    static const char b[] = "\1\0\0\0x\2\0\0\0yy\1\0\0\0w\0\0\0\0";
    struct msg_tensor t = TENSOR("y", DT_BYTES, 4);
    struct comparison is = compare(t, a, b, sizeof a - 1);
    expect_gaps(&is, 0, 0, 0);
    expect_rows(&is, 4, 1);
    struct msg_tensor rows = TENSOR("y", DT_BYTES, 2, 2);
    is = compare(rows, a, b, sizeof a - 1);
    expect_rows(&is, 2, 0);
    is = compare(rows, a, a, sizeof a - 1);
    expect_rows(&is, 2, 2);
}

Test(compare, what_is_not_finite_is_counted_and_not_subtracted)
{
    const float a[] = { NAN, INFINITY, INFINITY, 1, 2 }, b[] = { 1, INFINITY, 0, -INFINITY, 5 };
    struct comparison is = COMPARE(a, b, DT_FP32, 1, 5);
    cr_assert_eq(is.not_finite, 4);
    expect_gaps(&is, 1, 3, 3);
    expect_rows(&is, 1, 1); /* infinity is the largest of both */
    const float c[2][3] = { { NAN, 1, 2 }, { NAN, NAN, NAN } },
                d[2][3] = { { 0, 1, 2 }, { 1, 0, 0 } };
    is = COMPARE(c, d, DT_FP32, 2, 3);
    cr_assert_eq(is.not_finite, 4);
    expect_rows(&is, 2, 2);
}

Test(compare, sums_of_differences_stay_numbers)
{
    const double a[] = { 1e300, -1e308, 0 }, b[] = { -1e300, 1e308, 0 };
    struct comparison is = COMPARE(a, b, DT_FP64, 3, 1);
    cr_assert_eq(is.not_finite, 1); /* the difference is infinite */
    cr_assert_eq(is.values, 2);
    cr_assert_eq(is.largest, COMPARE_GAP_MAX);
    cr_assert_eq(is.mean, COMPARE_GAP_MAX / 2);
}

Test(compare, only_the_first_floats_with_rows_have_classes)
{
    const float a[] = { 1, 2, 3, 4 };
    struct msg_tensor list[] = { TENSOR("flat", DT_FP32, 4), TENSOR("column", DT_FP32, 4, 1),
                                 TENSOR("p", DT_FP32, 2, 2), TENSOR("q", DT_FP32, 2, 2) };
    struct bytes data[] = { bytes_of(a, sizeof a), bytes_of(a, sizeof a), bytes_of(a, sizeof a),
                            bytes_of(a, sizeof a) };
    struct compare_side side = { list, data, 4 };
    struct comparison out[4];
    compare_outputs(&side, &side, out);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(out[i].values, 4);
        expect_rows(&out[i], i == 2 ? 2 : 0, i == 2 ? 2 : 0);
    }
}

Test(compare, outputs_are_found_by_name_and_must_be_of_one_kind)
{
    const float a[] = { 1, 2 }, b[] = { 1, 3 };
    struct bytes data[] = { bytes_of(a, sizeof a), bytes_of(b, sizeof b), bytes_of(a, sizeof a),
                            bytes_of(a, 4) };
    struct msg_tensor mine[] = { TENSOR("x", DT_FP32, 1, 2), TENSOR("y", DT_FP32, 2),
                                 TENSOR("z", DT_FP32, 2), TENSOR("w", DT_FP32, 1) };
    struct msg_tensor theirs[] = { TENSOR("y", DT_FP32, 2), TENSOR("x", DT_FP32, 1, 2),
                                   TENSOR("z", DT_INT32, 2), TENSOR("v", DT_FP32, 1) };
    struct compare_side one = { mine, data, 4 }, other = { theirs, data, 4 };
    struct comparison out[4];
    compare_outputs(&one, &other, out);
    cr_assert(out[0].matched && out[1].matched && !out[2].matched && !out[3].matched);
    expect_gaps(&out[0], 2, 0.5, 1);
    expect_gaps(&out[1], 2, 0.5, 1);
    theirs[0].shape = (struct i64s)SHAPE(1);
    theirs[1].shape = (struct i64s)SHAPE(1, 2, 1);
    compare_outputs(&one, &other, out);
    cr_assert(!out[0].matched && !out[1].matched);
    expect_gaps(&out[0], 0, 0, 0);
}

Test(compare, nothing_and_scalars)
{
    const int32_t one[] = { 7 }, other[] = { 9 };
    struct msg_tensor scalar = { { "y", 1 }, DT_INT32, { NULL, 0 } };
    struct comparison is = compare(scalar, one, other, sizeof one);
    expect_gaps(&is, 1, 2, 2);
    expect_rows(&is, 1, 0);
    struct msg_tensor none = TENSOR("y", DT_FP32, 0, 3), no_columns = TENSOR("y", DT_BYTES, 3, 0);
    is = compare(none, NULL, NULL, 0);
    expect_rows(&is, 0, 0);
    is = compare(no_columns, NULL, NULL, 0);
    expect_rows(&is, 0, 0);
}
