/* test_options.c - one table: flags, environment, defaults, help and errors. */
#include "common/base/options.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <stdlib.h>

struct config {
    const char *http;
    uint32_t queue_max;
    uint64_t cache_bytes;
    bool verify;
    const char *log_format;
    const char *log_level;
};

static const struct option rows[] = {
    { "http", OPT_AT(struct config, http), OPT_STR, "127.0.0.1:8080", "address for HTTP" },
    { "queue-max", OPT_AT(struct config, queue_max), OPT_U32, "1024", "waiting requests" },
    { "cache", OPT_AT(struct config, cache_bytes), OPT_BYTES, "2GiB", "artifacts on disk" },
    { "verify", OPT_AT(struct config, verify), OPT_BOOL, "false", "check twice" },
    OPTIONS_LOG(struct config),
    OPTIONS_END
};

static enum status parse(struct config *c, struct error *err, int argc, const char *const *args)
{
    const char *argv[16] = { "maas-test" };
    for (int i = 0; i < argc; i++)
        argv[i + 1] = args[i];
    memset(c, 0xee, sizeof *c);
    return options_parse(rows, "tests options", argc + 1, (char **)(uintptr_t)argv, c, err);
}

#define PARSE(c, err, ...)                                                  \
    parse(c, err, sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *), \
          (const char *[]){ __VA_ARGS__ })

Test(options, defaults_come_from_the_table)
{
    struct config c;
    struct error err;
    cr_assert_eq(parse(&c, &err, 0, NULL), STATUS_OK);
    cr_assert_str_eq(c.http, "127.0.0.1:8080");
    cr_assert_eq(c.queue_max, 1024);
    cr_assert_eq(c.cache_bytes, 2ull << 30);
    cr_assert_eq(c.verify, false);
    cr_assert_str_eq(c.log_format, "kv");
    cr_assert_str_eq(c.log_level, "info");
}

Test(options, the_environment_wins_over_defaults_and_flags_over_both)
{
    struct config c;
    struct error err;
    setenv("MAAS_HTTP", "0.0.0.0:1", 1);
    setenv("MAAS_QUEUE_MAX", "7", 1);
    setenv("MAAS_VERIFY", "1", 1);
    setenv("MAAS_CACHE", "64MiB", 1);
    cr_assert_eq(PARSE(&c, &err, "--queue-max", "9", "--cache=1KiB"), STATUS_OK, "%s", err.text);
    cr_assert_str_eq(c.http, "0.0.0.0:1");
    cr_assert_eq(c.queue_max, 9);
    cr_assert_eq(c.cache_bytes, 1024);
    cr_assert_eq(c.verify, true);
    cr_assert_eq(PARSE(&c, &err, "--verify=false"), STATUS_OK);
    cr_assert_eq(c.verify, false);
    cr_assert_eq(c.cache_bytes, 64u << 20);
}

Test(options, the_last_flag_wins_and_values_may_be_odd)
{
    struct config c;
    struct error err;
    cr_assert_eq(PARSE(&c, &err, "--http=a", "--http", "--b=c", "--verify", "--http=x=y"),
                 STATUS_OK, "%s", err.text);
    cr_assert_str_eq(c.http, "x=y");
    cr_assert(c.verify);
    cr_assert_eq(PARSE(&c, &err, "--http="), STATUS_OK);
    cr_assert_str_eq(c.http, "");
}

static void refuses(const char *what, const char *flag, const char *value)
{
    struct config c;
    struct error err = { .status = STATUS_OK };
    const char *args[] = { flag, value };
    cr_assert_eq(parse(&c, &err, value ? 2 : 1, args), STATUS_INVALID, "%s %s", flag, value);
    cr_assert(strstr(err.text, what), "\"%s\" does not name %s", err.text, what);
}

