/* clone.c - deep copies by the tables; see clone.h.
 *
 * Two passes: one measures, one copies.  The struct comes first, then what it borrows, each part
 * at a place that is aligned for any type; strings need none and come last.
 */
#include "common/msg/clone.h"

#include "common/msg/tables.h"

#include <stdalign.h>

/* Where the next part goes. */
struct room {
    char *parts;   /* structs and numbers */
    char *strings; /* bytes */
};

struct sizes {
    size_t parts, strings;
};

static size_t aligned(size_t size)
{
    const size_t unit = alignof(max_align_t);
    return (size + unit - 1) / unit * unit;
}

static size_t list_count(const struct schema_field *f, const char *body)
{
    return *(const size_t *)(const void *)(body + f->count_offset);
}

/* ---- measuring ------------------------------------------------------------------------------ */

/* Adds what a struct borrows. */
static void measure(const struct schema_struct *s, const char *body, struct sizes *sum)
{
    for (const struct schema_field *f = s->fields; f < s->fields + s->count; f++) {
        const void *p = body + f->offset;
        if (f->type == T_str || f->type == T_bin) {
            sum->strings += ((const struct bytes *)p)->len;
        } else if (f->type == T_i64s) {
            sum->parts += aligned(((const struct i64s *)p)->count * sizeof(int64_t));
        } else if (f->type == T_list) {
            const char *first = *(char *const *)p;
            size_t count = list_count(f, body);
            sum->parts += aligned(count * f->nested->size);
            for (size_t i = 0; i < count; i++)
                measure(f->nested, first + i * f->nested->size, sum);
        }
    }
}

/* ---- copying -------------------------------------------------------------------------------- */

static void *take(struct room *room, const void *from, size_t size)
{
    void *to = room->parts;
    if (!size)
        return NULL;
    memcpy(to, from, size);
    room->parts += aligned(size);
    return to;
}

static void take_string(struct room *room, struct bytes *b)
{
    if (!b->len) {
        b->data = NULL;
        return;
    }
    memcpy(room->strings, b->data, b->len);
    b->data = room->strings;
    room->strings += b->len;
}

/* Gives a struct that was copied byte by byte its own strings and lists. */
static void own(const struct schema_struct *s, char *body, struct room *room)
{
    for (const struct schema_field *f = s->fields; f < s->fields + s->count; f++) {
        void *p = body + f->offset;
        if (f->type == T_str || f->type == T_bin) {
            take_string(room, p);
        } else if (f->type == T_i64s) {
            struct i64s *list = p;
            list->at = take(room, list->at, list->count * sizeof *list->at);
        } else if (f->type == T_list) {
            size_t count = list_count(f, body);
            char *first = take(room, *(char **)p, count * f->nested->size);
            *(char **)p = first;
            for (size_t i = 0; i < count; i++)
                own(f->nested, first + i * f->nested->size, room);
        }
    }
}

void *msg_clone(const struct schema_struct *s, const void *body)
{
    struct sizes sum = { .parts = aligned(s->size) };
    measure(s, body, &sum);
    char *memory = mem_alloc(sum.parts + sum.strings);
    struct room room = { memory + aligned(s->size), memory + sum.parts };
    memcpy(memory, body, s->size);
    own(s, memory, &room);
    return memory;
}
