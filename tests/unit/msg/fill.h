/* fill.h - for each struct of schema.h: one that is filled at random, and a comparison.
 *
 * Made from the lists themselves, so a field that is added is tested too.
 */
#ifndef TESTS_UNIT_MSG_FILL_H
#define TESTS_UNIT_MSG_FILL_H

#include "common/msg/codec.h"

#include <criterion/criterion.h>
#include <stdlib.h>

/* What the structs borrow from, until fill_finish. */
struct fill {
    void *memory[100000];
    size_t count;
    size_t list_max;       /* elements of a list */
    size_t bytes_max;      /* of a string */
    unsigned zero_percent; /* so many fields stay zero */
};

static inline void fill_finish(struct fill *f)
{
    while (f->count)
        free(f->memory[--f->count]);
}

static inline void *fill_memory(struct fill *f, size_t len)
{
    cr_assert_lt(f->count, sizeof f->memory / sizeof *f->memory);
    return f->memory[f->count++] = calloc(1, len ? len : 1);
}

static inline uint64_t fill_random(void)
{
    uint64_t n = (uint64_t)rand() << 42 ^ (uint64_t)rand() << 21 ^ (uint64_t)rand();
    return n >> rand() % 64; /* every width of integer on the wire */
}

static inline size_t fill_length(size_t limit, size_t most)
{
    size_t max = limit < most ? limit : most;
    return rand() % 8 ? 1 + (size_t)rand() % max : max;
}

static inline void fill_u32(struct fill *f, uint32_t *p, size_t limit)
{
    (void)f;
    (void)limit;
    *p = (uint32_t)fill_random() | 1;
}

static inline void fill_u64(struct fill *f, uint64_t *p, size_t limit)
{
    (void)f;
    (void)limit;
    *p = fill_random() | 1;
}

static inline void fill_f64(struct fill *f, double *p, size_t limit)
{
    static const double odd[] = { 1e-310, 1e308, -1, 0.1, 3.141592653589793 };
    (void)f;
    (void)limit;
    *p = odd[rand() % 5];
}

static inline void fill_boolean(struct fill *f, bool *p, size_t limit)
{
    (void)f;
    (void)limit;
    *p = true;
}

static inline void fill_bin(struct fill *f, struct bytes *p, size_t limit)
{
    size_t len = fill_length(limit, f->bytes_max);
    unsigned char *data = fill_memory(f, len);
    for (size_t i = 0; i < len; i++)
        data[i] = (unsigned char)rand();
    *p = bytes_of(data, len);
}

static inline void fill_str(struct fill *f, struct bytes *p, size_t limit)
{
    fill_bin(f, p, limit);
    for (size_t i = 0; i < p->len; i++)
        if (((const char *)p->data)[i] == 0)
            ((char *)(uintptr_t)p->data)[i] = 'n';
}

static inline void fill_i64s(struct fill *f, struct i64s *p, size_t limit)
{
    size_t count = fill_length(limit, limit);
    int64_t *at = fill_memory(f, count * sizeof *at);
    for (size_t i = 0; i < count; i++)
        at[i] = rand() % 2 ? (int64_t)fill_random() : -(int64_t)(fill_random() >> 1);
    *p = (struct i64s){ at, count };
}

#define FILL_FIELD(S, type, name, tag, limit, doc) \
    if ((unsigned)rand() % 100 >= f->zero_percent) \
        fill_##type(f, &m->name, limit);
#define FILL_LIST(S, element, name, tag, limit, doc)                 \
    if ((unsigned)rand() % 100 >= f->zero_percent) {                 \
        m->name##_count = fill_length(limit, f->list_max);           \
        m->name = fill_memory(f, m->name##_count * sizeof *m->name); \
        for (size_t i = 0; i < m->name##_count; i++)                 \
            fill_struct_##element(f, &m->name[i]);                   \
    }
#define X(struct_name, FIELDS)                                                                \
    static inline void fill_struct_##struct_name(struct fill *f, struct msg_##struct_name *m) \
    {                                                                                         \
        (void)f;                                                                              \
        memset(m, 0, sizeof *m);                                                              \
        FIELDS(FILL_FIELD, FILL_LIST, struct_name)                                            \
    }
STRUCT_LIST(X)
#undef X

#define SAME_u32(a, b)     ((a) == (b))
#define SAME_u64(a, b)     ((a) == (b))
#define SAME_i64(a, b)     ((a) == (b))
#define SAME_f64(a, b)     ((a) == (b))
#define SAME_boolean(a, b) ((a) == (b))
#define SAME_str(a, b)     bytes_equal((a), (b))
#define SAME_bin(a, b)     bytes_equal((a), (b))
#define SAME_i64s(a, b)                                        \
    bytes_equal(bytes_of((a).at, (a).count * sizeof(int64_t)), \
                bytes_of((b).at, (b).count * sizeof(int64_t)))

#define SAME_FIELD(S, type, name, tag, limit, doc) \
    if (!SAME_##type(a->name, b->name))            \
        return #S "." #name;
#define SAME_LIST(S, element, name, tag, limit, doc)                           \
    if (a->name##_count != b->name##_count)                                    \
        return #S "." #name;                                                   \
    for (size_t i = 0; i < a->name##_count; i++) {                             \
        const char *differs = same_struct_##element(&a->name[i], &b->name[i]); \
        if (differs)                                                           \
            return differs;                                                    \
    }
/* NULL, or the name of the field that differs. */
#define X(struct_name, FIELDS)                                                             \
    static inline const char *same_struct_##struct_name(const struct msg_##struct_name *a, \
                                                        const struct msg_##struct_name *b) \
    {                                                                                      \
        (void)a;                                                                           \
        (void)b;                                                                           \
        FIELDS(SAME_FIELD, SAME_LIST, struct_name)                                         \
        return NULL;                                                                       \
    }
STRUCT_LIST(X)
#undef X

/* One of each struct, for tests that take any. */
union any_struct {
#define X(name, FIELDS) struct msg_##name name;
    STRUCT_LIST(X)
#undef X
};

#endif
