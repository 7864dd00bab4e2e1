/* range.c - see range.h. */
#include "services/gateway/http/range.h"

#include <strings.h>

#define PREFIX "bytes="

/* The digits at *at; false: there are none.  What does not fit counts as the largest number. */
static bool read_number(const char **at, uint64_t *out)
{
    const char *p = *at;
    uint64_t n = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        unsigned digit = (unsigned)(*p - '0');
        n = n > (UINT64_MAX - digit) / 10 ? UINT64_MAX : n * 10 + digit;
    }
    bool some = p != *at;
    *at = p;
    *out = n;
    return some;
}

static enum range last_bytes(uint64_t count, uint64_t size, uint64_t *first, uint64_t *length)
{
    if (count == 0)
        return RANGE_OUTSIDE;
    *length = count < size ? count : size;
    *first = size - *length;
    return RANGE_PART;
}

enum range range_parse(const char *text, uint64_t size, uint64_t *first, uint64_t *length)
{
    uint64_t from, to;
    if (strncasecmp(text, PREFIX, sizeof PREFIX - 1) != 0)
        return RANGE_WHOLE;
    const char *p = text + sizeof PREFIX - 1;
    bool has_from = read_number(&p, &from);
    if (*p++ != '-')
        return RANGE_WHOLE;
    bool has_to = read_number(&p, &to);
    if (*p || (!has_from && !has_to) || (has_from && has_to && to < from))
        return RANGE_WHOLE;
    if (!has_from)
        return last_bytes(to, size, first, length);
    if (from >= size)
        return RANGE_OUTSIDE;
    *first = from;
    *length = has_to && to < size ? to - from + 1 : size - from;
    return RANGE_PART;
}

bool range_tag_matches(const char *list, const char *etag)
{
    size_t len = strlen(etag);
    if (strcmp(list, "*") == 0)
        return true;
    for (const char *p = list; (p = strstr(p, etag)); p++)
        if (p[len] == 0 || p[len] == ',' || p[len] == ' ')
            return true;
    return false;
}
