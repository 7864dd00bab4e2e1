/* memory.c - see memory.h. */
#include "services/worker/memory.h"

#include <stdlib.h>

static bool goes(const struct memory_engine *e)
{
    return e->leaving || e->evict;
}

/* NULL: there is none left. */
static struct memory_engine *longest_unused(struct memory_engine *list, size_t count,
                                            const bool *chosen)
{
    struct memory_engine *oldest = NULL;
    for (size_t i = 0; i < count; i++)
        if (list[i].idle && list[i].bytes && !goes(&list[i]) && !chosen[i] &&
            (!oldest || list[i].used_ms < oldest->used_ms))
            oldest = &list[i];
    return oldest;
}

enum memory_room memory_make_room(struct memory_engine *list, size_t count, uint64_t budget,
                                  uint64_t need)
{
    uint64_t used = 0, staying = 0;
    if (need > budget)
        return MEMORY_NEVER;
    for (size_t i = 0; i < count; i++) {
        used += list[i].bytes;
        staying += goes(&list[i]) ? 0 : list[i].bytes;
    }
    if (used <= budget - need)
        return MEMORY_FITS;
    bool *chosen = mem_zalloc((count + 1) * sizeof *chosen);
    while (staying > budget - need) {
        struct memory_engine *e = longest_unused(list, count, chosen);
        if (!e)
            break;
        chosen[e - list] = true;
        staying -= e->bytes;
    }
    bool enough = staying <= budget - need;
    for (size_t i = 0; i < count && enough; i++)
        list[i].evict |= chosen[i];
    free(chosen);
    return enough ? MEMORY_SOON : MEMORY_FULL;
}

uint64_t memory_estimate(uint64_t known, uint64_t artifact, uint64_t base)
{
    return known ? known : artifact + base;
}

uint64_t memory_reserve(uint64_t used, size_t engines, uint64_t budget)
{
    uint64_t mean = engines ? used / engines : 0;
    return mean <= budget / MEMORY_SHARE_MIN ? mean : 0;
}

void memory_learn(struct memory_base *b, uint64_t bytes, uint64_t artifact)
{
    b->sum += bytes > artifact ? bytes - artifact : 0;
    b->count++;
}

uint64_t memory_base(const struct memory_base *b)
{
    return b->count ? b->sum / b->count : MEMORY_BASE_BYTES;
}
