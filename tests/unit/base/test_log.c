/* test_log.c - each line is one line, and each JSON line is JSON, whatever is logged. */
#include "common/base/log.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <fcntl.h>
#include <iconv.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Standard error goes to memory while a test logs. */
struct capture {
    int file;
    int stderr_was;
    struct buf text;
};

static void capture_start(struct capture *c)
{
    *c = (struct capture){ .file = memfd_create("log", 0), .stderr_was = dup(STDERR_FILENO) };
    cr_assert_geq(c->file, 0);
    cr_assert_eq(fcntl(c->file, F_SETFL, O_APPEND), 0);
    dup2(c->file, STDERR_FILENO);
}

static const char *capture_end(struct capture *c)
{
    off_t len = lseek(STDERR_FILENO, 0, SEEK_END);
    dup2(c->stderr_was, STDERR_FILENO);
    buf_reserve(&c->text, (size_t)len + 1);
    cr_assert_eq(pread(c->file, c->text.data, (size_t)len, 0), len);
    c->text.len = (size_t)len;
    close(c->file);
    close(c->stderr_was);
    return buf_cstr(&c->text);
}

/* ---- a strict reader of the flat JSON objects that lines are (RFC 8259) ------------------ */

static const char *json_string(const char *p)
{
    if (*p++ != '"')
        return NULL;
    while (*p != '"') {
        if ((unsigned char)*p < 0x20)
            return NULL;
        if (*p++ != '\\')
            continue;
        if (*p == 'u') {
            for (int i = 1; i <= 4; i++)
                if (!isxdigit((unsigned char)p[i]))
                    return NULL;
            p += 5;
        } else if (*p && strchr("\"\\/bfnrt", *p)) {
            p++;
        } else {
            return NULL;
        }
    }
    return p + 1;
}

static const char *json_number(const char *p)
{
    p += *p == '-';
    if (*p == '0')
        p++;
    else if (isdigit((unsigned char)*p))
        while (isdigit((unsigned char)*p))
            p++;
    else
        return NULL;
    if (*p == '.') {
        if (!isdigit((unsigned char)*++p))
            return NULL;
        while (isdigit((unsigned char)*p))
            p++;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '-' || *p == '+';
        if (!isdigit((unsigned char)*p))
            return NULL;
        while (isdigit((unsigned char)*p))
            p++;
    }
    return p;
}

/* Where the object ends, or NULL. */
static const char *json_object(const char *p)
{
    if (*p++ != '{')
        return NULL;
    for (;; p++) {
        p = json_string(p);
        if (!p || *p++ != ':')
            return NULL;
        p = *p == '"' ? json_string(p) : strncmp(p, "true", 4) == 0 ? p + 4 : json_number(p);
        if (!p)
            return NULL;
        if (*p == '}')
            return p + 1;
        if (*p != ',')
            return NULL;
    }
}

static bool is_utf8(const char *text, size_t len)
{
    char out[4 * LOG_LINE_MAX + 64], *to = out, *from = (char *)(uintptr_t)text;
    size_t room = sizeof out;
    iconv_t conversion = iconv_open("UTF-32LE", "UTF-8");
    bool ok = iconv(conversion, &from, &len, &to, &room) != (size_t)-1;
    iconv_close(conversion);
    return ok;
}

static void check_line(const char *line, enum log_format format)
{
    size_t len = strlen(line);
    cr_assert_leq(len, LOG_LINE_MAX);
    cr_assert_eq(strchr(line, '\n'), line + len - 1, "not one line: %s", line);
    for (size_t i = 0; i + 1 < len; i++)
        cr_assert_geq((unsigned char)line[i], 0x20);
    cr_assert(is_utf8(line, len), "not UTF-8: %s", line);
    if (format == LOG_FORMAT_JSON) {
        const char *end = json_object(line);
        cr_assert(end && strcmp(end, "\n") == 0, "not JSON: %s", line);
    }
}

