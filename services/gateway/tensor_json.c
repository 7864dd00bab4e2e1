/* tensor_json.c - JSON values to tensor memory, and tensor memory to JSON text. */
#include "services/gateway/tensor_json.h"

#include "services/gateway/float_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <yyjson.h>

/* ---- reading ---------------------------------------------------------------------------------- */

struct reader {
    enum datatype type;
    const int64_t *shape;
    size_t rank;
    const char *where;
    unsigned char *at;   /* the next element goes here */
    struct buf *strings; /* BYTES: instead of at */
    struct error *err;
};

static enum status wrong(const struct reader *r, yyjson_val *v, const char *expected)
{
    return error_set(r->err, STATUS_INVALID, "%s: expected %s, found %s", r->where, expected,
                     yyjson_get_type_desc(v));
}

static enum status out_of_range(const struct reader *r)
{
    return error_set(r->err, STATUS_INVALID, "%s: a number is out of the range of %s", r->where,
                     datatype_name(r->type));
}

static enum status read_signed(const struct reader *r, yyjson_val *v, int64_t low, int64_t high,
                               int64_t *out)
{
    if (!yyjson_is_int(v))
        return wrong(r, v, "an integer");
    if (yyjson_is_uint(v) && yyjson_get_uint(v) > INT64_MAX)
        return out_of_range(r);
    *out = yyjson_get_sint(v);
    return *out < low || *out > high ? out_of_range(r) : STATUS_OK;
}

static enum status read_unsigned(const struct reader *r, yyjson_val *v, uint64_t high,
                                 uint64_t *out)
{
    if (!yyjson_is_int(v))
        return wrong(r, v, "an integer");
    if (!yyjson_is_uint(v))
        return out_of_range(r);
    *out = yyjson_get_uint(v);
    return *out > high ? out_of_range(r) : STATUS_OK;
}

static enum status read_real(const struct reader *r, yyjson_val *v, double *out)
{
    if (!yyjson_is_num(v))
        return wrong(r, v, "a number");
    *out = yyjson_get_num(v);
    return r->type == DT_FP32 && fabs(*out) > 3.4028235677973366e38 ? out_of_range(r) : STATUS_OK;
}

static enum status read_bool(const struct reader *r, yyjson_val *v, unsigned char *out)
{
    if (yyjson_is_bool(v))
        *out = yyjson_get_bool(v);
    else if (yyjson_is_uint(v) && yyjson_get_uint(v) <= 1)
        *out = (unsigned char)yyjson_get_uint(v);
    else
        return wrong(r, v, "true or false");
    return STATUS_OK;
}

static enum status read_text(const struct reader *r, yyjson_val *v)
{
    if (!yyjson_is_str(v))
        return wrong(r, v, "a string");
    uint32_t len = (uint32_t)yyjson_get_len(v);
    buf_append(r->strings, &len, sizeof len);
    buf_append(r->strings, yyjson_get_str(v), len);
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
    enum status st = STATUS_OK;
    switch (r->type) {
#define SIGNED(t, c, low, high)                \
    case t:                                    \
        st = read_signed(r, v, low, high, &i); \
        STORE(c, i);                           \
        return st;
#define UNSIGNED(t, c, high)                \
    case t:                                 \
        st = read_unsigned(r, v, high, &u); \
        STORE(c, u);                        \
        return st;
        SIGNED(DT_INT8, int8_t, INT8_MIN, INT8_MAX)
        SIGNED(DT_INT16, int16_t, INT16_MIN, INT16_MAX)
        SIGNED(DT_INT32, int32_t, INT32_MIN, INT32_MAX)
        SIGNED(DT_INT64, int64_t, INT64_MIN, INT64_MAX)
        UNSIGNED(DT_UINT8, uint8_t, UINT8_MAX)
        UNSIGNED(DT_UINT16, uint16_t, UINT16_MAX)
        UNSIGNED(DT_UINT32, uint32_t, UINT32_MAX)
        UNSIGNED(DT_UINT64, uint64_t, UINT64_MAX)
    default:
        return error_set(r->err, STATUS_INVALID, "%s: %s has no JSON form; send it as binary data",
                         r->where, datatype_name(r->type));
    }
}

