/* dataset.c - see dataset.h. */
#include "common/msg/dataset.h"

#include <assert.h>
#include <stdlib.h>

/* Names have no zeros, so a shorter one that begins alike is the lesser. */
static int by_name(const void *a, const void *b)
{
    struct bytes x = (*(const struct msg_file *const *)a)->name;
    struct bytes y = (*(const struct msg_file *const *)b)->name;
    size_t shorter = x.len < y.len ? x.len : y.len;
    int order = shorter ? memcmp(x.data, y.data, shorter) : 0;
    return order ? order : (x.len > y.len) - (x.len < y.len);
}

void dataset_digest(const struct msg_file *files, size_t count, struct digest *out)
{
    const struct msg_file *sorted[MAX_FILES];
    struct buf lines = { 0 };
    assert(count <= MAX_FILES);
    for (size_t i = 0; i < count; i++)
        sorted[i] = &files[i];
    qsort(sorted, count, sizeof *sorted, by_name);
    for (size_t i = 0; i < count; i++) {
        char hex[DIGEST_HEX_SIZE] = "";
        struct digest d;
        if (sorted[i]->digest.len == DIGEST_SIZE) {
            memcpy(d.byte, sorted[i]->digest.data, DIGEST_SIZE);
            digest_hex(&d, hex);
        }
        buf_printf(&lines, "%s  ", hex);
        buf_append_bytes(&lines, sorted[i]->name);
        buf_append_str(&lines, "\n");
    }
    digest_of(buf_bytes(&lines), out);
    buf_finish(&lines);
}
