/* range.h - which bytes of an answer the client wants (RFC 9110 sections 13 and 14).  Pure. */
#ifndef SERVICES_GATEWAY_HTTP_RANGE_H
#define SERVICES_GATEWAY_HTTP_RANGE_H

#include "common/base/bytes.h"

enum range {
    RANGE_WHOLE,   /* no range, one that we do not know, or several: all of it, 200 */
    RANGE_PART,    /* 206 */
    RANGE_OUTSIDE, /* 416 */
};

/* text: the Range field, or empty.  size: of the whole, at least 1.  PART: [*first, *first +
 * *length) lies within. */
enum range range_parse(const char *text, uint64_t size, uint64_t *first, uint64_t *length);

/* Does If-None-Match or If-Range (a list of tags, or *) name this tag?  etag: with its quotes. */
bool range_tag_matches(const char *list, const char *etag);

#endif
