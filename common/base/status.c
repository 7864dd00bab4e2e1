/* status.c - texts and HTTP codes of enum status, from one list. */
#include "common/base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    const char *name;
    const char *text;
    int http;
    bool retry;
} table[] = {
#define X(n, number, h, r, t) [number] = { #n, t, h, r },
    STATUS_LIST(X)
#undef X
};

const char *status_text(enum status st)
{
    assert((unsigned)st < STATUS_COUNT);
    return table[st].text;
}

const char *status_name(enum status st)
{
    assert((unsigned)st < STATUS_COUNT);
    return table[st].name;
}

int status_http(enum status st)
{
    assert((unsigned)st < STATUS_COUNT);
    return table[st].http;
}

bool status_retryable(enum status st)
{
    assert((unsigned)st < STATUS_COUNT);
    return table[st].retry;
}

enum status status_from_wire(unsigned number)
{
    return number < STATUS_COUNT ? (enum status)number : STATUS_INTERNAL;
}

/* What was quoted may be anything, and may have been cut: '?' takes the place of each byte
 * that is no UTF-8, but a character that lost its end at the limit is left out. */
static void make_utf8(char *text, bool cut)
{
    for (size_t left = strlen(text), len; left; text += len, left -= len) {
        len = bytes_utf8(bytes_of(text, left));
        if (len)
            continue;
        if (cut && left < 4 && (unsigned char)*text >= 0xc2) {
            *text = 0;
            return;
        }
        *text = '?';
        len = 1;
    }
}

enum status error_set(struct error *err, enum status st, const char *fmt, ...)
{
    if (!err)
        return st;
    err->status = st;
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    make_utf8(err->text, len >= (int)sizeof err->text);
    return st;
}

_Noreturn void die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}
