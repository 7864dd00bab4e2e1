/* words.c - FNV-1a, open addressing, at most half full. */
#include "services/trainer/data/words.h"

#include <stdlib.h>

#define SLOTS_FIRST 64
#define EMPTY       UINT32_MAX

static uint32_t hash_of(struct bytes text)
{
    const unsigned char *p = text.data;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < text.len; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return (uint32_t)(h ^ h >> 32);
}

/* The slot of the word, or the empty one where it belongs. */
static uint32_t *find(const struct words *w, uint32_t hash, struct bytes text)
{
    size_t mask = w->slots_count - 1, at = hash & mask;
    for (;; at = (at + 1) & mask) {
        uint32_t i = w->slots[at];
        if (i == EMPTY)
            return &w->slots[at];
        const struct word *word = &w->list[i];
        if (word->hash == hash && word->len == text.len &&
            memcmp(word->text, text.data, text.len) == 0)
            return &w->slots[at];
    }
}

/* Makes the slots anew from the list. */
static void rehash(struct words *w, size_t slots)
{
    if (slots != w->slots_count) {
        free(w->slots);
        w->slots = mem_alloc(slots * sizeof *w->slots);
        w->slots_count = slots;
        w->list = mem_resize(w->list, slots / 2 * sizeof *w->list);
    }
    memset(w->slots, 0xff, slots * sizeof *w->slots);
    for (size_t i = 0; i < w->count; i++) {
        size_t at = w->list[i].hash & (slots - 1);
        while (w->slots[at] != EMPTY)
            at = (at + 1) & (slots - 1);
        w->slots[at] = (uint32_t)i;
    }
}

uint32_t words_add(struct words *w, struct bytes text, size_t max)
{
    if (!w->slots)
        rehash(w, SLOTS_FIRST);
    uint32_t hash = hash_of(text), *slot = find(w, hash, text);
    if (*slot != EMPTY) {
        w->list[*slot].count++;
        return *slot;
    }
    if (w->count >= max)
        return WORDS_NONE;
    if (w->count == w->slots_count / 2) {
        rehash(w, w->slots_count * 2);
        slot = find(w, hash, text);
    }
    *slot = (uint32_t)w->count;
    w->list[w->count] = (struct word){ mem_str(text), (uint32_t)text.len, hash, 1 };
    return (uint32_t)w->count++;
}

void words_reduce(struct words *w)
{
    size_t kept = 0;
    for (size_t i = 0; i < w->count; i++) {
        if (--w->list[i].count)
            w->list[kept++] = w->list[i];
        else
            free(w->list[i].text);
    }
    w->count = kept;
    rehash(w, w->slots_count);
}

void words_finish(struct words *w)
{
    for (size_t i = 0; i < w->count; i++)
        free(w->list[i].text);
    free(w->list);
    free(w->slots);
    *w = (struct words){ 0 };
}