static enum status read_element(struct reader *r, yyjson_val *v)
{
    double real = 0;
    enum status st;
    switch (r->type) {
    case DT_FP32:
        st = read_real(r, v, &real);
        STORE(float, real);
        return st;
    case DT_FP64:
        st = read_real(r, v, &real);
        STORE(double, real);
        return st;
    case DT_BOOL:
        return read_bool(r, v, r->at++);
    case DT_BYTES:
        return read_text(r, v);
    default:
        return read_integer(r, v);
    }
}

/* One level of nested arrays. */
static enum status read_level(struct reader *r, yyjson_val *v, size_t level)
{
    size_t i, max;
    yyjson_val *item;
    enum status st = STATUS_OK;
    if (!yyjson_is_arr(v))
        return wrong(r, v, "an array");
    if (yyjson_arr_size(v) != (uint64_t)r->shape[level])
        return error_set(r->err, STATUS_INVALID,
                         "%s: an array of dimension %zu has %zu elements where the shape says %lld",
                         r->where, level, yyjson_arr_size(v), (long long)r->shape[level]);
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
        return wrong(r, data, "an array");
    if (r->rank > 1 && yyjson_is_arr(yyjson_arr_get_first(data)))
        return read_level(r, data, 0);
    return read_flat(r, data, elements);
}

enum status tensor_from_json(yyjson_val *data, enum datatype type, const int64_t *shape,
                             size_t rank, const char *where, struct frame *out, struct error *err)
{
    struct buf strings = { 0 };
    struct reader r = { .type = type, .shape = shape, .rank = rank, .where = where, .err = err };
    uint64_t elements;
    if (shape_elements(shape, rank, &elements) || elements > MAX_TENSOR_BYTES)
        return error_set(err, STATUS_INVALID, "%s: the shape is negative or too large", where);
    size_t size = datatype_size(type);
    /* Each element takes at least one byte of JSON, so a body cannot ask for more memory than
     * eight times itself; the count is checked before anything is allocated. */
    if (yyjson_is_arr(data) && !yyjson_is_arr(yyjson_arr_get_first(data)) &&
        yyjson_arr_size(data) != elements)
        return read_flat(&r, data, elements);
    if (yyjson_is_arr(data) && rank && yyjson_is_arr(yyjson_arr_get_first(data)) &&
        yyjson_arr_size(data) != (uint64_t)shape[0])
        return read_level(&r, data, 0);
    struct buf memory = { 0 };
    if (type == DT_BYTES) {
        r.strings = &strings;
    } else {
        uint64_t present = yyjson_is_arr(data) ? UINT64_MAX : 1;
        if (elements * size > MAX_TENSOR_BYTES || (present == 1 && elements != 1))
            return wrong(&r, data, "an array");
        buf_reserve(&memory, (size_t)elements * size + 1);
        memory.len = (size_t)elements * size;
        r.at = memory.data;
    }
    enum status st = read_all(&r, data, elements);
    if (st) {
        buf_finish(&memory);
        buf_finish(&strings);
        return st;
    }
    if (type == DT_BYTES)
        frame_init_buf(out, &strings);
    else
        frame_init_buf(out, &memory);
    return STATUS_OK;
}

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

/* ---- writing ---------------------------------------------------------------------------------- */

void json_string(struct buf *out, struct bytes text)
{
    const unsigned char *p = text.data;
    buf_append(out, "\"", 1);
    for (size_t i = 0; i < text.len; i++) {
        if (p[i] == '"' || p[i] == '\\')
            buf_printf(out, "\\%c", p[i]);
        else if (p[i] < 0x20)
            buf_printf(out, "\\u%04x", p[i]);
        else
            buf_append(out, &p[i], 1);
    }
    buf_append(out, "\"", 1);
}

