/* compare.c - see compare.h. */
#include "services/worker/compare.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define VALUE_MAX 80  /* of an element, as text */
#define INDEX_MAX 160 /* "[3][1]": where it is */
#define QUOTED    48  /* bytes of a string that are shown */

/* ---- in words ------------------------------------------------------------------------------ */

static enum status other_shape(const char *name, const struct compared *got,
                               const struct compared *expected, struct error *err)
{
    struct buf is = { 0 }, want = { 0 };
    shape_text(got->shape, got->rank, &is);
    shape_text(expected->shape, expected->rank, &want);
    error_set(err, STATUS_INVALID, "output '%s' has the shape %s; %s was expected", name,
              buf_cstr(&is), buf_cstr(&want));
    buf_finish(&is);
    buf_finish(&want);
    return STATUS_INVALID;
}

static const char *index_text(const struct compared *t, uint64_t flat, char out[INDEX_MAX])
{
    uint64_t index[MAX_RANK];
    size_t len = 0;
    out[0] = 0;
    for (size_t i = t->rank; i > 0; i--) {
        index[i - 1] = flat % (uint64_t)t->shape[i - 1]; /* not 0: there is an element */
        flat /= (uint64_t)t->shape[i - 1];
    }
    for (size_t i = 0; i < t->rank && len < INDEX_MAX; i++)
        len += (size_t)snprintf(out + len, INDEX_MAX - len, "[%" PRIu64 "]", index[i]);
    return out;
}

static enum status other_value(const char *name, const struct compared *t, uint64_t flat,
                               const char *got, const char *expected, struct error *err)
{
    char at[INDEX_MAX];
    return error_set(err, STATUS_INVALID, "output '%s'%s is %s; %s was expected", name,
                     index_text(t, flat, at), got, expected);
}

/* ---- numbers ------------------------------------------------------------------------------- */

static double real_at(const struct compared *t, uint64_t i)
{
    float f;
    double d;
    if (t->type == DT_FP64) {
        memcpy(&d, (const char *)t->data.data + i * sizeof d, sizeof d);
        return d;
    }
    memcpy(&f, (const char *)t->data.data + i * sizeof f, sizeof f);
    return (double)f;
}

static bool is_near(double got, double expected, const struct tolerance *t)
{
    if (isnan(expected))
        return !isfinite(got);
    return fabs(got - expected) <= t->atol + t->rtol * fabs(expected);
}

static enum status compare_reals(const char *name, const struct compared *got,
                                 const struct compared *expected, uint64_t elements,
                                 const struct tolerance *tolerance, struct error *err)
{
    char is[VALUE_MAX], want[VALUE_MAX];
    for (uint64_t i = 0; i < elements; i++) {
        double a = real_at(got, i), b = real_at(expected, i);
        if (is_near(a, b, tolerance))
            continue;
        snprintf(is, sizeof is, "%.9g", a);
        if (isnan(b))
            snprintf(want, sizeof want, "no finite number");
        else
            snprintf(want, sizeof want, "%.9g", b);
        return other_value(name, got, i, is, want, err);
    }
    return STATUS_OK;
}

/* Of a type that has no other elements than whole numbers. */
static void whole_text(enum datatype type, const unsigned char *p, char out[VALUE_MAX])
{
    bool is_signed = type >= DT_INT8 && type <= DT_INT64;
    size_t size = datatype_size(type);
    uint64_t u = 0;
    memcpy(&u, p, size); /* little-endian, as tensors are */
    if (type == DT_FP16 || type == DT_BF16)
        snprintf(out, VALUE_MAX, "0x%04" PRIx64, u);
    else if (is_signed) /* its sign goes to the top and comes back with the shift */
        snprintf(out, VALUE_MAX, "%" PRId64, (int64_t)(u << (64 - 8 * size)) >> (64 - 8 * size));
    else
        snprintf(out, VALUE_MAX, "%" PRIu64, u);
}

static enum status compare_whole(const char *name, const struct compared *got,
                                 const struct compared *expected, uint64_t elements,
                                 struct error *err)
{
    const unsigned char *a = got->data.data, *b = expected->data.data;
    size_t size = datatype_size(got->type);
    char is[VALUE_MAX], want[VALUE_MAX];
    for (uint64_t i = 0; i < elements; i++, a += size, b += size) {
        if (memcmp(a, b, size) == 0)
            continue;
        whole_text(got->type, a, is);
        whole_text(got->type, b, want);
        return other_value(name, got, i, is, want, err);
    }
    return STATUS_OK;
}

/* ---- strings ------------------------------------------------------------------------------- */

/* Moves on to the next one. */
static struct bytes string_at(const unsigned char **p)
{
    uint32_t len;
    memcpy(&len, *p, sizeof len);
    const unsigned char *text = *p + sizeof len;
    *p = text + len;
    return bytes_of(text, len);
}

static const char *quoted(struct bytes text, char out[VALUE_MAX])
{
    bool whole = text.len <= QUOTED;
    snprintf(out, VALUE_MAX, "\"%.*s%s\"", whole ? (int)text.len : QUOTED, (const char *)text.data,
             whole ? "" : "...");
    return out;
}

static enum status compare_strings(const char *name, const struct compared *got,
                                   const struct compared *expected, uint64_t elements,
                                   struct error *err)
{
    const unsigned char *a = got->data.data, *b = expected->data.data;
    char is[VALUE_MAX], want[VALUE_MAX];
    for (uint64_t i = 0; i < elements; i++) {
        struct bytes one = string_at(&a), other = string_at(&b);
        if (!bytes_equal(one, other))
            return other_value(name, got, i, quoted(one, is), quoted(other, want), err);
    }
    return STATUS_OK;
}

/* ---- tensors ------------------------------------------------------------------------------- */

enum status compare_tensors(const char *name, const struct compared *got,
                            const struct compared *expected, const struct tolerance *tolerance,
                            struct error *err)
{
    uint64_t elements;
    if (got->type != expected->type)
        return error_set(err, STATUS_INVALID, "output '%s' is %s; %s was expected", name,
                         datatype_name(got->type), datatype_name(expected->type));
    bool same = got->rank == expected->rank;
    for (size_t i = 0; i < got->rank && same; i++)
        same = got->shape[i] == expected->shape[i];
    if (!same || shape_elements(got->shape, got->rank, &elements))
        return other_shape(name, got, expected, err);
    if (got->type == DT_FP32 || got->type == DT_FP64)
        return compare_reals(name, got, expected, elements, tolerance, err);
    if (got->type == DT_BYTES)
        return compare_strings(name, got, expected, elements, err);
    return compare_whole(name, got, expected, elements, err);
}
