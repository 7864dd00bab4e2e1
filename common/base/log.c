/* log.c - formats a line on the stack and writes it in one piece. */
#include "common/base/log.h"

#include "common/base/clock.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

static struct {
    const char *service;
    enum log_format format;
    enum log_level least;
} logger = { "maas", LOG_FORMAT_KV, LOG_INFO };

static const char *const level_names[] = { "debug", "info", "warn", "error" };

/* Once something did not fit, nothing more is added: what is there already ends well. */
struct line {
    char text[LOG_LINE_MAX];
    size_t len;
    size_t limit; /* of len; the rest is kept for closing what is open */
    bool cut;
};

static void put(struct line *l, const char *s, size_t len)
{
    if (len > l->limit - l->len)
        l->cut = true;
    if (l->cut)
        return;
    memcpy(l->text + l->len, s, len);
    l->len += len;
}

static void put_str(struct line *l, const char *s)
{
    put(l, s, strlen(s));
}

/* One character of b within quotes; returns how many bytes of b it took.  JSON's escapes
 * (RFC 8259 section 7); key=value lines quote in the same way.  C1 controls are escaped as
 * well, for the sake of terminals. */
static size_t put_escaped(struct line *l, struct bytes b)
{
    const unsigned char *p = b.data;
    size_t len = bytes_utf8(b);
    char escape[8];
    if (len == 0) {
        put_str(l, "\xef\xbf\xbd"); /* U+FFFD stands for what is no UTF-8 */
        return 1;
    }
    if (*p == '"' || *p == '\\')
        snprintf(escape, sizeof escape, "\\%c", *p);
    else if (*p == '\n')
        snprintf(escape, sizeof escape, "\\n");
    else if (*p == '\t')
        snprintf(escape, sizeof escape, "\\t");
    else if (*p < 0x20 || *p == 0x7f)
        snprintf(escape, sizeof escape, "\\u%04x", *p);
    else if (*p == 0xc2 && p[1] < 0xa0)
        snprintf(escape, sizeof escape, "\\u%04x", p[1]);
    else {
        put(l, b.data, len);
        return len;
    }
    put_str(l, escape);
    return len;
}

static void put_quoted(struct line *l, struct bytes b)
{
    if (l->limit - l->len < 2)
        l->cut = true;
    if (l->cut)
        return;
    l->text[l->len++] = '"';
    l->limit--;
    while (b.len && !l->cut) {
        size_t taken = put_escaped(l, b);
        b = bytes_of((const char *)b.data + taken, b.len - taken);
    }
    l->limit++;
    l->text[l->len++] = '"';
}

static bool plain(struct bytes b)
{
    const unsigned char *p = b.data;
    for (size_t i = 0; i < b.len; i++)
        if (p[i] <= ' ' || p[i] == '"' || p[i] == '=' || p[i] == '\\' || p[i] >= 0x7f)
            return false;
    return b.len > 0;
}

static void put_text(struct line *l, struct bytes b)
{
    if (logger.format == LOG_FORMAT_JSON || !plain(b)) {
        put_quoted(l, b);
        return;
    }
    for (size_t i = 0; i < b.len; i++)
        put(l, (const char *)b.data + i, 1);
}

static void put_value(struct line *l, const struct log_field *f)
{
    char number[32];
    switch (f->type) {
    case LOG_FIELD_STR:
        put_text(l, f->v.str);
        return;
    case LOG_FIELD_U64:
        snprintf(number, sizeof number, "%llu", (unsigned long long)f->v.u64);
        break;
    case LOG_FIELD_I64:
        snprintf(number, sizeof number, "%lld", (long long)f->v.i64);
        break;
    case LOG_FIELD_F64:
        snprintf(number, sizeof number, "%.6g", f->v.f64);
        if (!isfinite(f->v.f64)) { /* JSON has no number for it */
            put_text(l, bytes_str(number));
            return;
        }
        break;
    }
    put_str(l, number);
}

static void put_field(struct line *l, const struct log_field *f)
{
    size_t before = l->len;
    if (logger.format == LOG_FORMAT_JSON) {
        put_str(l, l->len ? "," : "{");
        put_quoted(l, bytes_str(f->key));
        put_str(l, ":");
    } else {
        put_str(l, l->len ? " " : "");
        put_str(l, f->key);
        put_str(l, "=");
    }
    size_t key_end = l->len;
    put_value(l, f);
    if (l->cut && l->len == key_end)
        l->len = before; /* a key alone is no field */
}

void log_init(const char *service, enum log_format format, enum log_level least)
{
    logger.service = service;
    logger.format = format;
    logger.least = least;
}

bool log_enabled(enum log_level level)
{
    return level >= logger.least;
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    bool json = logger.format == LOG_FORMAT_JSON;
    const char *end = json ? "}\n" : "\n";
    const char *cut_end = json ? ",\"cut\":true}\n" : " cut=true\n";
    struct line l;
    char when[CLOCK_TEXT_SIZE];
    l.len = 0;
    l.cut = false;
    l.limit = sizeof l.text - strlen(cut_end);
    clock_text(clock_wall_ms(), when);
    put_field(&l, &LOG_S("time", when));
    put_field(&l, &LOG_S("level", level_names[level]));
    put_field(&l, &LOG_S("service", logger.service));
    put_field(&l, &LOG_S("event", event));
    for (const struct log_field *f = fields; f->key; f++)
        put_field(&l, f);
    if (l.cut)
        end = cut_end;
    memcpy(l.text + l.len, end, strlen(end));
    l.len += strlen(end);
    ssize_t done = write(STDERR_FILENO, l.text, l.len);
    (void)done; /* nobody is left to tell */
}