#define LOAD(type, p)                        \
    ({                                       \
        type loaded;                         \
        memcpy(&loaded, (p), sizeof loaded); \
        loaded;                              \
    })

/* room: FLOAT_TEXT_MAX bytes; the length written. */
static size_t number_text(enum datatype t, const unsigned char *p, char *room)
{
    switch (t) {
    case DT_FP32: {
        float f = LOAD(float, p);
        return isfinite(f) ? float_text(f, room, FLOAT_TEXT_MAX)
                           : (size_t)(stpcpy(room, "null") - room);
    }
    case DT_FP64: {
        double d = LOAD(double, p);
        return isfinite(d) ? double_text(d, room, FLOAT_TEXT_MAX)
                           : (size_t)(stpcpy(room, "null") - room);
    }
    case DT_BOOL:
        return (size_t)(stpcpy(room, *p ? "true" : "false") - room);
    case DT_INT8:
        return (size_t)snprintf(room, FLOAT_TEXT_MAX, "%d", LOAD(int8_t, p));
    case DT_INT16:
        return (size_t)snprintf(room, FLOAT_TEXT_MAX, "%d", LOAD(int16_t, p));
    case DT_INT32:
        return (size_t)snprintf(room, FLOAT_TEXT_MAX, "%d", LOAD(int32_t, p));
    case DT_INT64:
        return (size_t)snprintf(room, FLOAT_TEXT_MAX, "%" PRId64, LOAD(int64_t, p));
    case DT_UINT8:
        return (size_t)snprintf(room, FLOAT_TEXT_MAX, "%u", LOAD(uint8_t, p));
    case DT_UINT16:
        return (size_t)snprintf(room, FLOAT_TEXT_MAX, "%u", LOAD(uint16_t, p));
    case DT_UINT32:
        return (size_t)snprintf(room, FLOAT_TEXT_MAX, "%u", LOAD(uint32_t, p));
    default:
        return (size_t)snprintf(room, FLOAT_TEXT_MAX, "%" PRIu64, LOAD(uint64_t, p));
    }
}

static void write_element(struct buf *out, enum datatype t, const unsigned char **p)
{
    if (t == DT_BYTES) {
        uint32_t len = LOAD(uint32_t, *p);
        json_string(out, bytes_of(*p + sizeof len, len));
        *p += sizeof len + len;
        return;
    }
    buf_reserve(out, FLOAT_TEXT_MAX);
    out->len += number_text(t, *p, (char *)out->data + out->len);
    *p += datatype_size(t);
}

static void write_level(struct buf *out, enum datatype t, const int64_t *shape, size_t rank,
                        const unsigned char **p)
{
    buf_append(out, "[", 1);
    for (int64_t i = 0; i < shape[0]; i++) {
        if (i)
            buf_append(out, ",", 1);
        if (rank > 1)
            write_level(out, t, shape + 1, rank - 1, p);
        else
            write_element(out, t, p);
    }
    buf_append(out, "]", 1);
}

enum status tensor_to_json(struct buf *out, enum datatype type, const int64_t *shape, size_t rank,
                           struct bytes data, bool nested, struct error *err)
{
    const unsigned char *p = data.data;
    uint64_t elements;
    if (type == DT_FP16 || type == DT_BF16)
        return error_set(err, STATUS_INVALID, "%s has no JSON form; ask for binary data",
                         datatype_name(type));
    if (shape_elements(shape, rank, &elements))
        return error_set(err, STATUS_INTERNAL, "bad output shape");
    if (nested && rank == 0) {
        write_element(out, type, &p);
    } else {
        int64_t flat = (int64_t)elements;
        write_level(out, type, nested ? shape : &flat, nested ? rank : 1, &p);
    }
    return STATUS_OK;
}
