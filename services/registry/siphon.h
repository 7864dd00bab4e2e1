/* siphon.h - the values of chunks past hiredis, straight into the memory that they are sent from.
 *
 * hiredis takes 16 KiB with each turn of the loop and copies what it has read twice more.  A siphon
 * sits between hiredis and its connection: a bulk string of SIPHON_MIN bytes up to a chunk is read
 * to its place, and hiredis is told, in its stead, the integer that is its length.  Everything else
 * passes as it came.  So answers keep their order: who gets an integer for a value takes the value.
 * Not over TLS, where hiredis lets a write wait for ever behind a read that found nothing.  Loop thread
 * only.
 */
#ifndef SERVICES_REGISTRY_SIPHON_H
#define SERVICES_REGISTRY_SIPHON_H

#include "common/net/frame.h"

#include <hiredis/hiredis.h>

#define SIPHON_MIN  16384u /* bytes; less is no trouble for hiredis */
#define SIPHON_LINE 32     /* bytes of a line that may be the head of a bulk string */

struct siphon_value {
    struct frame data;
    struct siphon_value *next;
};

/* Private.  Zeroed: it has no connection. */
struct siphon {
    redisContextFuncs funcs; /* first: those of the connection, but for `read` */
    const redisContextFuncs *inner;
    char line[SIPHON_LINE];
    size_t line_len;             /* of the line that has begun */
    bool long_line;              /* it is no head of a bulk string; its begin has passed */
    uint64_t pass;               /* bytes that pass without being looked at */
    struct siphon_value *coming; /* the value that comes in, or NULL */
    char *place;                 /* of it */
    uint64_t len, filled;        /* of it; filled counts the end of line behind it, too */
    struct siphon_value *values; /* whole, in their order */
};

/* From now on the connection's answers come through s, which must live as long as it does. */
void siphon_begin(struct siphon *s, struct redisContext *c);
/* The connection is at its end: drops the values that nobody has taken.  Zeroed is fine. */
void siphon_finish(struct siphon *s);
/* The first value that was not taken yet moves to out (initialised); false: there is none. */
bool siphon_take(struct siphon *s, struct frame *out);

#endif
