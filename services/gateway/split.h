/* split.h - which version gets a request when several share a model's traffic.  Pure.
 *
 * The same key gets the same version as long as the shares stay; when they change, only the keys
 * of the part that changes hands move.
 */
#ifndef SERVICES_GATEWAY_SPLIT_H
#define SERVICES_GATEWAY_SPLIT_H

#include "common/msg/schema.h"

/* Of a request's key within the model: FNV-1a of both, then MurmurHash3's finaliser, so that keys
 * which differ by one character are far apart. */
uint64_t split_hash(struct bytes model, struct bytes key);
/* The place in list (not empty, with weights) that the hash falls on: the shares follow each other
 * in their order, and the hash modulo their sum is a point among them. */
size_t split_pick(const struct msg_share *list, size_t count, uint64_t hash);

#endif
