/* tensor.c - datatypes and shapes. */
#include "common/msg/tensor.h"

static const struct {
    const char *name;
    size_t size;
} types[DATATYPE_COUNT] = {
#define X(n, number, s) [number] = { #n, s },
    DATATYPE_LIST(X)
#undef X
};

const char *datatype_name(enum datatype t)
{
    return t > DT_NONE && t < DATATYPE_COUNT ? types[t].name : "?";
}

size_t datatype_size(enum datatype t)
{
    return t > DT_NONE && t < DATATYPE_COUNT ? types[t].size : 0;
}

enum datatype datatype_parse(struct bytes name)
{
    for (unsigned t = DT_NONE + 1; t < DATATYPE_COUNT; t++)
        if (bytes_equal_str(name, types[t].name))
            return (enum datatype)t;
    return DT_NONE;
}

enum datatype datatype_from_wire(unsigned number)
{
    return number < DATATYPE_COUNT ? (enum datatype)number : DT_NONE;
}

enum status shape_elements(const int64_t *shape, size_t rank, uint64_t *elements)
{
    uint64_t n = 1;
    for (size_t i = 0; i < rank; i++) {
        if (shape[i] < 0)
            return STATUS_INVALID;
        if (__builtin_mul_overflow(n, (uint64_t)shape[i], &n))
            return STATUS_INVALID;
    }
    *elements = n;
    return STATUS_OK;
}

struct bytes tensor_cut(enum datatype t, const int64_t *shape, size_t rank, struct bytes frame,
                        uint64_t rows, size_t *at)
{
    const char *begin = (const char *)frame.data + *at;
    uint64_t elements;
    size_t len = 0;
    if (shape_elements(shape + 1, rank - 1, &elements))
        return bytes_of(begin, 0); /* cannot be: it was checked */
    if (t != DT_BYTES)
        len = (size_t)(rows * elements) * datatype_size(t);
    for (uint64_t i = 0; t == DT_BYTES && i < rows * elements; i++) {
        uint32_t element;
        memcpy(&element, begin + len, sizeof element);
        len += sizeof element + element;
    }
    *at += len;
    return bytes_of(begin, len);
}

void shape_text(const int64_t *shape, size_t rank, struct buf *out)
{
    buf_append_str(out, "[");
    for (size_t i = 0; i < rank; i++)
        buf_printf(out, "%s%lld", i ? "," : "", (long long)shape[i]);
    buf_append_str(out, "]");
}

/* Walks the length-prefixed elements of a BYTES tensor. */
static enum status check_strings(uint64_t elements, struct bytes frame, struct error *err)
{
    const unsigned char *p = frame.data;
    size_t left = frame.len;
    for (uint64_t i = 0; i < elements; i++) {
        uint32_t len;
        if (left < sizeof len)
            return error_set(err, STATUS_INVALID, "BYTES tensor ends after %llu of %llu elements",
                             (unsigned long long)i, (unsigned long long)elements);
        memcpy(&len, p, sizeof len);
        if (left - sizeof len < len)
            return error_set(err, STATUS_INVALID,
                             "BYTES element %llu says it has %u bytes, but %zu are left",
                             (unsigned long long)i, len, left - sizeof len);
        p += sizeof len + len;
        left -= sizeof len + len;
    }
    if (left)
        return error_set(err, STATUS_INVALID, "%zu bytes follow the last BYTES element", left);
    return STATUS_OK;
}

enum status tensor_check(enum datatype t, const int64_t *shape, size_t rank, struct bytes frame,
                         struct error *err)
{
    uint64_t elements, size;
    if (t <= DT_NONE || t >= DATATYPE_COUNT)
        return error_set(err, STATUS_INVALID, "unknown datatype %u", (unsigned)t);
    if (rank > MAX_RANK)
        return error_set(err, STATUS_INVALID, "%zu dimensions are more than %d", rank, MAX_RANK);
    if (shape_elements(shape, rank, &elements))
        return error_set(err, STATUS_INVALID, "the shape has a negative or too large dimension");
    if (t == DT_BYTES)
        return check_strings(elements, frame, err);
    if (__builtin_mul_overflow(elements, types[t].size, &size))
        return error_set(err, STATUS_INVALID, "the shape has too many elements");
    if (size != frame.len)
        return error_set(err, STATUS_INVALID, "%llu %s elements need %llu bytes, got %zu",
                         (unsigned long long)elements, types[t].name, (unsigned long long)size,
                         frame.len);
    return STATUS_OK;
}
