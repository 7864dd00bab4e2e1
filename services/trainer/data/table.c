/* table.c - rows of tables, and their memory. */
#include "services/trainer/data/table.h"

#include <stdlib.h>

static void take_row(const struct table *t, size_t row, float *out)
{
    size_t n = t->features;
    if (t->x) {
        memcpy(out, t->x + row * n, n * sizeof *out);
        return;
    }
    const unsigned char *from = t->pixels + row * n;
    for (size_t i = 0; i < n; i++)
        out[i] = from[i];
}

const float *table_row(const struct table *t, size_t row, float *room)
{
    if (t->x)
        return t->x + row * t->features;
    take_row(t, row, room);
    return room;
}

void table_rows(const struct table *t, const uint32_t *rows, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++)
        take_row(t, rows[i], out + i * t->features);
}

void table_finish(struct table *t)
{
    for (size_t i = 0; i < t->classes_count; i++)
        free(t->classes[i]);
    free(t->classes);
    free(t->x);
    free(t->pixels);
    free(t->y);
    free(t->values);
    *t = (struct table){ 0 };
}
