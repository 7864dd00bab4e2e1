/* tensor_read.c - JSON values to tensor memory. */
#include "common/net/tensor_read.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <yyjson.h>

#define PLACE_MAX  256
#define FP32_BOUND 3.4028235677973366e38 /* from here on, rounding to float32 gives infinity */

struct reader {
    enum datatype type;
    const int64_t *shape;
    size_t rank;
    const char *where;
    unsigned char *at;  /* the next element goes here */
    struct buf strings; /* BYTES: instead of at */
    bool nested;
    uint64_t index; /* of the next element */
    struct error *err;
};

/* ---- what is wrong, and where ------------------------------------------------------------------- */

/* "inputs[0].data[3][1]": the indexes of the next element, the first `depth` of them. */
static const char *place(const struct reader *r, size_t depth, char out[PLACE_MAX])
{
    uint64_t index[MAX_RANK], rest = r->index;
    size_t len = (size_t)snprintf(out, PLACE_MAX, "%s", r->where);
    for (size_t i = r->rank; i > 0; i--) {
        uint64_t size = r->shape[i - 1] > 0 ? (uint64_t)r->shape[i - 1] : 1;
        index[i - 1] = rest % size;
        rest /= size;
    }
    if (!r->nested && depth)
        snprintf(out + len, PLACE_MAX - len, "[%" PRIu64 "]", r->index);
    for (size_t i = 0; r->nested && i < depth && len < PLACE_MAX; i++)
        len += (size_t)snprintf(out + len, PLACE_MAX - len, "[%" PRIu64 "]", index[i]);
    return out;
}

static enum status wrong(const struct reader *r, yyjson_val *v, size_t depth, const char *expected)
{
    char at[PLACE_MAX];
    return error_set(r->err, STATUS_INVALID, "%s: expected %s, found %s", place(r, depth, at),
                     expected, yyjson_get_type_desc(v));
}

static enum status out_of_range(const struct reader *r)
{
    char at[PLACE_MAX];
    return error_set(r->err, STATUS_INVALID, "%s: a number is out of the range of %s",
                     place(r, r->rank, at), datatype_name(r->type));
}

/* ---- elements ----------------------------------------------------------------------------------- */

static enum status read_signed(const struct reader *r, yyjson_val *v, int64_t low, int64_t high,
                               int64_t *out)
{
    if (!yyjson_is_int(v))
        return wrong(r, v, r->rank, "an integer");
    if (yyjson_is_uint(v) && yyjson_get_uint(v) > INT64_MAX)
        return out_of_range(r);
    *out = yyjson_get_sint(v);
    return *out < low || *out > high ? out_of_range(r) : STATUS_OK;
}

static enum status read_unsigned(const struct reader *r, yyjson_val *v, uint64_t high,
                                 uint64_t *out)
{
    if (!yyjson_is_int(v))
        return wrong(r, v, r->rank, "an integer");
    if (!yyjson_is_uint(v))
        return out_of_range(r);
    *out = yyjson_get_uint(v);
    return *out > high ? out_of_range(r) : STATUS_OK;
}

/* null: not a number, as it is written in answers; models of tables take it for a missing value. */
static enum status read_real(const struct reader *r, yyjson_val *v, double *out)
{
    if (yyjson_is_null(v)) {
        *out = NAN;
        return STATUS_OK;
    }
    if (!yyjson_is_num(v))
        return wrong(r, v, r->rank, "a number");
    *out = yyjson_get_num(v);
    if (*out == 0 && yyjson_is_sint(v))
        *out = -0.0; /* "-0" counts as an integer, which has no such zero */
    return r->type == DT_FP32 && fabs(*out) >= FP32_BOUND ? out_of_range(r) : STATUS_OK;
}

