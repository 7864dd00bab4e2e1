/* status.h - the vocabulary of failure.
 *
 * Every function that can fail for a reason other than our own bug returns
 * enum status.  A bug of ours is an assert; a peer's bad input is a status and
 * a counter.  STATUS_OK is 0, so `if (st)` reads "if it failed".
 */
#ifndef COMMON_BASE_STATUS_H
#define COMMON_BASE_STATUS_H

#include <stdbool.h>

#define MUST_CHECK             __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* X(name, number on the wire, HTTP status (RFC 9110), worth a retry, text)
 * Append only: the numbers travel between processes. */
#define STATUS_LIST(X)                                    \
    X(OK, 0, 200, false, "ok")                            \
    X(INVALID, 1, 400, false, "invalid")                  \
    X(NOT_FOUND, 2, 404, false, "not found")              \
    X(CONFLICT, 3, 409, false, "conflict")                \
    X(TOO_LARGE, 4, 413, false, "too large")              \
    X(UNSUPPORTED, 5, 415, false, "unsupported")          \
    X(POISON, 6, 422, false, "request crashes its model") \
    X(BUSY, 7, 429, true, "busy")                         \
    X(INTERNAL, 8, 500, false, "internal error")          \
    X(UNAVAILABLE, 9, 503, true, "unavailable")           \
    X(TIMEOUT, 10, 504, true, "deadline passed")          \
    X(CANCELLED, 11, 499, false, "cancelled")             \
    X(CORRUPT, 12, 500, false, "digest mismatch")         \
    X(IO, 13, 500, true, "input/output error")            \
    X(FULL, 14, 507, true, "storage full")

enum status {
#define X(name, number, http, retry, text) STATUS_##name = number,
    STATUS_LIST(X)
#undef X
        STATUS_COUNT
};

const char *status_text(enum status st);
const char *status_name(enum status st); /* "NOT_FOUND" */
int status_http(enum status st);
bool status_retryable(enum status st);
enum status status_from_wire(unsigned number); /* unknown numbers become INTERNAL */

/* A failure with the sentence that a person will read.  The sentence names what
 * is wrong and, where there is one, what to do next.  It is UTF-8, whatever it quotes. */
#define ERROR_TEXT_MAX 480

struct error {
    enum status status;
    char text[ERROR_TEXT_MAX];
};

/* Fills *err (which may be NULL) and returns st, so that a failing function
 * can end with `return error_set(err, STATUS_INVALID, "...", ...);`. */
enum status error_set(struct error *err, enum status st, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Start-up only, main.c only: prints "name: text" to stderr and exits with 2. */
_Noreturn void die(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
