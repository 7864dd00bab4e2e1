/* siphon.c - see siphon.h.
 *
 * What comes is a sequence of lines and, behind a line "$LENGTH", that many bytes and an end of line
 * (RESP 2; arrays are lines, too).  A line is held back until it is whole, for it may be the head
 * of a value that goes another way.
 */
#include "services/registry/siphon.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define BLOCK_BYTES 4096 /* read at a time where it is not known what comes */
#define END_BYTES   2    /* "\r\n" */

/* What hiredis gets to see. */
struct out {
    char *at;
    size_t len;
};

static void emit(struct out *out, const void *data, size_t len)
{
    memcpy(out->at + out->len, data, len);
    out->len += len;
}

static void value_destroy(struct siphon_value *v)
{
    frame_finish(&v->data);
    free(v);
}

/* ---- the bytes ------------------------------------------------------------------------------ */

/* false: no memory; it may as well go through hiredis. */
static bool value_begin(struct siphon *s, size_t len)
{
    struct siphon_value *v = mem_zalloc(sizeof *v);
    s->place = frame_init_chunk(&v->data, len);
    if (!s->place) {
        free(v);
        return false;
    }
    s->coming = v;
    s->len = len;
    s->filled = 0;
    return true;
}

static void value_end(struct siphon *s, struct out *out)
{
    char word[SIPHON_LINE];
    emit(out, word, (size_t)snprintf(word, sizeof word, ":%" PRIu64 "\r\n", s->len));
    LL_APPEND(s->values, s->coming);
    s->coming = NULL;
}

static void line_end(struct siphon *s, struct out *out)
{
    int64_t len = -1;
    s->line[s->line_len - 1] = 0;
    if (s->line[0] == '$')
        len = strtoll(s->line + 1, NULL, 10);
    s->line[s->line_len - 1] = '\n';
    if (len < SIPHON_MIN || len > CHUNK_BYTES || !value_begin(s, (size_t)len)) {
        emit(out, s->line, s->line_len);
        s->pass = len < 0 ? 0 : (uint64_t)len + END_BYTES;
    }
    s->line_len = 0;
}

static size_t take_line(struct siphon *s, struct bytes data, struct out *out)
{
    const char *end = memchr(data.data, '\n', data.len);
    size_t len = end ? (size_t)(end - (const char *)data.data) + 1 : data.len;
    if (!s->long_line && s->line_len + len > SIPHON_LINE) {
        emit(out, s->line, s->line_len);
        s->line_len = 0;
        s->long_line = true;
    }
    if (s->long_line) {
        emit(out, data.data, len);
        s->long_line = !end;
        return len;
    }
    memcpy(s->line + s->line_len, data.data, len);
    s->line_len += len;
    if (end)
        line_end(s, out);
    return len;
}

static size_t smaller(uint64_t a, size_t b)
{
    return a < b ? (size_t)a : b;
}

static size_t take_value(struct siphon *s, struct bytes data, struct out *out)
{
    size_t len = s->filled < s->len ? smaller(s->len - s->filled, data.len)
                                    : smaller(s->len + END_BYTES - s->filled, data.len);
    if (s->filled < s->len)
        memcpy(s->place + s->filled, data.data, len);
    s->filled += len;
    if (s->filled == s->len + END_BYTES)
        value_end(s, out);
    return len;
}

static size_t take_passing(struct siphon *s, struct bytes data, struct out *out)
{
    size_t len = smaller(s->pass, data.len);
    emit(out, data.data, len);
    s->pass -= len;
    return len;
}

static void take(struct siphon *s, struct bytes data, struct out *out)
{
    while (data.len) {
        size_t len = s->coming ? take_value(s, data, out)
                     : s->pass ? take_passing(s, data, out)
                               : take_line(s, data, out);
        data = bytes_of((const char *)data.data + len, data.len - len);
    }
}

/* ---- between hiredis and the connection ----------------------------------------------------- */

/* All that is there.  What hiredis sees is at most what was read here and the line that was held
 * back. */
static ssize_t siphon_read(struct redisContext *c, char *buf, size_t size)
{
    struct siphon *s = (struct siphon *)(uintptr_t)c->funcs;
    struct out out = { buf, 0 };
    char block[BLOCK_BYTES];
    ssize_t n;
    do {
        if (s->coming && s->filled < s->len) {
            n = s->inner->read(c, s->place + s->filled, s->len - s->filled);
            s->filled += n > 0 ? (uint64_t)n : 0;
        } else {
            n = s->inner->read(c, block, sizeof block);
            take(s, bytes_of(block, n > 0 ? (size_t)n : 0), &out);
        }
    } while (n > 0 && out.len + BLOCK_BYTES + SIPHON_LINE <= size);
    return out.len ? (ssize_t)out.len : n;
}

void siphon_begin(struct siphon *s, struct redisContext *c)
{
    *s = (struct siphon){ .funcs = *c->funcs, .inner = c->funcs };
    s->funcs.read = siphon_read;
    c->funcs = &s->funcs;
}

void siphon_finish(struct siphon *s)
{
    struct siphon_value *v, *next;
    LL_FOREACH_SAFE(s->values, v, next)
    value_destroy(v);
    if (s->coming)
        value_destroy(s->coming);
    s->values = s->coming = NULL;
}

bool siphon_take(struct siphon *s, struct frame *out)
{
    struct siphon_value *v = s->values;
    if (!v)
        return false;
    LL_DELETE(s->values, v);
    frame_move(out, &v->data);
    value_destroy(v);
    return true;
}
