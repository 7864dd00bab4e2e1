/* Tensors from JSON text and back. */
#include "services/gateway/tensor_json.h"

#include "services/gateway/float_text.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#define SHAPE(...) ((int64_t[]){ __VA_ARGS__ }), sizeof((int64_t[]){ __VA_ARGS__ }) / 8

/* The tensor, or NULL with what was said. */
static char said[ERROR_TEXT_MAX];
static struct frame frame;

static bool reads(const char *json, enum datatype t, const int64_t *shape, size_t rank)
{
    struct error err = { .text = "" };
    yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
    cr_assert_not_null(doc, "%s", json);
    enum status st =
        tensor_from_json(yyjson_doc_get_root(doc), t, shape, rank, "inputs[0].data", &frame, &err);
    yyjson_doc_free(doc);
    cr_assert(st == STATUS_OK || st == STATUS_INVALID);
    snprintf(said, sizeof said, "%s", err.text);
    if (!st)
        cr_assert_eq(tensor_check(t, shape, rank, frame_bytes(&frame), NULL), STATUS_OK, "%s",
                     json);
    return !st;
}

static void refuses(const char *word, const char *json, enum datatype t, const int64_t *shape,
                    size_t rank)
{
    cr_assert_not(reads(json, t, shape, rank), "%s was read", json);
    cr_assert(strstr(said, word), "\"%s\" lacks \"%s\"", said, word);
}

/* Reads it and writes it again. */
static void same(const char *json, const char *text, enum datatype t, const int64_t *shape,
                 size_t rank, bool nested)
{
    struct buf out = { 0 };
    struct error err = { .text = "" };
    cr_assert(reads(json, t, shape, rank), "%s: %s", json, said);
    cr_assert_eq(tensor_to_json(&out, t, shape, rank, frame_bytes(&frame), nested, &err), STATUS_OK,
                 "%s", err.text);
    cr_assert_str_eq(buf_cstr(&out), text);
    buf_finish(&out);
    frame_finish(&frame);
}

Test(json, nested_and_flat_are_the_same_tensor)
{
    same("[[1,2],[3,4]]", "[[1,2],[3,4]]", DT_INT32, SHAPE(2, 2), true);
    same("[1,2,3,4]", "[[1,2],[3,4]]", DT_INT32, SHAPE(2, 2), true);
    same("[[1,2],[3,4]]", "[1,2,3,4]", DT_INT32, SHAPE(2, 2), false);
    same("[[[1],[2]]]", "[[[1],[2]]]", DT_INT32, SHAPE(1, 2, 1), true);
    same("[]", "[]", DT_FP32, SHAPE(0), true);
    same("[[],[]]", "[[],[]]", DT_FP32, SHAPE(2, 0), true);
    same("[]", "[]", DT_FP32, SHAPE(0, 5), true);
    same("7", "7", DT_INT64, NULL, 0, true);
    same("[7]", "[7]", DT_INT64, NULL, 0, false);
}

Test(json, every_type_keeps_its_bounds)
{
    same("[true,false,1,0]", "[true,false,true,false]", DT_BOOL, SHAPE(4), true);
    same("[0,255]", "[0,255]", DT_UINT8, SHAPE(2), true);
    same("[65535]", "[65535]", DT_UINT16, SHAPE(1), true);
    same("[4294967295]", "[4294967295]", DT_UINT32, SHAPE(1), true);
    same("[18446744073709551615]", "[18446744073709551615]", DT_UINT64, SHAPE(1), true);
    same("[-128,127]", "[-128,127]", DT_INT8, SHAPE(2), true);
    same("[-32768]", "[-32768]", DT_INT16, SHAPE(1), true);
    same("[-2147483648]", "[-2147483648]", DT_INT32, SHAPE(1), true);
    same("[-9223372036854775808,9223372036854775807]", "[-9223372036854775808,9223372036854775807]",
         DT_INT64, SHAPE(2), true);
    same("[0.1,16777216,-0.0,1e-45]", "[0.1,16777216,-0,1e-45]", DT_FP32, SHAPE(4), true);
    same("[-0,0,-0]", "[-0,0,-0]", DT_FP32, SHAPE(3), true);
    same("[-0,0]", "[-0,0]", DT_FP64, SHAPE(2), true);
    same("[-0]", "[0]", DT_INT8, SHAPE(1), true);
    same("[0.1,1e300,3]", "[0.1,1e+300,3]", DT_FP64, SHAPE(3), true);
    same("[\"\",\"a\\u0000b\",\"\\u00e9\\\"\\\\\\n\"]",
         "[\"\",\"a\\u0000b\",\"\xc3\xa9\\\"\\\\\\u000a\"]", DT_BYTES, SHAPE(3), true);
}

