/* scan.h - looks through MessagePack bytes before anything is allocated for them.
 *
 * A lie in a header of six bytes makes msgpack reserve gigabytes; this finds it first.
 */
#ifndef COMMON_MSG_SCAN_H
#define COMMON_MSG_SCAN_H

#include "common/base/bytes.h"

/* Is this exactly one value, no deeper than MAX_DEPTH, whose declared counts fit the bytes
 * that are there?  Extension types are refused. */
bool msg_scan(struct bytes frame);

#endif
