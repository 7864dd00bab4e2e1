/* compare.c - see compare.h. */
#include "services/gateway/compare.h"
#include "services/gateway/tensor_load.h"

#include <math.h>

/* X(datatype, C type) */
#define WHOLE_LIST(X)   \
    X(INT8, int8_t)     \
    X(INT16, int16_t)   \
    X(INT32, int32_t)   \
    X(INT64, int64_t)   \
    X(UINT8, uint8_t)   \
    X(UINT16, uint16_t) \
    X(UINT32, uint32_t) \
    X(UINT64, uint64_t)

/* The same output of both. */
struct both {
    enum datatype type;
    const int64_t *shape;
    size_t rank;
    uint64_t elements;
    const unsigned char *a, *b;
};

/* ---- numbers ----------------------------------------------------------------------------------- */

static bool is_float(enum datatype t)
{
    return t == DT_FP16 || t == DT_BF16 || t == DT_FP32 || t == DT_FP64;
}

static double load_float(enum datatype t, const unsigned char *p)
{
    if (t == DT_FP64)
        return LOAD(double, p);
    if (t == DT_FP16)
        return (double)LOAD(_Float16, p);
    if (t == DT_FP32)
        return (double)LOAD(float, p);
    uint32_t bits = (uint32_t)LOAD(uint16_t, p) << 16; /* BF16: the upper half of an FP32 */
    return (double)LOAD(float, &bits);
}

/* Exact, but for the last rounding.  Not finite: there is none. */
static double gap(enum datatype t, const unsigned char *a, const unsigned char *b)
{
    switch (t) {
#define X(name, type)                                                                   \
    case DT_##name: {                                                                   \
        type x = LOAD(type, a), y = LOAD(type, b);                                      \
        return (double)(x > y ? (uint64_t)x - (uint64_t)y : (uint64_t)y - (uint64_t)x); \
    }
        WHOLE_LIST(X)
#undef X
    case DT_BOOL:
        return !*a != !*b;
    default:
        return fabs(load_float(t, a) - load_float(t, b));
    }
}

static void subtract(const struct both *o, struct comparison *out)
{
    size_t size = datatype_size(o->type);
    double sum = 0;
    for (uint64_t i = 0; i < o->elements; i++) {
        double d = gap(o->type, o->a + i * size, o->b + i * size);
        if (!isfinite(d)) {
            out->not_finite++;
            continue;
        }
        d = fmin(d, COMPARE_GAP_MAX);
        out->values++;
        sum += d;
        out->largest = fmax(out->largest, d);
    }
    if (out->values)
        out->mean = sum / (double)out->values;
}

/* ---- rows -------------------------------------------------------------------------------------- */

static bool has_classes(const struct msg_tensor *t)
{
    return is_float(datatype_from_wire(t->datatype)) && t->shape.count >= 2 &&
           t->shape.at[t->shape.count - 1] >= 2;
}

static uint64_t place_of_largest(enum datatype t, const unsigned char *row, uint64_t columns)
{
    size_t size = datatype_size(t);
    uint64_t place = 0;
    double largest = load_float(t, row);
    for (uint64_t i = 1; i < columns; i++) {
        double x = load_float(t, row + i * size);
        if (x > largest || (isnan(largest) && !isnan(x))) {
            largest = x;
            place = i;
        }
    }
    return place;
}

static void compare_classes(const struct both *o, struct comparison *out)
{
    uint64_t columns = (uint64_t)o->shape[o->rank - 1];
    size_t step = columns * datatype_size(o->type);
    out->rows = o->elements / columns;
    for (uint64_t i = 0; i < out->rows; i++)
        out->agreeing += place_of_largest(o->type, o->a + i * step, columns) ==
                         place_of_largest(o->type, o->b + i * step, columns);
}

/* The bytes of so many elements. */
static size_t length(enum datatype t, const unsigned char *p, uint64_t elements)
{
    size_t len = datatype_size(t) * elements;
    for (uint64_t i = 0; t == DT_BYTES && i < elements; i++)
        len += sizeof(uint32_t) + LOAD(uint32_t, p + len);
    return len;
}

static void compare_rows(const struct both *o, struct comparison *out)
{
    const unsigned char *a = o->a, *b = o->b;
    out->rows = o->rank ? (uint64_t)o->shape[0] : 1;
    for (uint64_t i = 0; i < out->rows; i++) {
        size_t len = length(o->type, a, o->elements / out->rows);
        size_t other = length(o->type, b, o->elements / out->rows);
        out->agreeing += bytes_equal(bytes_of(a, len), bytes_of(b, other));
        a += len;
        b += other;
    }
}

/* ---- outputs ----------------------------------------------------------------------------------- */

static const struct msg_tensor *find(const struct compare_side *side, struct bytes name)
{
    for (size_t i = 0; i < side->count; i++)
        if (bytes_equal(side->tensors[i].name, name))
            return &side->tensors[i];
    return NULL;
}

static bool same_kind(const struct msg_tensor *a, const struct msg_tensor *b)
{
    bool same = a->datatype == b->datatype && a->shape.count == b->shape.count;
    for (size_t i = 0; same && i < a->shape.count; i++)
        same = a->shape.at[i] == b->shape.at[i];
    return same;
}

void compare_outputs(const struct compare_side *a, const struct compare_side *b,
                     struct comparison *out)
{
    bool classes = false; /* an output before has had them */
    for (size_t i = 0; i < a->count; i++) {
        const struct msg_tensor *mine = &a->tensors[i], *other = find(b, mine->name);
        bool class_output = !classes && has_classes(mine);
        struct both o = { .type = datatype_from_wire(mine->datatype),
                          .shape = mine->shape.at,
                          .rank = mine->shape.count };
        out[i] = (struct comparison){ 0 };
        classes |= class_output;
        if (!other || !same_kind(mine, other) || shape_elements(o.shape, o.rank, &o.elements))
            continue;
        out[i].matched = true;
        if (!o.elements)
            continue;
        o.a = a->data[i].data;
        o.b = b->data[other - b->tensors].data;
        if (o.type != DT_BYTES)
            subtract(&o, &out[i]);
        if (class_output)
            compare_classes(&o, &out[i]);
        else if (!is_float(o.type))
            compare_rows(&o, &out[i]);
    }
}
