/* pieces.c - see pieces.h. */
#include "services/gateway/pieces.h"

#include <stdlib.h>

static const struct piece *list_of(const struct buf *list, size_t *count)
{
    *count = list->len / sizeof(struct piece);
    return (const struct piece *)(const void *)list->data;
}

bool pieces_add(struct buf *list, const struct msg_upload *page)
{
    for (size_t i = 0; i < page->pieces_count; i++) {
        const struct msg_piece *m = &page->pieces[i];
        struct piece p = { .offset = m->offset, .length = m->length };
        if (m->digest.len != DIGEST_SIZE || !m->length ||
            m->offset >= (uint64_t)MAX_CHUNKS * CHUNK_BYTES ||
            m->offset % CHUNK_BYTES + m->length > CHUNK_BYTES)
            return false;
        memcpy(p.digest.byte, m->digest.data, DIGEST_SIZE);
        buf_append(list, &p, sizeof p);
    }
    return true;
}

/* ---- overlaps ----------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The last of a slot's pieces that has this byte; NULL: none. */
static const struct piece *last_with(const struct piece *slot, size_t count, uint64_t at)
{
    while (count--)
        if (slot[count].offset <= at && at - slot[count].offset < slot[count].length)
            return &slot[count];
    return NULL;
}

/* Appends what counts of [from, to), which one piece has; joins it to the last, if that is of the
 * same piece. */
static void add_part(struct buf *out, const struct piece *p, uint64_t from, uint64_t to)
{
    struct piece *last = out->len ? (struct piece *)(void *)(out->data + out->len) - 1 : NULL;
    if (last && last->offset + last->length == from && digest_equal(&last->digest, &p->digest) &&
        last->offset - last->skip == p->offset) {
        last->length += (uint32_t)(to - from);
        return;
    }
    struct piece part = *p;
    part.offset = from;
    part.length = (uint32_t)(to - from);
    part.skip = (uint32_t)(from - p->offset);
    buf_append(out, &part, sizeof part);
}

/* Between two neighbouring ends of pieces nothing changes. */
static void resolve_slot(const struct piece *slot, size_t count, struct buf *out)
{
    struct buf ends = { 0 };
    for (size_t i = 0; i < count; i++) {
        uint64_t two[2] = { slot[i].offset, slot[i].offset + slot[i].length };
        buf_append(&ends, two, sizeof two);
    }
    uint64_t *end = (uint64_t *)(void *)ends.data;
    qsort(end, 2 * count, sizeof *end, by_number);
    for (size_t i = 0; i + 1 < 2 * count; i++) {
        const struct piece *p = end[i] < end[i + 1] ? last_with(slot, count, end[i]) : NULL;
        if (p)
            add_part(out, p, end[i], end[i + 1]);
    }
    buf_finish(&ends);
}

void pieces_resolve(struct buf *list, size_t from)
{
    struct buf out = { 0 };
    size_t count, first = from / sizeof(struct piece);
    const struct piece *all = list_of(list, &count);
    while (first < count) {
        size_t next = first + 1;
        while (next < count && all[next].offset / CHUNK_BYTES == all[first].offset / CHUNK_BYTES)
            next++;
        if (next == first + 1)
            buf_append(&out, &all[first], sizeof *all);
        else
            resolve_slot(all + first, next - first, &out);
        first = next;
    }
    list->len = from;
    buf_append_bytes(list, buf_bytes(&out));
    buf_finish(&out);
}

/* ---- what a resolved list says ------------------------------------------------------------ */

uint64_t pieces_end(const struct buf *list)
{
    size_t count;
    const struct piece *all = list_of(list, &count);
    return count ? all[count - 1].offset + all[count - 1].length : 0;
}

uint64_t pieces_received(const struct buf *list)
{
    size_t count;
    uint64_t bytes = 0;
    const struct piece *all = list_of(list, &count);
    for (size_t i = 0; i < count; i++)
        bytes += all[i].length;
    return bytes;
}

size_t pieces_missing(const struct buf *list, uint64_t size, struct gap *gaps, size_t max)
{
    size_t count, found = 0;
    uint64_t at = 0;
    const struct piece *all = list_of(list, &count);
    for (size_t i = 0; i <= count && at < size; i++) {
        uint64_t next = i < count && all[i].offset < size ? all[i].offset : size;
        if (next > at && found++ < max)
            gaps[found - 1] = (struct gap){ at, next - at };
        at = i < count ? all[i].offset + all[i].length : size;
    }
    return found;
}

const struct digest *pieces_whole(const struct buf *list, uint64_t size, size_t index, size_t *at)
{
    size_t count;
    const struct piece *all = list_of(list, &count);
    uint64_t begin = (uint64_t)index * CHUNK_BYTES;
    uint64_t left = size > begin ? size - begin : 0;
    while (*at < count && all[*at].offset < begin)
        ++*at;
    if (*at == count || all[*at].offset != begin || all[*at].skip)
        return NULL;
    return all[*at].length == (left < CHUNK_BYTES ? left : CHUNK_BYTES) ? &all[*at].digest : NULL;
}
