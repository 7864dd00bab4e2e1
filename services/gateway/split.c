/* split.c - see split.h. */
#include "services/gateway/split.h"

#include <assert.h>

/* http://www.isthe.com/chongo/tech/comp/fnv: the 64-bit offset basis and prime. */
#define FNV_BASIS 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

static uint64_t fnv(uint64_t hash, struct bytes text)
{
    const unsigned char *p = text.data;
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ p[i]) * FNV_PRIME;
    return hash;
}

/* fmix64 of MurmurHash3 (Austin Appleby, public domain). */
static uint64_t mix(uint64_t h)
{
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

uint64_t split_hash(struct bytes model, struct bytes key)
{
    return mix(fnv(fnv(FNV_BASIS, model) * FNV_PRIME, key)); /* between them, a byte 0 */
}

size_t split_pick(const struct msg_share *list, size_t count, uint64_t hash)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += list[i].weight;
    assert(count && sum);
    uint64_t point = hash % sum;
    size_t place = 0;
    while (point >= list[place].weight)
        point -= list[place++].weight;
    return place;
}