static void check_logged(enum log_format format, const char *event, const struct log_field *fields)
{
    struct capture c;
    log_init("test", format, LOG_DEBUG);
    capture_start(&c);
    log_write(LOG_INFO, event, fields);
    check_line(capture_end(&c), format);
    buf_finish(&c.text);
}

/* ---- the lines --------------------------------------------------------------------------- */

static const char *after_time(const char *line)
{
    const char *level = strstr(line, "level");
    cr_assert_not_null(level);
    return level;
}

Test(log, key_value_line)
{
    struct capture c;
    log_init("gateway", LOG_FORMAT_KV, LOG_INFO);
    capture_start(&c);
    log_warn("engine lost", LOG_S("model", "iris"), LOG_U("version", 2), LOG_I("by", -3),
             LOG_F("after_s", 0.25), LOG_S("why", "a \"b\"=c\n"), LOG_S("empty", ""),
             LOG_S("null", NULL), LOG_B("part", bytes_of("abcdef", 3)));
    cr_assert_str_eq(after_time(capture_end(&c)),
                     "level=warn service=gateway event=\"engine lost\" model=iris version=2 by=-3 "
                     "after_s=0.25 why=\"a \\\"b\\\"=c\\n\" empty=\"\" null=\"\" part=abc\n");
    buf_finish(&c.text);
}

Test(log, json_line)
{
    struct capture c;
    log_init("gateway", LOG_FORMAT_JSON, LOG_INFO);
    capture_start(&c);
    log_error("engine lost", LOG_S("model", "iris"), LOG_U("version", 2), LOG_I("by", -3),
              LOG_F("after_s", 0.25), LOG_S("why", "tab\tquote\" \\ del\x7f"),
              LOG_S("name", "caf\xc3\xa9 \xf0\x9f\x98\x80"));
    const char *line = capture_end(&c);
    check_line(line, LOG_FORMAT_JSON);
    cr_assert_str_eq(after_time(line),
                     "level\":\"error\",\"service\":\"gateway\",\"event\":\"engine lost\","
                     "\"model\":\"iris\",\"version\":2,\"by\":-3,\"after_s\":0.25,"
                     "\"why\":\"tab\\tquote\\\" \\\\ del\\u007f\","
                     "\"name\":\"caf\xc3\xa9 \xf0\x9f\x98\x80\"}\n");
    buf_finish(&c.text);
}

Test(log, lines_below_the_level_are_not_written)
{
    struct capture c;
    log_init("test", LOG_FORMAT_KV, LOG_WARN);
    capture_start(&c);
    log_debug("no");
    log_info("no", LOG_U("n", 1));
    log_warn("yes");
    log_error("yes");
    const char *text = capture_end(&c);
    cr_assert_null(strstr(text, "event=no"));
    cr_assert_not_null(strstr(text, "level=warn"));
    cr_assert_not_null(strstr(text, "level=error"));
    buf_finish(&c.text);
}

Test(log, numbers_that_json_has_not_are_text)
{
    const double odd[] = { NAN, INFINITY, -INFINITY, -0.0, 1e300, 5e-324 };
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        struct log_field fields[] = { LOG_F("x", odd[i]), LOG_U("u", UINT64_MAX),
                                      LOG_I("i", INT64_MIN), LOG_END };
        check_logged(LOG_FORMAT_JSON, "numbers", fields);
        check_logged(LOG_FORMAT_KV, "numbers", fields);
    }
}

Test(log, hostile_values_stay_inside_their_quotes)
{
    static const char *const hostile[] = {
        "\n{\"level\":\"error\"}",
        "\r\n",
        "\x1b[31mred",
        "\xff\xfe\xfd",
        "\xc3",
        "\xe2\x82",
        "\xed\xa0\x80",
        "\xc2\x9b"
        "31m",
        "\\",
        "\"",
        "\\u",
        "x\x7fy",
        "\xf4\x90\x80\x80",
        "=",
    };
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        struct log_field fields[] = { LOG_S("v", hostile[i]), LOG_END };
        check_logged(LOG_FORMAT_JSON, hostile[i], fields);
        check_logged(LOG_FORMAT_KV, hostile[i], fields);
    }
    struct log_field fields[] = { LOG_B("v", bytes_of("a\0b", 3)), LOG_END };
    check_logged(LOG_FORMAT_JSON, "NUL", fields);
    check_logged(LOG_FORMAT_KV, "NUL", fields);
}

