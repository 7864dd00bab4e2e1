/* test_classes.c - the classification extension: which values are the largest, and their texts. */
#include "services/gateway/api/oip.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

static int64_t shape[2];
static size_t rank;
static struct buf text;
static struct error err;

static void init(void)
{
    text = (struct buf){ 0 };
}

static void finish(void)
{
    buf_finish(&text);
}

TestSuite(classes, .init = init, .fini = finish);

/* The elements with a space behind each; every one must be as long as it says. */
static const char *words(void)
{
    static char out[8192];
    size_t len = 0;
    for (size_t at = 0; at < text.len;) {
        uint32_t n;
        memcpy(&n, text.data + at, sizeof n);
        at += sizeof n;
        cr_assert(n <= text.len - at && len + n + 2 < sizeof out);
        memcpy(out + len, text.data + at, n);
        at += n;
        len += n;
        out[len++] = ' ';
    }
    out[len] = 0;
    return out;
}

static enum status classify(enum datatype type, int64_t rows, int64_t columns, const void *data,
                            bool batchable, uint32_t classes)
{
    const struct msg_tensor t = { .name = bytes_str("y"),
                                  .datatype = type,
                                  .shape = { (const int64_t[]){ rows, columns }, 2 } };
    size_t len = (size_t)(rows * columns) * datatype_size(type);
    text.len = 0;
    return oip_classify(&t, bytes_of(data, len), batchable, classes, &text, shape, &rank, &err);
}

