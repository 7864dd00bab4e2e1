/* test_tensor.c - datatypes, and the arithmetic of shapes against overflow. */
#include "common/msg/tensor.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <stdlib.h>

Test(datatype, names_and_numbers_go_both_ways){
#define X(name, number, size)                                  \
    cr_assert_str_eq(datatype_name(DT_##name), #name);         \
    cr_assert_eq(datatype_parse(bytes_str(#name)), DT_##name); \
    cr_assert_eq(datatype_from_wire(number), DT_##name);       \
    cr_assert_eq(datatype_size(DT_##name), size);
    DATATYPE_LIST(X)
#undef X
}

Test(datatype, unknown_ones_are_none)
{
    static const char *const none[] = { "", "fp32", "FP32 ", "STRING", "?", "FP3" };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        cr_assert_eq(datatype_parse(bytes_str(none[i])), DT_NONE);
    cr_assert_eq(datatype_from_wire(0), DT_NONE);
    cr_assert_eq(datatype_from_wire(DATATYPE_COUNT), DT_NONE);
    cr_assert_eq(datatype_from_wire(UINT32_MAX), DT_NONE);
    cr_assert_str_eq(datatype_name(DT_NONE), "?");
    cr_assert_str_eq(datatype_name((enum datatype)99), "?");
    cr_assert_eq(datatype_size((enum datatype)99), 0);
}

static enum status elements(uint64_t *out, size_t rank, const int64_t *shape)
{
    *out = 4711;
    return shape_elements(shape, rank, out);
}

#define SHAPE(...)                                                          \
    sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t), (const int64_t[]) \
    {                                                                       \
        __VA_ARGS__                                                         \
    }

Test(shape, elements_are_the_product)
{
    uint64_t n;
    cr_assert_eq(elements(&n, 0, NULL), STATUS_OK);
    cr_assert_eq(n, 1);
    cr_assert_eq(elements(&n, SHAPE(2, 3, 5)), STATUS_OK);
    cr_assert_eq(n, 30);
    cr_assert_eq(elements(&n, SHAPE(0, 3)), STATUS_OK);
    cr_assert_eq(n, 0);
    cr_assert_eq(elements(&n, SHAPE(INT64_MAX)), STATUS_OK);
    cr_assert_eq(n, (uint64_t)INT64_MAX);
    cr_assert_eq(elements(&n, SHAPE(INT64_MAX, 2)), STATUS_OK);
    cr_assert_eq(elements(&n, SHAPE(INT64_MAX, 3)), STATUS_INVALID);
    cr_assert_eq(elements(&n, SHAPE(1ll << 32, 1ll << 32)), STATUS_INVALID);
    cr_assert_eq(elements(&n, SHAPE(-1)), STATUS_INVALID);
    cr_assert_eq(elements(&n, SHAPE(0, -1)), STATUS_INVALID);
    cr_assert_eq(elements(&n, SHAPE(INT64_MIN)), STATUS_INVALID);
}

Test(shape, text_is_for_people)
{
    struct buf b = { 0 };
    shape_text((int64_t[]){ 64, 3, -1 }, 3, &b);
    shape_text(NULL, 0, &b);
    cr_assert_str_eq(buf_cstr(&b), "[64,3,-1][]");
    buf_finish(&b);
}

static enum status check(enum datatype t, size_t rank, const int64_t *shape, const char *data,
                         size_t len, struct error *err)
{
    /* A copy of the exact size: a sanitizer sees one byte too far. */
    void *copy = malloc(len ? len : 1);
    memcpy(copy, data, len);
    *err = (struct error){ .text = "" };
    enum status st = tensor_check(t, shape, rank, bytes_of(copy, len), err);
    free(copy);
    cr_assert((st != STATUS_OK) == (err->text[0] != 0));
    return st;
}

Test(tensor, the_size_is_exact)
{
    char zero[64] = "";
    struct error err;
    cr_assert_eq(check(DT_FP32, SHAPE(2, 3), zero, 24, &err), STATUS_OK);
    cr_assert_eq(check(DT_FP32, SHAPE(2, 3), zero, 23, &err), STATUS_INVALID);
    cr_assert_eq(check(DT_FP32, SHAPE(2, 3), zero, 25, &err), STATUS_INVALID);
    cr_assert(strstr(err.text, "6 FP32") && strstr(err.text, "24") && strstr(err.text, "25"), "%s",
              err.text);
    cr_assert_eq(check(DT_INT64, 0, NULL, zero, 8, &err), STATUS_OK);
    cr_assert_eq(check(DT_INT64, SHAPE(0), zero, 0, &err), STATUS_OK);
    cr_assert_eq(check(DT_BOOL, SHAPE(7), zero, 7, &err), STATUS_OK);
    cr_assert_eq(check(DT_BF16, SHAPE(7), zero, 14, &err), STATUS_OK);
    cr_assert_eq(check(DT_FP64, SHAPE(1ll << 61), zero, 0, &err), STATUS_INVALID);
    cr_assert_eq(check(DT_FP64, SHAPE(1ll << 32, 1ll << 32), zero, 0, &err), STATUS_INVALID);
    cr_assert_eq(check(DT_FP32, SHAPE(-1), zero, 4, &err), STATUS_INVALID);
    cr_assert_eq(check(DT_NONE, SHAPE(1), zero, 4, &err), STATUS_INVALID);
    cr_assert_eq(check((enum datatype)77, SHAPE(1), zero, 4, &err), STATUS_INVALID);
    int64_t deep[MAX_RANK + 1];
    for (size_t i = 0; i <= MAX_RANK; i++)
        deep[i] = 1;
    cr_assert_eq(check(DT_UINT8, MAX_RANK, deep, zero, 1, &err), STATUS_OK);
    cr_assert_eq(check(DT_UINT8, MAX_RANK + 1, deep, zero, 1, &err), STATUS_INVALID);
}

Test(tensor, strings_fill_the_frame)
{
    static const char two[] = "\x03\0\0\0abc\0\0\0\0";
    struct error err;
    cr_assert_eq(check(DT_BYTES, SHAPE(2), two, 11, &err), STATUS_OK);
    cr_assert_eq(check(DT_BYTES, SHAPE(1), two, 11, &err), STATUS_INVALID);
    cr_assert_eq(check(DT_BYTES, SHAPE(3), two, 11, &err), STATUS_INVALID);
    cr_assert(strstr(err.text, "2 of 3"), "%s", err.text);
    cr_assert_eq(check(DT_BYTES, SHAPE(INT64_MAX), two, 11, &err), STATUS_INVALID);
    cr_assert_eq(check(DT_BYTES, SHAPE(0), two, 0, &err), STATUS_OK);
    cr_assert_eq(check(DT_BYTES, SHAPE(0), two, 11, &err), STATUS_INVALID);
    for (size_t len = 0; len < 11; len++)
        cr_assert_eq(check(DT_BYTES, SHAPE(2), two, len, &err), STATUS_INVALID);
    cr_assert_eq(check(DT_BYTES, SHAPE(1), "\xff\xff\xff\xff", 4, &err), STATUS_INVALID);
}