Test(log, random_bytes_make_valid_lines)
{
    srand(3);
    for (int round = 0; round < 2000; round++) {
        unsigned char noise[3][3000];
        struct log_field fields[4] = { LOG_END, LOG_END, LOG_END, LOG_END };
        static const char *const keys[] = { "a", "bb", "ccc" };
        for (int i = 0; i < rand() % 4; i++) {
            size_t len = (size_t)rand() % (round % 2 ? 40 : sizeof noise[i]);
            for (size_t n = 0; n < len; n++)
                noise[i][n] = (unsigned char)(rand() % 3 ? 'a' + rand() % 26 : rand());
            fields[i] = LOG_B(keys[i], bytes_of(noise[i], len));
        }
        check_logged(round % 3 ? LOG_FORMAT_JSON : LOG_FORMAT_KV, "noise", fields);
    }
}

/* Every length around the limit, with characters that take 1 to 6 bytes in the line. */
Test(log, a_line_that_is_too_long_is_cut_and_says_so)
{
    static const char *const units[] = {
        "x", "\n", "\xc3\xa9", "\xf0\x9f\x98\x80", "\x01", "\xff"
    };
    static const size_t width[] = { 1, 2, 2, 4, 6, 3 };
    static char value[2 * LOG_LINE_MAX];
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        size_t unit = strlen(units[u]);
        for (size_t count = (LOG_LINE_MAX - 180) / width[u]; count < LOG_LINE_MAX / width[u] + 8;
             count++) {
            for (size_t i = 0; i < count; i++)
                memcpy(value + i * unit, units[u], unit);
            struct log_field fields[] = { LOG_B("value", bytes_of(value, count * unit)),
                                          LOG_U("n", 1), LOG_S("last", "one two"), LOG_END };
            check_logged(LOG_FORMAT_JSON, "long", fields);
            check_logged(LOG_FORMAT_KV, "long", fields);
        }
    }
    for (int format = LOG_FORMAT_KV; format <= LOG_FORMAT_JSON; format++) {
        struct capture c;
        log_init("test", (enum log_format)format, LOG_DEBUG);
        capture_start(&c);
        memset(value, 'v', sizeof value);
        log_info("long", LOG_B("value", bytes_of(value, sizeof value)), LOG_U("lost", 1));
        const char *line = capture_end(&c);
        cr_assert_geq(strlen(line), LOG_LINE_MAX - 40);
        cr_assert_null(strstr(line, "lost"));
        cr_assert(strstr(line, format == LOG_FORMAT_JSON ? ",\"cut\":true}\n" : " cut=true\n"));
        buf_finish(&c.text);
    }
}

static void *log_many(void *arg)
{
    for (int i = 0; i < 500; i++)
        log_info("from a thread", LOG_S("name", arg), LOG_U("i", (uint64_t)i));
    return NULL;
}

Test(log, lines_of_threads_do_not_mix)
{
    struct capture c;
    pthread_t thread[4];
    char names[4][200];
    log_init("test", LOG_FORMAT_JSON, LOG_INFO);
    capture_start(&c);
    for (int t = 0; t < 4; t++) {
        memset(names[t], 'a' + t, sizeof names[t] - 1);
        names[t][sizeof names[t] - 1] = 0;
        pthread_create(&thread[t], NULL, log_many, names[t]);
    }
    for (int t = 0; t < 4; t++)
        pthread_join(thread[t], NULL);
    unsigned lines = 0;
    for (const char *p = capture_end(&c); *p; lines++) {
        p = json_object(p);
        cr_assert(p && *p == '\n');
        p++;
    }
    cr_assert_eq(lines, 2000);
    buf_finish(&c.text);
}
