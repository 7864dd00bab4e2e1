/* rendezvous.c - highest random weight: FNV-1a of what is hashed, mixed by splitmix64's end. */
#include "services/gateway/rendezvous.h"

#define FNV_BEGIN 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

static uint64_t add(uint64_t hash, struct bytes b)
{
    const unsigned char *p = b.data;
    for (size_t i = 0; i < b.len; i++)
        hash = (hash ^ p[i]) * FNV_PRIME;
    return (hash ^ 0xff) * FNV_PRIME; /* the end of a part: no name has this byte */
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint64_t rendezvous_score(struct bytes host, struct bytes model, uint32_t version)
{
    return mix(add(add(FNV_BEGIN, host), model) ^ mix(version));
}

/* How many are asked before this one. */
static size_t rank_of(const uint64_t *scores, size_t count, size_t i)
{
    size_t before = 0;
    for (size_t k = 0; k < count; k++)
        before += scores[k] > scores[i] || (scores[k] == scores[i] && k < i);
    return before;
}

size_t rendezvous_pick(const uint64_t *scores, size_t count, size_t turn)
{
    size_t i = 0;
    while (i + 1 < count && rank_of(scores, count, i) != turn % count)
        i++;
    return i;
}