Test(options, what_is_wrong_is_named)
{
    refuses("--nonsense", "--nonsense", NULL);
    refuses("--queue", "--queue", NULL);
    refuses("--queue-maximum", "--queue-maximum=1", NULL);
    refuses("stray", "stray", NULL);
    refuses("-q", "-q", NULL);
    refuses("--http needs a value", "--http", NULL);
    refuses("--queue-max", "--queue-max", "-1");
    refuses("--queue-max", "--queue-max", "4294967296");
    refuses("--queue-max", "--queue-max", "");
    refuses("--queue-max", "--queue-max", "1.5");
    refuses("--queue-max", "--queue-max", "0x10");
    refuses("--queue-max", "--queue-max", " 1");
    refuses("--queue-max", "--queue-max", "+1");
    refuses("--cache", "--cache", "1TiB");
    refuses("--cache", "--cache", "1kib");
    refuses("--cache", "--cache", "99999999999999999999");
    refuses("--cache", "--cache", "17179869184GiB");
    refuses("--verify", "--verify=yes", NULL);
    refuses("\"--\"", "--", NULL);
}

Test(options, a_bad_environment_is_named)
{
    struct config c;
    struct error err;
    setenv("MAAS_QUEUE_MAX", "many", 1);
    cr_assert_eq(parse(&c, &err, 0, NULL), STATUS_INVALID);
    cr_assert(strstr(err.text, "MAAS_QUEUE_MAX") && strstr(err.text, "many"), "%s", err.text);
}

Test(options, a_bad_default_is_our_bug_and_is_named)
{
    static const struct option bad[] = {
        { "n", OPT_AT(struct config, queue_max), OPT_U32, "x", "a number" }, OPTIONS_END
    };
    struct config c;
    struct error err;
    char *argv[] = { (char *)(uintptr_t)"maas-test" };
    cr_assert_eq(options_parse(bad, "tests", 1, argv, &c, &err), STATUS_INTERNAL);
    cr_assert(strstr(err.text, "--n"), "%s", err.text);
}

Test(options, help_shows_every_row_and_wins_over_errors)
{
    struct config c;
    struct error err;
    char text[8192];
    cr_redirect_stdout();
    FILE *out = cr_get_redirected_stdout();
    cr_assert_eq(PARSE(&c, &err, "--nonsense", "--help"), STATUS_CANCELLED);
    fflush(stdout);
    size_t len = fread(text, 1, sizeof text - 1, out);
    text[len] = 0;
    for (const struct option *r = rows; r->flag; r++) {
        cr_assert(strstr(text, r->flag), "%s is missing in:\n%s", r->flag, text);
        cr_assert(strstr(text, r->help), "%s", r->help);
        cr_assert(strstr(text, r->fallback), "%s", r->fallback);
    }
    cr_assert(strstr(text, "MAAS_QUEUE_MAX"));
    cr_assert(strstr(text, "tests options"));
}

Test(options, bytes_have_units)
{
    uint64_t n;
    cr_assert_eq(options_parse_bytes("0", &n), STATUS_OK);
    cr_assert_eq(n, 0);
    cr_assert_eq(options_parse_bytes("18446744073709551615", &n), STATUS_OK);
    cr_assert_eq(n, UINT64_MAX);
    cr_assert_eq(options_parse_bytes("8GiB", &n), STATUS_OK);
    cr_assert_eq(n, 8ull << 30);
    cr_assert_eq(options_parse_bytes("17179869183GiB", &n), STATUS_OK);
    cr_assert_eq(options_parse_bytes("1 KiB", &n), STATUS_INVALID);
    cr_assert_eq(options_parse_bytes("KiB", &n), STATUS_INVALID);
    cr_assert_eq(options_parse_bytes("", &n), STATUS_INVALID);
    cr_assert_eq(options_parse_bytes("-0", &n), STATUS_INVALID);
}

static void start(const char *first, const char *second)
{
    struct config c;
    const char *argv[] = { "maas-test", first, second };
    cr_redirect_stderr();
    cr_redirect_stdout();
    options_start(rows, "test", "tests", second ? 3 : 2, (char **)(uintptr_t)argv, &c);
}

Test(options, start_ends_with_0_after_help, .exit_code = 0)
{
    start("--help", NULL);
    exit(1);
}

Test(options, start_ends_with_2_on_bad_options, .exit_code = 2)
{
    start("--nonsense", NULL);
}

Test(options, start_ends_with_2_on_a_bad_log_format, .exit_code = 2)
{
    start("--log-format", "xml");
}

Test(options, start_ends_with_2_on_a_bad_log_level, .exit_code = 2)
{
    start("--log-level", "loud");
}

Test(options, start_sets_up_the_log)
{
    start("--log-level", "warn");
    cr_assert(!log_enabled(LOG_INFO));
    cr_assert(log_enabled(LOG_WARN));
}
