/* npy.c - the header, a dictionary in Python's words, and the numbers behind it. */
#include "services/trainer/data/npy.h"

#include "services/trainer/data/text.h"

#include <math.h>
#include <stdlib.h>

#define PREFIX_BYTES 8
#define MAX_HEADER   65536u
#define SLAB_BYTES   65536u

/* How a type's bytes become a float. */
#define CONVERT(type)                                                  \
    static void from_##type(const void *from, size_t count, float *to) \
    {                                                                  \
        const char *p = from;                                          \
        for (size_t i = 0; i < count; i++) {                           \
            type value;                                                \
            memcpy(&value, p + i * sizeof value, sizeof value);        \
            to[i] = (float)value;                                      \
        }                                                              \
    }
CONVERT(int8_t)
CONVERT(int16_t)
CONVERT(int32_t)
CONVERT(int64_t)
CONVERT(uint8_t)
CONVERT(uint16_t)
CONVERT(uint32_t)
CONVERT(uint64_t)
CONVERT(float)
CONVERT(double)

struct item {
    const char *name; /* of the type, without the byte order */
    size_t size;
    bool whole;
    void (*convert)(const void *from, size_t count, float *to);
};

static const struct item items[] = {
    { "f4", 4, false, from_float },   { "f8", 8, false, from_double },
    { "u1", 1, true, from_uint8_t },  { "i1", 1, true, from_int8_t },
    { "b1", 1, true, from_uint8_t },  { "i2", 2, true, from_int16_t },
    { "u2", 2, true, from_uint16_t }, { "i4", 4, true, from_int32_t },
    { "u4", 4, true, from_uint32_t }, { "i8", 8, true, from_int64_t },
    { "u8", 8, true, from_uint64_t },
};

static enum status read_exactly(struct source *s, void *to, size_t len, struct error *err)
{
    size_t got;
    enum status st = source_read(s, to, len, &got, err);
    return !st && got < len ? error_set(err, STATUS_INVALID, "it is cut off") : st;
}

/* What follows 'key': in the header. */
static const char *value_of(const char *header, const char *key)
{
    const char *at = strstr(header, key);
    if (!at)
        return "";
    at += strlen(key);
    return at + strspn(at, "'\": ");
}

static enum status take_type(const char *header, const struct item **out, struct error *err)
{
    const char *descr = value_of(header, "'descr'");
    char shown[TEXT_SHOWN_SIZE];
    size_t len = strcspn(descr, "'\",}");
    if (*descr == '<' || *descr == '|' || *descr == '=')
        for (size_t i = 0; i < sizeof items / sizeof *items; i++)
            if (len == 3 && memcmp(descr + 1, items[i].name, 2) == 0) {
                *out = &items[i];
                return STATUS_OK;
            }
    return error_set(err, STATUS_INVALID, "it is of '%s': only numbers in little endian are read",
                     text_shown(bytes_of(descr, len), shown));
}

static enum status take_shape(const char *header, struct npy *out, struct error *err)
{
    const char *p = value_of(header, "'shape'");
    uint64_t cells = 1;
    if (*p != '(')
        return error_set(err, STATUS_INVALID, "its header has no shape");
    for (p++; *p && *p != ')'; p += strspn(p, ", L")) {
        char *end;
        unsigned long long dim = strtoull(p, &end, 10);
        if (end == p || *p < '0' || *p > '9')
            return error_set(err, STATUS_INVALID, "its header has a shape that makes no sense");
        if (out->rank == NPY_RANK_MAX)
            return error_set(err, STATUS_INVALID, "it has more than %d dimensions", NPY_RANK_MAX);
        if (!dim || dim > MAX_CELLS || (cells *= dim) > MAX_CELLS)
            return error_set(err, STATUS_TOO_LARGE, "it has no numbers, or more than %u",
                             MAX_CELLS);
        out->dims[out->rank++] = (size_t)dim;
        p = end;
    }
    if (!out->rank || out->dims[0] > MAX_ROWS)
        return error_set(err, STATUS_INVALID, "it has no rows, or more than %u", MAX_ROWS);
    return STATUS_OK;
}

/* Reads up to the numbers. */
static enum status read_header(struct source *s, const struct item **item, struct npy *out,
                               struct error *err)
{
    unsigned char prefix[PREFIX_BYTES], size[4] = { 0 };
    enum status st = read_exactly(s, prefix, sizeof prefix, err);
    if (!st && (memcmp(prefix, "\x93NUMPY", 6) != 0 || prefix[6] < 1 || prefix[6] > 3))
        st = error_set(err, STATUS_INVALID, "it is no NPY file of version 1 to 3");
    if (!st)
        st = read_exactly(s, size, prefix[6] == 1 ? 2 : 4, err);
    if (st)
        return st;
    size_t len = size[0] | (size_t)size[1] << 8 | (size_t)size[2] << 16 | (size_t)size[3] << 24;
    if (len > MAX_HEADER)
        return error_set(err, STATUS_INVALID, "its header has more than %u bytes", MAX_HEADER);
    char *header = mem_zalloc(len + 1);
    st = read_exactly(s, header, len, err);
    if (!st)
        st = take_type(header, item, err);
    if (!st)
        st = take_shape(header, out, err);
    if (!st && out->rank > 1 && strncmp(value_of(header, "'fortran_order'"), "True", 4) == 0)
        st = error_set(err, STATUS_INVALID,
                       "it has its columns first (fortran_order): save it with "
                       "numpy.ascontiguousarray");
    free(header);
    return st;
}

static enum status read_numbers(struct source *s, const struct item *item, struct npy *out,
                                struct error *err)
{
    unsigned char *slab = mem_alloc(SLAB_BYTES), more;
    size_t columns = 1, at = 0, got = 0;
    enum status st = STATUS_OK;
    for (size_t i = 1; i < out->rank; i++)
        columns *= out->dims[i];
    size_t left = out->dims[0] * columns;
    if (source_room(s->file, out->dims[0], columns, left * sizeof *out->data, err)) {
        free(slab);
        return err->status;
    }
    out->data = mem_alloc(left * sizeof *out->data);
    out->whole = item->whole;
    while (left && !st) {
        size_t n = left < SLAB_BYTES / item->size ? left : SLAB_BYTES / item->size;
        st = read_exactly(s, slab, n * item->size, err);
        if (!st)
            item->convert(slab, n, out->data + at);
        at += n;
        left -= n;
    }
    free(slab);
    if (!st)
        st = source_read(s, &more, 1, &got, err);
    return !st && got ? error_set(err, STATUS_INVALID, "it has more data than its header says")
                      : st;
}

enum status npy_read(const struct npy_file *file, struct npy *out, struct error *err)
{
    const struct item *item = NULL;
    struct error inner;
    struct source source;
    *out = (struct npy){ 0 };
    enum status st = file->member ? source_open_member(&source, file->file, file->member, &inner)
                                  : source_open(&source, file->file, &inner);
    if (!st) {
        st = read_header(&source, &item, out, &inner);
        if (!st)
            st = read_numbers(&source, item, out, &inner);
        source_close(&source);
    }
    if (!st)
        return STATUS_OK;
    npy_finish(out);
    return error_set(err, st, "%s%s%s: %s", file->file->name, file->member ? ", " : "",
                     file->member ? file->member : "", inner.text);
}

void npy_finish(struct npy *a)
{
    free(a->data);
    *a = (struct npy){ 0 };
}
