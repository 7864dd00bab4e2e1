/* bytes.c - borrowed and owned memory. */
#include "common/base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool bytes_equal_str(struct bytes a, const char *s)
{
    return bytes_equal(a, bytes_str(s));
}

size_t bytes_utf8(struct bytes b)
{
    const unsigned char *p = b.data;
    if (b.len == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    size_t len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (b.len < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    /* Overlong forms, surrogates and what lies beyond U+10FFFF show in the second byte. */
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

enum status bytes_copy_str(struct bytes b, char *out, size_t size)
{
    if (b.len >= size || (b.len && memchr(b.data, 0, b.len)))
        return STATUS_INVALID;
    if (b.len)
        memcpy(out, b.data, b.len);
    out[b.len] = 0;
    return STATUS_OK;
}

static void *alloc_or_die(void *p, size_t len)
{
    if (!p)
        die("out of memory: %zu bytes", len);
    return p;
}

void *mem_alloc(size_t len)
{
    return alloc_or_die(malloc(len ? len : 1), len);
}

void *mem_zalloc(size_t len)
{
    return alloc_or_die(calloc(1, len ? len : 1), len);
}

void *mem_resize(void *p, size_t len)
{
    return alloc_or_die(realloc(p, len ? len : 1), len);
}

char *mem_str(struct bytes b)
{
    char *s = mem_alloc(b.len + 1);
    if (b.len)
        memcpy(s, b.data, b.len);
    s[b.len] = 0;
    return s;
}

void buf_finish(struct buf *b)
{
    free(b->data);
    *b = (struct buf){ 0 };
}

void buf_grow(struct buf *b, size_t more)
{
    if (more > SIZE_MAX / 4 - b->len)
        die("out of memory: %zu bytes", more);
    size_t cap = b->cap ? b->cap : 64;
    while (cap - b->len < more)
        cap *= 2;
    b->data = mem_resize(b->data, cap);
    b->cap = cap;
}

void buf_append_uint(struct buf *b, uint64_t n)
{
    char digits[24];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    buf_append(b, digits + at, sizeof digits - at);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len > 0) {
        buf_reserve(b, (size_t)len + 1);
        vsnprintf((char *)b->data + b->len, (size_t)len + 1, fmt, again);
        b->len += (size_t)len;
    }
    va_end(again);
}

void buf_consume(struct buf *b, size_t len)
{
    b->len -= len;
    if (b->len)
        memmove(b->data, b->data + len, b->len);
}

const char *buf_cstr(struct buf *b)
{
    buf_reserve(b, 1);
    b->data[b->len] = 0;
    return (const char *)b->data;
}

void *buf_take(struct buf *b, size_t *len)
{
    void *data = b->data;
    if (len)
        *len = b->len;
    *b = (struct buf){ 0 };
    return data;
}
