/* log.h - one line per event, key=value or JSON, to stderr.
 *
 *     log_info("engine ready", LOG_S("model", name), LOG_U("version", 2));
 *
 * A line is written with one write(2), so lines of several threads do not mix.
 * common/ logs nothing above debug; a service logs once, where it decides.
 */
#ifndef COMMON_BASE_LOG_H
#define COMMON_BASE_LOG_H

#include "common/base/bytes.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_FORMAT_KV, LOG_FORMAT_JSON };

#define LOG_LINE_MAX 4096 /* bytes; a longer line is cut, ends well, and says cut=true */

struct log_field {
    const char *key;
    enum { LOG_FIELD_STR, LOG_FIELD_U64, LOG_FIELD_I64, LOG_FIELD_F64 } type;
    union {
        struct bytes str;
        uint64_t u64;
        int64_t i64;
        double f64;
    } v;
};

#define LOG_S(k, s) ((struct log_field){ (k), LOG_FIELD_STR, { .str = bytes_str(s) } })
#define LOG_B(k, b) ((struct log_field){ (k), LOG_FIELD_STR, { .str = (b) } })
#define LOG_U(k, n) ((struct log_field){ (k), LOG_FIELD_U64, { .u64 = (n) } })
#define LOG_I(k, n) ((struct log_field){ (k), LOG_FIELD_I64, { .i64 = (n) } })
#define LOG_F(k, x) ((struct log_field){ (k), LOG_FIELD_F64, { .f64 = (x) } })
#define LOG_END     ((struct log_field){ 0 })

/* service: the name that each line carries; borrowed. */
void log_init(const char *service, enum log_format format, enum log_level least);
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *event, const struct log_field *fields);

#define log_at(level, event, ...)                                                  \
    do {                                                                           \
        if (log_enabled(level))                                                    \
            log_write((level), (event),                                            \
                      (struct log_field[]){ __VA_ARGS__ __VA_OPT__(, ) LOG_END }); \
    } while (0)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)

#endif
