/* test_tensor_json.c - JSON into tensors and back. */
#include "services/gateway/tensor_json.h"

#include "services/gateway/float_text.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <yyjson.h>

static enum status read_text(const char *text, enum datatype type, const int64_t *shape,
                             size_t rank, struct frame *out, struct error *err)
{
    yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
    cr_assert(doc, "bad test: %s", text);
    enum status st =
        tensor_from_json(yyjson_doc_get_root(doc), type, shape, rank, "data", out, err);
    yyjson_doc_free(doc);
    return st;
}

static void refuses(const char *text, enum datatype type, int64_t rows, int64_t columns,
                    const char *says)
{
    int64_t shape[] = { rows, columns };
    struct frame f;
    struct error err;
    cr_assert(read_text(text, type, shape, 2, &f, &err) == STATUS_INVALID, "%s", text);
    cr_assert(strstr(err.text, says), "%s: \"%s\" does not say \"%s\"", text, err.text, says);
}

/* Reads, writes, and compares with what is expected. */
static void round_trip(const char *text, enum datatype type, const char *expected)
{
    int64_t shape[] = { 1, 2 };
    struct frame f;
    struct error err;
    struct buf out = { 0 };
    cr_assert(read_text(text, type, shape, 2, &f, &err) == STATUS_OK, "%s", err.text);
    cr_assert(tensor_to_json(&out, type, shape, 2, frame_bytes(&f), true, &err) == STATUS_OK);
    cr_assert_str_eq(buf_cstr(&out), expected);
    buf_finish(&out);
    frame_finish(&f);
}

Test(tensor_json, every_type_goes_round)
{
    round_trip("[[0.1,-2]]", DT_FP32, "[[0.1,-2]]");
    round_trip("[0.1,1e300]", DT_FP64, "[[0.1,1e+300]]");
    round_trip("[[null,-2]]", DT_FP32, "[[null,-2]]");
    round_trip("[[null,-2]]", DT_FP64, "[[null,-2]]");
    round_trip("[[-128,127]]", DT_INT8, "[[-128,127]]");
    round_trip("[[-9223372036854775808,9223372036854775807]]", DT_INT64,
               "[[-9223372036854775808,9223372036854775807]]");
    round_trip("[[0,18446744073709551615]]", DT_UINT64, "[[0,18446744073709551615]]");
    round_trip("[[true,0]]", DT_BOOL, "[[true,false]]");
    round_trip("[[\"\",\"a\\\"b\\u0001\"]]", DT_BYTES, "[[\"\",\"a\\\"b\\u0001\"]]");
}

Test(tensor_json, what_does_not_fit_is_named)
{
    refuses("[[1]]", DT_FP32, 1, 2, "1 elements");
    refuses("[[1,2],[3]]", DT_FP32, 2, 2, "dimension 1");
    refuses("[[1,[2]]]", DT_FP32, 1, 2, "expected a number");
    refuses("[[1,null]]", DT_INT8, 1, 2, "expected an integer");
    refuses("[[1,1e39]]", DT_FP32, 1, 2, "out of the range of FP32");
    refuses("[[128,0]]", DT_INT8, 1, 2, "out of the range of INT8");
    refuses("[[-1,0]]", DT_UINT8, 1, 2, "out of the range of UINT8");
    refuses("[[1.5,0]]", DT_INT32, 1, 2, "expected an integer");
    refuses("[[2,0]]", DT_BOOL, 1, 2, "true or false");
    refuses("[[1,2]]", DT_BYTES, 1, 2, "expected a string");
    refuses("[[1,2]]", DT_FP16, 1, 2, "no JSON form");
    refuses("{}", DT_FP32, 1, 2, "expected an array");
    refuses("[[1]]", DT_FP32, 1, INT64_MAX, "too large");
    refuses("[[1]]", DT_FP32, INT64_MAX, INT64_MAX, "too large");
}

Test(tensor_json, what_is_not_finite_is_null)
{
    const float values[] = { NAN, INFINITY };
    int64_t shape[] = { 2 };
    struct buf out = { 0 };
    struct error err;
    cr_assert(tensor_to_json(&out, DT_FP32, shape, 1, bytes_of(values, sizeof values), false,
                             &err) == STATUS_OK);
    cr_assert_str_eq(buf_cstr(&out), "[null,null]");
    buf_finish(&out);
}

Test(tensor_json, float_texts_read_back_exactly)
{
    uint32_t bits = 1;
    for (int i = 0; i < 200000; i++) {
        char text[NUMBER_TEXT_MAX + 1];
        float value, back;
        bits = bits * 1664525u + 1013904223u;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value))
            continue;
        text[float_text(value, text)] = 0;
        back = strtof(text, NULL);
        cr_assert(memcmp(&back, &value, sizeof back) == 0, "%s", text);
    }
}
