/* tensor_write.c - tensor memory to JSON text. */
#include "services/gateway/tensor_json.h"

#include "services/gateway/float_text.h"
#include "services/gateway/tensor_load.h"

#include <math.h>

/* ---- strings ------------------------------------------------------------------------------------- */

/* The length of the UTF-8 sequence at p (RFC 3629 section 4), 0: there is none. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    unsigned char low = 0x80, high = 0xbf; /* of the second byte */
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (p[0] > 0xf4 || len > left)
        return 0;
    if (p[0] == 0xe0)
        low = 0xa0;
    else if (p[0] == 0xed)
        high = 0x9f;
    else if (p[0] == 0xf0)
        low = 0x90;
    else if (p[0] == 0xf4)
        high = 0x8f;
    if (len > 1 && (p[1] < low || p[1] > high))
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

static bool utf8_valid(struct bytes text)
{
    const unsigned char *p = text.data;
    size_t len;
    for (size_t i = 0; i < text.len; i += len)
        if (!(len = utf8_length(p + i, text.len - i)))
            return false;
    return true;
}

static void put_escaped(struct buf *out, unsigned char c)
{
    if (c == '"' || c == '\\')
        buf_printf(out, "\\%c", c);
    else if (c < 0x20)
        buf_printf(out, "\\u%04x", c);
    else
        buf_append_str(out, "\xef\xbf\xbd");
}

void json_string(struct buf *out, struct bytes text)
{
    const unsigned char *p = text.data;
    size_t plain = 0; /* where the bytes begin that need nothing */
    buf_append(out, "\"", 1);
    for (size_t i = 0; i < text.len;) {
        size_t len =
            p[i] < 0x20 || p[i] == '"' || p[i] == '\\' ? 0 : utf8_length(p + i, text.len - i);
        if (len) {
            i += len;
            continue;
        }
        buf_append(out, p + plain, i - plain);
        put_escaped(out, p[i]);
        plain = ++i;
    }
    if (text.len > plain)
        buf_append(out, p + plain, text.len - plain);
    buf_append(out, "\"", 1);
}

/* ---- elements ------------------------------------------------------------------------------------ */

static size_t word(char *room, const char *text)
{
    return (size_t)(stpcpy(room, text) - room);
}

/* room: NUMBER_TEXT_MAX bytes; the length written. */
static size_t number_text(enum datatype t, const unsigned char *p, char *room)
{
    switch (t) {
    case DT_FP32: {
        float f = LOAD(float, p);
        return isfinite(f) ? float_text(f, room) : word(room, "null");
    }
    case DT_FP64: {
        double d = LOAD(double, p);
        return isfinite(d) ? double_text(d, room) : word(room, "null");
    }
    case DT_BOOL:
        return word(room, *p ? "true" : "false");
    case DT_INT8:
        return int_text(LOAD(int8_t, p), room);
    case DT_INT16:
        return int_text(LOAD(int16_t, p), room);
    case DT_INT32:
        return int_text(LOAD(int32_t, p), room);
    case DT_INT64:
        return int_text(LOAD(int64_t, p), room);
    case DT_UINT8:
        return uint_text(LOAD(uint8_t, p), room);
    case DT_UINT16:
        return uint_text(LOAD(uint16_t, p), room);
    case DT_UINT32:
        return uint_text(LOAD(uint32_t, p), room);
    default:
        return uint_text(LOAD(uint64_t, p), room);
    }
}

struct writer {
    struct buf *out;
    enum datatype type;
    size_t size; /* of an element, 0 for BYTES */
    const unsigned char *at;
    struct error *err;
};

static enum status write_text(struct writer *w)
{
    uint32_t len = LOAD(uint32_t, w->at);
    struct bytes text = bytes_of(w->at + sizeof len, len);
    w->at += sizeof len + len;
    if (!utf8_valid(text))
        return error_set(w->err, STATUS_INVALID,
                         "an output has bytes that are not UTF-8, which have no JSON form");
    json_string(w->out, text);
    return STATUS_OK;
}

static enum status write_element(struct writer *w)
{
    if (!w->size)
        return write_text(w);
    buf_reserve(w->out, NUMBER_TEXT_MAX);
    w->out->len += number_text(w->type, w->at, (char *)w->out->data + w->out->len);
    w->at += w->size;
    return STATUS_OK;
}

static enum status write_level(struct writer *w, const int64_t *shape, size_t rank)
{
    enum status st = STATUS_OK;
    buf_append(w->out, "[", 1);
    for (int64_t i = 0; i < shape[0] && !st; i++) {
        if (i)
            buf_append(w->out, ",", 1);
        st = rank > 1 ? write_level(w, shape + 1, rank - 1) : write_element(w);
    }
    buf_append(w->out, "]", 1);
    return st;
}

enum status tensor_to_json(struct buf *out, enum datatype type, const int64_t *shape, size_t rank,
                           struct bytes data, bool nested, struct error *err)
{
    struct writer w = { out, type, datatype_size(type), data.data, err };
    uint64_t elements;
    if (type == DT_NONE || type == DT_FP16 || type == DT_BF16)
        return error_set(err, STATUS_INVALID, "%s has no JSON form; ask for binary data",
                         datatype_name(type));
    if (shape_elements(shape, rank, &elements))
        return error_set(err, STATUS_INTERNAL, "bad output shape");
    if (nested)
        return rank ? write_level(&w, shape, rank) : write_element(&w);
    int64_t flat = (int64_t)elements;
    return write_level(&w, &flat, 1);
}