#define CLASSES(expected, type, rows, columns, classes, ...)                                       \
    do {                                                                                           \
        cr_assert_eq(classify(DT_##type, rows, columns, (__VA_ARGS__), true, classes), STATUS_OK); \
        cr_assert_str_eq(words(), expected);                                                       \
        cr_assert(rank == 2 && shape[0] == (rows));                                                \
        cr_assert_eq(shape[1], (classes) < (columns) ? (classes) : (columns));                     \
    } while (0)

Test(classes, the_largest_of_each_row)
{
    const float two[] = { 0.1f, 0.7f, 0.2f, 5, -1, 3 };
    CLASSES("0.7:1 5:0 ", FP32, 2, 3, 1, two);
    CLASSES("0.7:1 0.2:2 5:0 3:2 ", FP32, 2, 3, 2, two);
    CLASSES("0.7:1 0.2:2 0.1:0 5:0 3:2 -1:1 ", FP32, 2, 3, 3, two);
}

Test(classes, more_than_there_are_are_those_that_there_are)
{
    CLASSES("3:2 2:1 1:0 ", INT32, 1, 3, 1000, (const int32_t[]){ 1, 2, 3 });
    CLASSES("7:0 ", UINT8, 1, 1, 5, (const uint8_t[]){ 7 });
}

Test(classes, among_equals_who_came_first)
{
    const float same[] = { 1, 2, 2, 1, 2 };
    CLASSES("2:1 ", FP32, 1, 5, 1, same);
    CLASSES("2:1 2:2 ", FP32, 1, 5, 2, same);
    CLASSES("2:1 2:2 2:4 1:0 1:3 ", FP32, 1, 5, 5, same);
    CLASSES("0:0 -0:1 0:2 ", FP32, 1, 3, 3, (const float[]){ 0, -0.0f, 0 });
}

Test(classes, what_is_no_number_comes_last)
{
    CLASSES("inf:3 1:1 -inf:4 nan:0 nan:2 ", FP32, 1, 5, 5,
            (const float[]){ NAN, 1, NAN, INFINITY, -INFINITY });
    CLASSES("inf:3 1:1 ", FP32, 1, 5, 2, (const float[]){ NAN, 1, -NAN, INFINITY, -INFINITY });
    CLASSES("nan:0 nan:1 ", FP64, 1, 3, 2, (const double[]){ NAN, NAN, NAN });
}

Test(classes, every_type_that_has_an_order)
{
    CLASSES("2:1 -0.5:0 ", FP64, 1, 2, 2, (const double[]){ -0.5, 2 });
    CLASSES("127:1 -128:0 ", INT8, 1, 2, 2, (const int8_t[]){ INT8_MIN, INT8_MAX });
    CLASSES("9:1 -9:0 ", INT16, 1, 2, 2, (const int16_t[]){ -9, 9 });
    CLASSES("9:1 -9:0 ", INT64, 1, 2, 2, (const int64_t[]){ -9, 9 });
    CLASSES("65535:0 0:1 ", UINT16, 1, 2, 2, (const uint16_t[]){ UINT16_MAX, 0 });
    CLASSES("4294967295:0 1:1 ", UINT32, 1, 2, 2, (const uint32_t[]){ UINT32_MAX, 1 });
    CLASSES("5:1 4:0 ", UINT64, 1, 2, 2, (const uint64_t[]){ 4, 5 });
}

Test(classes, integers_are_written_and_ordered_as_such)
{
    CLASSES("1000000000:1 -1000000000:0 ", INT32, 1, 2, 2,
            (const int32_t[]){ -1000000000, 1000000000 });
    CLASSES("9007199254740993:1 9007199254740992:0 -9223372036854775808:2 ", INT64, 1, 3, 3,
            (const int64_t[]){ 9007199254740992, 9007199254740993, INT64_MIN });
    CLASSES("18446744073709551615:1 18446744073709551614:0 ", UINT64, 1, 2, 2,
            (const uint64_t[]){ UINT64_MAX - 1, UINT64_MAX });
}

Test(classes, types_without_an_order_are_refused)
{
    static const enum datatype none[] = { DT_BOOL, DT_FP16, DT_BF16, DT_BYTES };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        cr_assert_eq(classify(none[i], 1, 1, "\0\0\0\0", true, 1), STATUS_INVALID);
        cr_assert(strstr(err.text, "output 'y'") && strstr(err.text, datatype_name(none[i])), "%s",
                  err.text);
        cr_assert_eq(text.len, 0);
    }
}

/* Without rows the whole tensor is one list. */
Test(classes, a_model_without_rows)
{
    const float four[] = { 4, 1, 3, 2 };
    cr_assert_eq(classify(DT_FP32, 2, 2, four, false, 3), STATUS_OK);
    cr_assert_str_eq(words(), "4:0 3:2 2:3 ");
    cr_assert(rank == 1 && shape[0] == 3);
}

Test(classes, empty_tensors)
{
    cr_assert_eq(classify(DT_FP32, 0, 3, "", true, 2), STATUS_OK);
    cr_assert(rank == 2 && shape[0] == 0 && text.len == 0);
    CLASSES("", FP32, 3, 0, 2, "");
}

Test(classes, a_scalar)
{
    const struct msg_tensor t = { .name = bytes_str("y"), .datatype = DT_FP32 };
    float value = 2.5f;
    struct bytes data = bytes_of(&value, sizeof value);
    cr_assert_eq(oip_classify(&t, data, true, 2, &text, shape, &rank, &err), STATUS_OK);
    cr_assert_str_eq(words(), "2.5:0 ");
    cr_assert(rank == 2 && shape[0] == 1 && shape[1] == 1);
}

/* As many as may be asked for, out of more: each is where it belongs. */
Test(classes, a_thousand_of_many)
{
    static int32_t many[5000];
    unsigned random = 3;
    for (size_t i = 0; i < 5000; i++)
        many[i] = (int32_t)((random = random * 1664525u + 1013904223u) >> 8);
    cr_assert_eq(classify(DT_INT32, 1, 5000, many, true, CLASSES_MAX), STATUS_OK);
    cr_assert_eq(shape[1], CLASSES_MAX);
    double last = INFINITY;
    for (size_t at = 0, n = 0; at < text.len; n++) {
        uint32_t len;
        char word[64] = "";
        double value;
        unsigned index;
        memcpy(&len, text.data + at, sizeof len);
        memcpy(word, text.data + at + sizeof len, len);
        at += sizeof len + len;
        cr_assert_eq(sscanf(word, "%lf:%u", &value, &index), 2);
        cr_assert(value <= last && many[index] == (int32_t)value, "%s at %zu", word, n);
        last = value;
    }
}