static enum status read_bool(const struct reader *r, yyjson_val *v, unsigned char *out)
{
    if (yyjson_is_bool(v))
        *out = yyjson_get_bool(v);
    else if (yyjson_is_uint(v) && yyjson_get_uint(v) <= 1)
        *out = (unsigned char)yyjson_get_uint(v);
    else
        return wrong(r, v, r->rank, "true or false");
    return STATUS_OK;
}

static enum status read_text(struct reader *r, yyjson_val *v)
{
    if (!yyjson_is_str(v))
        return wrong(r, v, r->rank, "a string");
    uint32_t len = (uint32_t)yyjson_get_len(v); /* bodies are smaller than 4 GiB */
    buf_append(&r->strings, &len, sizeof len);
    buf_append(&r->strings, yyjson_get_str(v), len);
    return STATUS_OK;
}

#define STORE(type, value)                     \
    do {                                       \
        type stored = (type)(value);           \
        memcpy(r->at, &stored, sizeof stored); \
        r->at += sizeof stored;                \
    } while (0)

static enum status read_integer(struct reader *r, yyjson_val *v)
{
    int64_t i = 0;
    uint64_t u = 0;
    enum status st = STATUS_INTERNAL;
    switch (r->type) {
#define SIGNED(t, c, low, high)                \
    case t:                                    \
        st = read_signed(r, v, low, high, &i); \
        STORE(c, i);                           \
        break;
#define UNSIGNED(t, c, high)                \
    case t:                                 \
        st = read_unsigned(r, v, high, &u); \
        STORE(c, u);                        \
        break;
        SIGNED(DT_INT8, int8_t, INT8_MIN, INT8_MAX)
        SIGNED(DT_INT16, int16_t, INT16_MIN, INT16_MAX)
        SIGNED(DT_INT32, int32_t, INT32_MIN, INT32_MAX)
        SIGNED(DT_INT64, int64_t, INT64_MIN, INT64_MAX)
        UNSIGNED(DT_UINT8, uint8_t, UINT8_MAX)
        UNSIGNED(DT_UINT16, uint16_t, UINT16_MAX)
        UNSIGNED(DT_UINT32, uint32_t, UINT32_MAX)
        UNSIGNED(DT_UINT64, uint64_t, UINT64_MAX)
    default:
        break; /* tensor_from_json has refused the other types */
    }
    return st;
}

static enum status read_element(struct reader *r, yyjson_val *v)
{
    double real = 0;
    enum status st;
    switch (r->type) {
    case DT_FP32:
        st = read_real(r, v, &real);
        if (!st)
            STORE(float, real);
        break;
    case DT_FP64:
        st = read_real(r, v, &real);
        STORE(double, real);
        break;
    case DT_BOOL:
        st = read_bool(r, v, r->at++);
        break;
    case DT_BYTES:
        st = read_text(r, v);
        break;
    default:
        st = read_integer(r, v);
    }
    r->index++;
    return st;
}

/* ---- arrays --------------------------------------------------------------------------------------- */

/* One level of nested arrays.  An array's size is checked before its elements are read, so never
 * are more elements stored than the text has values. */
static enum status read_level(struct reader *r, yyjson_val *v, size_t level)
{
    size_t i, max;
    yyjson_val *item;
    enum status st = STATUS_OK;
    char at[PLACE_MAX];
    if (!yyjson_is_arr(v))
        return wrong(r, v, level, "an array");
    if (yyjson_arr_size(v) != (uint64_t)r->shape[level])
        return error_set(r->err, STATUS_INVALID,
                         "%s: an array of dimension %zu has %zu elements where the shape says %lld",
                         place(r, level, at), level, yyjson_arr_size(v),
                         (long long)r->shape[level]);
    yyjson_arr_foreach(v, i, max, item)
    {
        st = level + 1 == r->rank ? read_element(r, item) : read_level(r, item, level + 1);
        if (st)
            return st;
    }
    return STATUS_OK;
}

