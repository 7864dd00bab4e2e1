/* oip_classes.c - Open Inference Protocol v2, classification extension: the largest values of each
 * row, as strings "value:index". */
#include "services/gateway/api/oip.h"
#include "services/gateway/float_text.h"
#include "services/gateway/tensor_load.h"

#include <math.h>
#include <stdlib.h>

struct scored {
    long double value; /* every 64-bit integer has its own */
    uint32_t index;
};

/* X(datatype, C type) */
#define ORDERED_LIST(X) \
    X(FP32, float)      \
    X(FP64, double)     \
    X(INT8, int8_t)     \
    X(INT16, int16_t)   \
    X(INT32, int32_t)   \
    X(INT64, int64_t)   \
    X(UINT8, uint8_t)   \
    X(UINT16, uint16_t) \
    X(UINT32, uint32_t) \
    X(UINT64, uint64_t)

static bool has_order(enum datatype t)
{
    switch (t) {
#define X(name, type) case DT_##name:
        ORDERED_LIST(X)
#undef X
        return true;
    default:
        return false;
    }
}

static long double load_number(enum datatype t, const char *p)
{
    switch (t) {
#define X(name, type) \
    case DT_##name:   \
        return (long double)LOAD(type, p);
        ORDERED_LIST(X)
#undef X
    default:
        return 0;
    }
}

/* What is not a number comes last; among equals, who came first. */
static bool larger(long double a, long double b)
{
    return isnan(b) ? !isnan(a) : a > b;
}

/* Keeps the largest, in order; count of them are there. */
static size_t keep(struct scored *best, size_t count, size_t most, struct scored next)
{
    size_t at = count;
    if (count == most && !larger(next.value, best[count - 1].value))
        return count;
    while (at > 0 && larger(next.value, best[at - 1].value))
        at--;
    size_t after = (count < most ? count : most - 1) - at;
    memmove(best + at + 1, best + at, after * sizeof *best);
    best[at] = next;
    return count < most ? count + 1 : most;
}

static void put_class(struct buf *out, enum datatype type, const struct scored *s)
{
    char text[2 * NUMBER_TEXT_MAX];
    size_t len;
    if (!isfinite(s->value))
        len = (size_t)(stpcpy(text, isnan(s->value) ? "nan"
                                    : s->value > 0  ? "inf"
                                                    : "-inf") -
                       text);
    else if (type == DT_FP32)
        len = float_text((float)s->value, text);
    else if (type == DT_FP64)
        len = double_text((double)s->value, text);
    else
        len =
            s->value < 0 ? int_text((int64_t)s->value, text) : uint_text((uint64_t)s->value, text);
    text[len++] = ':';
    len += uint_text(s->index, text + len);
    uint32_t prefix = (uint32_t)len;
    buf_append(out, &prefix, sizeof prefix);
    buf_append(out, text, len);
}

enum status oip_classify(const struct msg_tensor *t, struct bytes data, bool batchable,
                         uint32_t classes, struct buf *out, int64_t shape[2], size_t *rank,
                         struct error *err)
{
    enum datatype type = datatype_from_wire(t->datatype);
    uint64_t elements, rows = batchable && t->shape.count ? (uint64_t)t->shape.at[0] : 1;
    if (!has_order(type) || shape_elements(t->shape.at, t->shape.count, &elements))
        return error_set(err, STATUS_INVALID, "output '%.*s' is %s: it has no largest values",
                         (int)t->name.len, (const char *)t->name.data, datatype_name(type));
    uint64_t width = rows ? elements / rows : 0;
    uint64_t count = classes < width ? classes : width;
    struct scored *best = mem_alloc((count + 1) * sizeof *best);
    for (uint64_t row = 0; row < rows && count; row++) {
        const char *at = (const char *)data.data + row * width * datatype_size(type);
        size_t kept = 0;
        for (uint64_t i = 0; i < width; i++) {
            long double value = load_number(type, at + i * datatype_size(type));
            kept = keep(best, kept, count, (struct scored){ value, (uint32_t)i });
        }
        for (uint64_t i = 0; i < count; i++)
            put_class(out, type, &best[i]);
    }
    free(best);
    *rank = batchable ? 2 : 1;
    shape[0] = (int64_t)(batchable ? rows : count);
    shape[1] = (int64_t)count;
    return STATUS_OK;
}
