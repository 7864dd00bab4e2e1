/* bytes.h - memory that is borrowed (struct bytes) and memory that is owned
 * (struct buf).  The type says who frees.
 *
 * Sizes that reach these functions were chosen by us or checked against a named
 * limit, so running out of memory here ends the process.
 */
#ifndef COMMON_BASE_BYTES_H
#define COMMON_BASE_BYTES_H

#include "common/base/status.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const void *data; /* borrowed; not NUL-terminated */
    size_t len;
};

struct buf {
    unsigned char *data; /* owned; buf_finish frees */
    size_t len;
    size_t cap;
};

static inline struct bytes bytes_of(const void *data, size_t len)
{
    return (struct bytes){ data, len };
}

static inline struct bytes bytes_str(const char *s)
{
    return (struct bytes){ s, s ? strlen(s) : 0 };
}

static inline struct bytes buf_bytes(const struct buf *b)
{
    return (struct bytes){ b->data, b->len };
}

bool bytes_equal(struct bytes a, struct bytes b);
bool bytes_equal_str(struct bytes a, const char *s);

/* The length of the UTF-8 sequence (RFC 3629) that b begins with; 0: it begins with none. */
size_t bytes_utf8(struct bytes b);

/* Copies into out[size] with a NUL.  INVALID: it does not fit, or holds a NUL. */
enum status bytes_copy_str(struct bytes b, char *out, size_t size) MUST_CHECK;

void *mem_alloc(size_t len);           /* never NULL */
void *mem_zalloc(size_t len);          /* never NULL, zeroed */
void *mem_resize(void *p, size_t len); /* never NULL */
char *mem_str(struct bytes b);         /* a NUL-terminated copy; the caller frees */

void buf_finish(struct buf *b);            /* zeroed is fine; leaves it empty */
void buf_grow(struct buf *b, size_t more); /* private to the next */

static inline void buf_reserve(struct buf *b, size_t more)
{
    if (more > b->cap - b->len)
        buf_grow(b, more);
}

static inline void buf_append(struct buf *b, const void *data, size_t len)
{
    if (!len)
        return;
    buf_reserve(b, len);
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

static inline void buf_append_bytes(struct buf *b, struct bytes bytes)
{
    buf_append(b, bytes.data, bytes.len);
}

static inline void buf_append_str(struct buf *b, const char *s)
{
    buf_append(b, s, strlen(s));
}

void buf_append_uint(struct buf *b, uint64_t n); /* in decimal */
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_consume(struct buf *b, size_t len); /* drops the first len bytes */
/* Appends a NUL that is not counted and returns the text; good until the next change. */
const char *buf_cstr(struct buf *b);
/* Gives the memory away: the caller frees it; the buf is empty afterwards. */
void *buf_take(struct buf *b, size_t *len);

#endif
