/* log.c - formats a line on the stack and writes it in one piece. */
#include "common/base/log.h"

#include "common/base/clock.h"

#include <stdio.h>
#include <unistd.h>

static struct {
    const char *service;
    enum log_format format;
    enum log_level least;
} logger = { "maas", LOG_FORMAT_KV, LOG_INFO };

static const char *const level_names[] = { "debug", "info", "warn", "error" };

struct line {
    char text[LOG_LINE_MAX];
    size_t len;
};

static void put(struct line *l, const char *s, size_t len)
{
    size_t room = sizeof l->text - 1 - l->len; /* one byte stays for the newline */
    if (len > room)
        len = room;
    memcpy(l->text + l->len, s, len);
    l->len += len;
}

static void put_str(struct line *l, const char *s)
{
    put(l, s, strlen(s));
}

/* JSON string escapes (RFC 8259 section 7); key=value lines quote in the same way. */
static void put_quoted(struct line *l, struct bytes b)
{
    const unsigned char *p = b.data;
    put_str(l, "\"");
    for (size_t i = 0; i < b.len; i++) {
        char escape[8];
        if (p[i] == '"' || p[i] == '\\')
            snprintf(escape, sizeof escape, "\\%c", p[i]);
        else if (p[i] == '\n')
            snprintf(escape, sizeof escape, "\\n");
        else if (p[i] < 0x20 || p[i] == 0x7f)
            snprintf(escape, sizeof escape, "\\u%04x", p[i]);
        else
            snprintf(escape, sizeof escape, "%c", p[i]);
        put_str(l, escape);
    }
    put_str(l, "\"");
}

static bool plain(struct bytes b)
{
    const unsigned char *p = b.data;
    for (size_t i = 0; i < b.len; i++)
        if (p[i] <= ' ' || p[i] == '"' || p[i] == '=' || p[i] == '\\' || p[i] >= 0x7f)
            return false;
    return b.len > 0;
}

static void put_value(struct line *l, const struct log_field *f)
{
    char number[32];
    switch (f->type) {
    case LOG_FIELD_STR:
        if (logger.format == LOG_FORMAT_KV && plain(f->v.str))
            put(l, f->v.str.data, f->v.str.len);
        else
            put_quoted(l, f->v.str);
        return;
    case LOG_FIELD_U64:
        snprintf(number, sizeof number, "%llu", (unsigned long long)f->v.u64);
        break;
    case LOG_FIELD_I64:
        snprintf(number, sizeof number, "%lld", (long long)f->v.i64);
        break;
    case LOG_FIELD_F64:
        snprintf(number, sizeof number, "%.6g", f->v.f64);
        break;
    }
    put_str(l, number);
}

static void put_field(struct line *l, const struct log_field *f)
{
    if (logger.format == LOG_FORMAT_JSON) {
        put_str(l, l->len ? "," : "{");
        put_quoted(l, bytes_str(f->key));
        put_str(l, ":");
    } else {
        put_str(l, l->len ? " " : "");
        put_str(l, f->key);
        put_str(l, "=");
    }
    put_value(l, f);
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
    struct line l = { .len = 0 };
    char when[CLOCK_TEXT_SIZE];
    clock_text(clock_wall_ms(), when);
    put_field(&l, &LOG_S("time", when));
    put_field(&l, &LOG_S("level", level_names[level]));
    put_field(&l, &LOG_S("service", logger.service));
    put_field(&l, &LOG_S("event", event));
    for (const struct log_field *f = fields; f->key; f++)
        put_field(&l, f);
    if (logger.format == LOG_FORMAT_JSON)
        put_str(&l, "}");
    l.text[l.len++] = '\n';
    ssize_t done = write(STDERR_FILENO, l.text, l.len);
    (void)done; /* nobody is left to tell */
}
