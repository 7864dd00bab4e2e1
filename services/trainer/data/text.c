/* text.c - see text.h. */
#include "services/trainer/data/text.h"

#include <math.h>
#include <stdlib.h>

#define SHOWN_MAX  40
#define NUMBER_MAX 64 /* bytes of a number's text */

/* Length of the UTF-8 sequence at p (RFC 3629), 0 when it is not one. */
static size_t sequence(const unsigned char *p, size_t len)
{
    static const struct {
        unsigned char mask, lead, size;
        uint32_t least;
    } forms[] = {
        { 0x80, 0x00, 1, 0 },
        { 0xe0, 0xc0, 2, 0x80 },
        { 0xf0, 0xe0, 3, 0x800 },
        { 0xf8, 0xf0, 4, 0x10000 },
    };
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        if ((p[0] & forms[f].mask) != forms[f].lead)
            continue;
        uint32_t code = p[0] & (unsigned char)~forms[f].mask;
        if (forms[f].size > len)
            return 0;
        for (size_t i = 1; i < forms[f].size; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return 0;
            code = code << 6 | (p[i] & 0x3f);
        }
        bool surrogate = code >= 0xd800 && code <= 0xdfff;
        return code < forms[f].least || code > 0x10ffff || surrogate ? 0 : forms[f].size;
    }
    return 0;
}

bool text_is_utf8(struct bytes text)
{
    const unsigned char *p = text.data;
    for (size_t i = 0, n; i < text.len; i += n) {
        n = sequence(p + i, text.len - i);
        if (!n)
            return false;
    }
    return true;
}

const char *text_shown(struct bytes text, char out[TEXT_SHOWN_SIZE])
{
    const unsigned char *p = text.data;
    size_t len = 0;
    for (size_t i = 0, n; i < text.len; i += n) {
        n = sequence(p + i, text.len - i);
        if (len + (n ? n : 1) > SHOWN_MAX) {
            memcpy(out + len, "...", 3);
            len += 3;
            break;
        }
        bool printable = n > 1 || (n == 1 && p[i] >= 0x20 && p[i] != 0x7f);
        n = n ? n : 1;
        if (printable)
            memcpy(out + len, p + i, n);
        else
            out[len] = '?';
        len += n;
    }
    out[len] = 0;
    return out;
}

enum status text_number(struct bytes text, float *out)
{
    char copy[NUMBER_MAX + 1];
    char *end;
    if (text.len == 0 || text.len > NUMBER_MAX)
        return STATUS_INVALID;
    memcpy(copy, text.data, text.len);
    copy[text.len] = 0;
    if (strspn(copy, "0123456789+-.eE") != text.len)
        return STATUS_INVALID;
    *out = strtof(copy, &end);
    return end == copy + text.len && isfinite(*out) ? STATUS_OK : STATUS_INVALID;
}