Test(json, numbers_out_of_range_are_named)
{
    refuses("inputs[0].data[1]: a number is out of the range of INT8", "[1,128]", DT_INT8,
            SHAPE(2));
    refuses("INT8", "[-129]", DT_INT8, SHAPE(1));
    refuses("UINT8", "[-1]", DT_UINT8, SHAPE(1));
    refuses("UINT16", "[65536]", DT_UINT16, SHAPE(1));
    refuses("UINT32", "[4294967296]", DT_UINT32, SHAPE(1));
    refuses("UINT64", "[-1]", DT_UINT64, SHAPE(1));
    refuses("INT32", "[2147483648]", DT_INT32, SHAPE(1));
    refuses("INT64", "[9223372036854775808]", DT_INT64, SHAPE(1));
    refuses("expected an integer, found real", "[18446744073709551616]", DT_UINT64, SHAPE(1));
    refuses("FP32", "[3.5e38]", DT_FP32, SHAPE(1));
    refuses("FP32", "[3.4028235677973366e38]", DT_FP32, SHAPE(1));
    cr_assert(reads("[3.4028235e38]", DT_FP32, SHAPE(1)));
    frame_finish(&frame);
}

Test(json, the_wrong_kind_is_named_with_its_place)
{
    refuses("inputs[0].data[0][1]: expected a number, found string", "[[1,\"x\"]]", DT_FP32,
            SHAPE(1, 2));
    refuses("inputs[0].data[2]: expected an integer, found null", "[1,2,null]", DT_INT32, SHAPE(3));
    refuses("inputs[0].data[1][0]: expected a number, found array", "[[1],[[2]]]", DT_FP32,
            SHAPE(2, 1));
    refuses("inputs[0].data[1]: expected an array, found uint", "[[1,2],3]", DT_FP32, SHAPE(2, 2));
    refuses("expected an integer, found real", "[1.5]", DT_INT32, SHAPE(1));
    refuses("expected a string, found uint", "[1]", DT_BYTES, SHAPE(1));
    refuses("expected true or false, found uint", "[2]", DT_BOOL, SHAPE(1));
    refuses("expected a number, found true", "[true]", DT_FP32, SHAPE(1));
    refuses("inputs[0].data: expected an array, found object", "{}", DT_FP32, SHAPE(1));
    refuses("inputs[0].data: expected an array, found uint", "1", DT_FP32, SHAPE(1));
    refuses("inputs[0].data: expected a number, found object", "{}", DT_FP32, NULL, 0);
}

Test(json, counts_must_be_those_of_the_shape)
{
    refuses("has 3 elements, but the shape needs 4", "[1,2,3]", DT_FP32, SHAPE(2, 2));
    refuses("has 0 elements, but the shape needs 1", "[]", DT_FP32, SHAPE(1));
    refuses("inputs[0].data: an array of dimension 0 has 1 elements where the shape says 2",
            "[[1,2]]", DT_FP32, SHAPE(2, 2));
    refuses("inputs[0].data[1]: an array of dimension 1 has 1 elements where the shape says 2",
            "[[1,2],[3]]", DT_FP32, SHAPE(2, 2));
    refuses("dimension 1 has 3", "[[1,2,3],[4]]", DT_FP32, SHAPE(2, 2));
    refuses("negative or too large", "[]", DT_FP32, SHAPE(-1));
    refuses("negative or too large", "[]", DT_FP32, SHAPE(INT64_MAX, INT64_MAX));
}

/* What a shape promises is no reason to ask for memory. */
Test(json, a_huge_shape_needs_no_memory)
{
    refuses("has 1 elements where the shape says 536870912", "[[1]]", DT_FP64, SHAPE(1, 536870912));
    refuses("has 1 elements, but the shape needs 2147483648", "[1]", DT_FP64, SHAPE(2147483648));
    refuses("dimension 1 has 1 elements", "[[1],[2]]", DT_BYTES, SHAPE(2, 1073741824));
}

Test(json, half_floats_have_no_form)
{
    refuses("FP16 has no JSON form; send it as binary data", "[1]", DT_FP16, SHAPE(1));
    refuses("BF16 has no JSON form", "[1]", DT_BF16, SHAPE(1));
    struct buf out = { 0 };
    struct error err;
    cr_assert_eq(tensor_to_json(&out, DT_FP16, SHAPE(1), bytes_of("ab", 2), true, &err),
                 STATUS_INVALID);
    cr_assert(strstr(err.text, "ask for binary data"), "%s", err.text);
    buf_finish(&out);
}

