/* options.c - flags, environment and --help from one table. */
#include "common/base/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ENV_NAME_MAX 64

static void env_name(const char *flag, char out[ENV_NAME_MAX])
{
    size_t n = (size_t)snprintf(out, ENV_NAME_MAX, "MAAS_%s", flag);
    for (size_t i = 0; i < n && i < ENV_NAME_MAX; i++)
        out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

enum status options_parse_bytes(const char *text, uint64_t *out)
{
    static const struct {
        const char *suffix;
        unsigned shift;
    } units[] = { { "", 0 }, { "KiB", 10 }, { "MiB", 20 }, { "GiB", 30 } };
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || errno || !isdigit((unsigned char)*text))
        return STATUS_INVALID;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(end, units[i].suffix) != 0)
            continue;
        if (value > UINT64_MAX >> units[i].shift)
            return STATUS_INVALID;
        *out = (uint64_t)value << units[i].shift;
        return STATUS_OK;
    }
    return STATUS_INVALID;
}

static enum status store(const struct option *row, const char *text, void *config)
{
    void *at = (char *)config + row->offset;
    uint64_t number = 0;
    switch (row->type) {
    case OPT_STR:
        *(const char **)at = text;
        return STATUS_OK;
    case OPT_U32:
        if (options_parse_bytes(text, &number) || number > UINT32_MAX)
            return STATUS_INVALID;
        *(uint32_t *)at = (uint32_t)number;
        return STATUS_OK;
    case OPT_BYTES:
        return options_parse_bytes(text, (uint64_t *)at);
    case OPT_BOOL:
        *(bool *)at = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
        return *(bool *)at || strcmp(text, "false") == 0 || strcmp(text, "0") == 0 ? STATUS_OK
                                                                                   : STATUS_INVALID;
    }
    return STATUS_INVALID;
}

static void print_help(const struct option *rows, const char *purpose)
{
    printf("%s - %s\n\nOptions (flag, default, environment variable):\n",
           program_invocation_short_name, purpose);
    for (const struct option *r = rows; r->flag; r++) {
        char env[ENV_NAME_MAX];
        env_name(r->flag, env);
        printf("  --%-20s %s\n      default \"%s\", environment %s\n", r->flag, r->help,
               r->fallback, env);
    }
    printf("  --%-20s print this and exit\n", "help");
}

static const struct option *find(const struct option *rows, const char *name, size_t len)
{
    for (const struct option *r = rows; r->flag; r++)
        if (strlen(r->flag) == len && memcmp(r->flag, name, len) == 0)
            return r;
    return NULL;
}

static enum status apply_environment(const struct option *rows, void *config, struct error *err)
{
    for (const struct option *r = rows; r->flag; r++) {
        char env[ENV_NAME_MAX];
        env_name(r->flag, env);
        const char *text = getenv(env);
        if (store(r, r->fallback, config))
            return error_set(err, STATUS_INTERNAL, "--%s has the bad default \"%s\"", r->flag,
                             r->fallback);
        if (text && store(r, text, config))
            return error_set(err, STATUS_INVALID, "%s=\"%s\" is not a value for --%s (%s)", env,
                             text, r->flag, r->help);
    }
    return STATUS_OK;
}

/* One "--flag value", "--flag=value" or "--switch"; *i is moved past what was used. */
static enum status apply_argument(const struct option *rows, int argc, char **argv, int *i,
                                  void *config, struct error *err)
{
    const char *arg = argv[*i];
    if (strncmp(arg, "--", 2) != 0)
        return error_set(err, STATUS_INVALID, "\"%s\" is not an option; see --help", arg);
    const char *equals = strchr(arg, '=');
    size_t len = equals ? (size_t)(equals - arg) - 2 : strlen(arg) - 2;
    const struct option *row = find(rows, arg + 2, len);
    if (!row)
        return error_set(err, STATUS_INVALID, "unknown option \"%s\"; see --help", arg);
    const char *text = equals ? equals + 1 : row->type == OPT_BOOL ? "true" : NULL;
    if (!text && *i + 1 < argc)
        text = argv[++*i];
    if (!text)
        return error_set(err, STATUS_INVALID, "--%s needs a value (%s)", row->flag, row->help);
    if (store(row, text, config))
        return error_set(err, STATUS_INVALID, "\"%s\" is not a value for --%s (%s)", text,
                         row->flag, row->help);
    return STATUS_OK;
}

enum status options_parse(const struct option *rows, const char *purpose, int argc, char **argv,
                          void *config, struct error *err)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_help(rows, purpose);
            return STATUS_CANCELLED;
        }
    }
    enum status st = apply_environment(rows, config, err);
    for (int i = 1; i < argc && !st; i++)
        st = apply_argument(rows, argc, argv, &i, config, err);
    return st;
}

/* The index of text in the list, or die: a bad log option is a start-up error like any other. */
static int one_of(const char *flag, const char *text, const char *const *list, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(text, list[i]) == 0)
            return i;
    die("\"%s\" is not a value for --%s; see --help", text, flag);
}

static const char *text_option(const struct option *rows, const char *flag, const void *config)
{
    const struct option *row = find(rows, flag, strlen(flag));
    return row ? *(const char *const *)((const char *)config + row->offset) : NULL;
}

void options_start(const struct option *rows, const char *service, const char *purpose, int argc,
                   char **argv, void *config)
{
    static const char *const formats[] = { "kv", "json" };
    static const char *const levels[] = { "debug", "info", "warn", "error" };
    struct error err;
    enum status st = options_parse(rows, purpose, argc, argv, config, &err);
    if (st == STATUS_CANCELLED)
        exit(0);
    if (st)
        die("%s", err.text);
    const char *format = text_option(rows, "log-format", config);
    const char *level = text_option(rows, "log-level", config);
    log_init(service, format ? (enum log_format)one_of("log-format", format, formats, 2) : 0,
             level ? (enum log_level)one_of("log-level", level, levels, 4) : LOG_INFO);
}
