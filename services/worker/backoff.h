/* backoff.h - the pause before the next try: it doubles with each. */
#ifndef SERVICES_WORKER_BACKOFF_H
#define SERVICES_WORKER_BACKOFF_H

#include <stdint.h>

#define BACKOFF_FIRST_MS 100
#define BACKOFF_LAST_MS  30000

struct backoff {
    uint64_t next_ms; /* 0: as after backoff_reset */
};

static inline void backoff_reset(struct backoff *b)
{
    b->next_ms = 0;
}

/* The pause to make now. */
static inline uint64_t backoff_next(struct backoff *b)
{
    uint64_t pause_ms = b->next_ms ? b->next_ms : BACKOFF_FIRST_MS;
    b->next_ms = pause_ms < BACKOFF_LAST_MS / 2 ? 2 * pause_ms : BACKOFF_LAST_MS;
    return pause_ms;
}

#endif