Test(json, the_shape_of_nested_arrays)
{
    struct error err;
    int64_t shape[MAX_RANK];
    size_t rank;
    char deep[2 * MAX_RANK + 3];
    yyjson_doc *doc = yyjson_read("[[[1,2]],[[3,4]]]", 17, 0);
    cr_assert_eq(tensor_json_shape(yyjson_doc_get_root(doc), shape, &rank, &err), STATUS_OK);
    cr_assert_eq(rank, 3);
    cr_assert(shape[0] == 2 && shape[1] == 1 && shape[2] == 2);
    yyjson_doc_free(doc);
    memset(deep, '[', MAX_RANK + 1);
    memset(deep + MAX_RANK + 1, ']', MAX_RANK + 1);
    doc = yyjson_read(deep, 2 * MAX_RANK + 2, 0);
    cr_assert_eq(tensor_json_shape(yyjson_doc_get_root(doc), shape, &rank, &err), STATUS_INVALID);
    cr_assert(strstr(err.text, "nested deeper than 16"), "%s", err.text);
    yyjson_doc_free(doc);
}

static void writes(const char *text, enum datatype t, const void *data, size_t len, int64_t count)
{
    struct buf out = { 0 };
    struct error err = { .text = "" };
    cr_assert_eq(tensor_to_json(&out, t, &count, 1, bytes_of(data, len), true, &err), STATUS_OK,
                 "%s", err.text);
    cr_assert_str_eq(buf_cstr(&out), text);
    buf_finish(&out);
}

Test(json, what_is_not_finite_is_null)
{
    float f[] = { NAN, INFINITY, -INFINITY, 1 };
    double d[] = { NAN, -INFINITY, 0.5 };
    writes("[null,null,null,1]", DT_FP32, f, sizeof f, 4);
    writes("[null,null,0.5]", DT_FP64, d, sizeof d, 3);
}

Test(json, bytes_that_are_no_text_are_refused)
{
    static const char *const bad[] = { "\xff",     "\xc0\x80",         "\xed\xa0\x80",
                                       "\xe0\x9f", "\xf4\x90\x80\x80", "a\x80" };
    static const char *const good[] = { "\xc2\x80", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf", "\x7f" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad + sizeof good / sizeof *good; i++) {
        const char *text = i < 6 ? bad[i] : good[i - 6];
        struct buf data = { 0 }, out = { 0 };
        struct error err;
        uint32_t len = (uint32_t)strlen(text);
        buf_append(&data, &len, sizeof len);
        buf_append(&data, text, len);
        enum status st = tensor_to_json(&out, DT_BYTES, SHAPE(1), buf_bytes(&data), true, &err);
        cr_assert_eq(st, i < 6 ? STATUS_INVALID : STATUS_OK, "%zu", i);
        if (st)
            cr_assert(strstr(err.text, "not UTF-8"), "%s", err.text);
        buf_finish(&data);
        buf_finish(&out);
    }
}

Test(json, strings_are_always_json)
{
    struct buf out = { 0 };
    json_string(&out, bytes_of("a\"\\\x01\xff\xe2\x82z\xe2\x82\xac", 11));
    cr_assert_str_eq(buf_cstr(&out), "\"a\\\"\\\\\\u0001\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\xe2"
                                     "\x82\xac\"");
    yyjson_doc *doc = yyjson_read((char *)out.data, out.len, 0);
    cr_assert_not_null(doc);
    yyjson_doc_free(doc);
    out.len = 0;
    json_string(&out, bytes_of(NULL, 0));
    cr_assert_str_eq(buf_cstr(&out), "\"\"");
    buf_finish(&out);
}

/* ---- number texts ---------------------------------------------------------------------------------- */

static void float_round_trips(uint32_t bits)
{
    float f;
    char text[NUMBER_TEXT_MAX + 1];
    memcpy(&f, &bits, sizeof f);
    if (!isfinite(f))
        return;
    text[float_text(f, text)] = 0;
    float back = strtof(text, NULL);
    cr_assert_eq(memcmp(&back, &f, sizeof f), 0, "%08x: %s", bits, text);
    yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
    cr_assert(yyjson_is_num(yyjson_doc_get_root(doc)), "%s is no JSON number", text);
    cr_assert_eq((float)yyjson_get_num(yyjson_doc_get_root(doc)), f, "%s", text);
    yyjson_doc_free(doc);
}

Test(number_text, every_float_comes_back)
{
    static const uint32_t edges[] = {
        0, 0x80000000, 1, 0x7fffff, 0x800000, 0x7f7fffff, 0xff7fffff
    };
    uint32_t bits = 1;
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
        float_round_trips(edges[i]);
    for (int i = 0; i < 200000; i++)
        float_round_trips(bits = bits * 1664525u + 1013904223u);
}

Test(number_text, is_the_shortest)
{
    char text[NUMBER_TEXT_MAX];
    cr_assert(float_text(0.1f, text) == 3 && memcmp(text, "0.1", 3) == 0);
    cr_assert(float_text(1.0f / 3, text) == 10 && memcmp(text, "0.33333334", 10) == 0);
    cr_assert(double_text(-2.2250738585072014e-308, text) == 24);
    cr_assert(int_text(INT64_MIN, text) == 20);
    cr_assert(uint_text(UINT64_MAX, text) == 20);
}
