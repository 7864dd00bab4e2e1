/* recent.h - how many things happened in the last minute, in slots of five seconds.  Pure. */
#ifndef SERVICES_GATEWAY_RECENT_H
#define SERVICES_GATEWAY_RECENT_H

#include <stdint.h>
#include <string.h>

#define RECENT_SLOTS   13 /* a minute, and the slot that has begun */
#define RECENT_SLOT_US 5000000u

struct recent {
    uint64_t slot; /* of the last one counted: its time divided by RECENT_SLOT_US */
    uint32_t counts[RECENT_SLOTS];
};

/* Empties the slots that time has passed since. */
static inline void recent_turn(struct recent *r, uint64_t slot)
{
    if (slot - r->slot >= RECENT_SLOTS)
        memset(r->counts, 0, sizeof r->counts);
    else
        while (r->slot < slot)
            r->counts[++r->slot % RECENT_SLOTS] = 0;
    r->slot = slot;
}

static inline void recent_add(struct recent *r, uint64_t now_us)
{
    uint64_t slot = now_us / RECENT_SLOT_US;
    if (slot > r->slot)
        recent_turn(r, slot);
    r->counts[r->slot % RECENT_SLOTS]++;
}

static inline uint64_t recent_sum(struct recent *r, uint64_t now_us)
{
    uint64_t sum = 0, slot = now_us / RECENT_SLOT_US;
    if (slot > r->slot)
        recent_turn(r, slot);
    for (int i = 0; i < RECENT_SLOTS; i++)
        sum += r->counts[i];
    return sum;
}

#endif
