/* options.h - every option of a service is one row: flag, default, help.
 *
 * The flag "queue-max" is also the environment variable MAAS_QUEUE_MAX; the flag
 * wins over the environment, the environment over the default.  --help is printed
 * from the table.  Values are borrowed from argv, the environment or the table.
 *
 *     struct config { const char *http; uint32_t queue_max; };
 *     static const struct option rows[] = {
 *         { "http", OPT_AT(struct config, http), OPT_STR, "127.0.0.1:8080", "address ..." },
 *         { "queue-max", OPT_AT(struct config, queue_max), OPT_U32, "1024", "waiting ..." },
 *         OPTIONS_END
 *     };
 */
#ifndef COMMON_BASE_OPTIONS_H
#define COMMON_BASE_OPTIONS_H

#include "common/base/log.h"

enum option_type {
    OPT_STR,   /* const char * */
    OPT_U32,   /* uint32_t */
    OPT_BYTES, /* uint64_t; accepts the suffixes KiB, MiB, GiB */
    OPT_BOOL,  /* bool; a flag without a value, or =true/=false */
};

struct option {
    const char *flag;
    size_t offset;
    enum option_type type;
    const char *fallback; /* the default, as text */
    const char *help;
};

#define OPT_AT(type, field) offsetof(type, field)
#define OPTIONS_END         { NULL, 0, OPT_STR, NULL, NULL }

/* Each service has these two; they are read from the same config struct. */
#define OPTIONS_LOG(type)                                                                 \
    { "log-format", OPT_AT(type, log_format), OPT_STR, "kv", "log lines as kv or json" }, \
        { "log-level", OPT_AT(type, log_level), OPT_STR, "info", "debug, info, warn or error" }

/* Fills config from the rows.  INVALID: *err names the option.  CANCELLED: --help
 * was asked for and has been printed to stdout; exit with 0. */
enum status options_parse(const struct option *rows, const char *purpose, int argc, char **argv,
                          void *config, struct error *err) MUST_CHECK;

/* For main.c: parses, starts the log, and ends the process on bad options or --help. */
void options_start(const struct option *rows, const char *service, const char *purpose, int argc,
                   char **argv, void *config);

/* "64MiB", "8GiB", "1000" to bytes.  INVALID: not such a number. */
enum status options_parse_bytes(const char *text, uint64_t *out) MUST_CHECK;

#endif