static enum status read_flat(struct reader *r, yyjson_val *v, uint64_t elements)
{
    size_t i, max;
    yyjson_val *item;
    if (yyjson_arr_size(v) != elements)
        return error_set(r->err, STATUS_INVALID,
                         "%s has %zu elements, but the shape needs %" PRIu64, r->where,
                         yyjson_arr_size(v), elements);
    yyjson_arr_foreach(v, i, max, item)
    {
        enum status st = read_element(r, item);
        if (st)
            return st;
    }
    return STATUS_OK;
}

static enum status read_all(struct reader *r, yyjson_val *data, uint64_t elements)
{
    if (r->rank == 0 && !yyjson_is_arr(data))
        return read_element(r, data);
    if (!yyjson_is_arr(data))
        return wrong(r, data, 0, "an array");
    r->nested = r->rank > 1 && yyjson_is_arr(yyjson_arr_get_first(data));
    return r->nested ? read_level(r, data, 0) : read_flat(r, data, elements);
}

/* The values inside data, at all depths; 1 for a plain one. */
static uint64_t values_in(yyjson_val *data)
{
    return yyjson_is_ctn(data) ? (uint64_t)(unsafe_yyjson_get_next(data) - data) - 1 : 1;
}

static enum status read_tensor(struct reader *r, yyjson_val *data, struct frame *out)
{
    uint64_t elements, values = values_in(data);
    size_t size = datatype_size(r->type);
    if (r->type == DT_NONE || r->type == DT_FP16 || r->type == DT_BF16)
        return error_set(r->err, STATUS_INVALID, "%s: %s has no JSON form; send it as binary data",
                         r->where, datatype_name(r->type));
    if (shape_elements(r->shape, r->rank, &elements) || elements > MAX_TENSOR_BYTES)
        return error_set(r->err, STATUS_INVALID, "%s: the shape is negative or too large",
                         r->where);
    if (r->type != DT_BYTES)
        r->at = frame_init_size(out, (size_t)(elements < values ? elements : values) * size);
    enum status st = read_all(r, data, elements);
    if (!st && r->type == DT_BYTES) {
        buf_reserve(&r->strings, 1); /* without elements there is no memory yet */
        frame_init_buf(out, &r->strings);
    }
    if (st && r->type != DT_BYTES)
        frame_finish(out);
    buf_finish(&r->strings);
    return st;
}

enum status tensor_from_json(yyjson_val *data, enum datatype type, const int64_t *shape,
                             size_t rank, const char *where, struct frame *out, struct error *err)
{
    struct reader r = { .type = type, .shape = shape, .rank = rank, .where = where, .err = err };
    return read_tensor(&r, data, out);
}

/* ---- shapes --------------------------------------------------------------------------------------- */

enum status tensor_json_shape(yyjson_val *data, int64_t shape[MAX_RANK], size_t *rank,
                              struct error *err)
{
    *rank = 0;
    while (yyjson_is_arr(data)) {
        if (*rank == MAX_RANK)
            return error_set(err, STATUS_INVALID, "arrays are nested deeper than %d", MAX_RANK);
        shape[(*rank)++] = (int64_t)yyjson_arr_size(data);
        data = yyjson_arr_get_first(data);
    }
    return STATUS_OK;
}

enum status tensor_json_dimensions(yyjson_val *list, const char *where, int64_t shape[MAX_RANK],
                                   size_t *rank, struct error *err)
{
    size_t i, max;
    yyjson_val *d;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) > MAX_RANK)
        return error_set(err, STATUS_INVALID, "%s.shape must be an array of at most %d dimensions",
                         where, MAX_RANK);
    yyjson_arr_foreach(list, i, max, d)
    {
        if (!yyjson_is_uint(d) || yyjson_get_uint(d) > INT64_MAX)
            return error_set(err, STATUS_INVALID, "%s.shape[%zu] is not a dimension", where, i);
        shape[i] = (int64_t)yyjson_get_uint(d);
    }
    *rank = yyjson_arr_size(list);
    return STATUS_OK;
}
