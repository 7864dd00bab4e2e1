/* tar.c - see tar.h.  Offsets and lengths of the header's fields are the standard's. */
#include "services/gateway/tar.h"

#include <stdio.h>

#define NAME_AT     0
#define MODE_AT     100
#define SIZE_AT     124
#define SIZE_LEN    12
#define TIME_AT     136
#define SUM_AT      148
#define SUM_LEN     8
#define TYPE_AT     156
#define MAGIC_AT    257
#define PREFIX_AT   345
#define TYPE_FILE   '0'
#define TYPE_FOLDER '5'

/* Of all bytes, those of the sum itself as blanks. */
static unsigned sum_of(const unsigned char block[TAR_BLOCK])
{
    unsigned sum = SUM_LEN * ' ';
    for (size_t i = 0; i < TAR_BLOCK; i++)
        if (i < SUM_AT || i >= SUM_AT + SUM_LEN)
            sum += block[i];
    return sum;
}

void tar_header(unsigned char block[TAR_BLOCK], const char *name, uint64_t size)
{
    char *b = (char *)block;
    memset(block, 0, TAR_BLOCK);
    snprintf(b + NAME_AT, TAR_NAME_MAX, "%s", name);
    snprintf(b + MODE_AT, 24, "%07o", 0600u);
    snprintf(b + SIZE_AT, SIZE_LEN, "%011llo", (unsigned long long)size);
    snprintf(b + TIME_AT, SIZE_LEN, "%011o", 0u);
    block[TYPE_AT] = TYPE_FILE;
    memcpy(b + MAGIC_AT, "ustar\00000", 8);
    snprintf(b + SUM_AT, SUM_LEN, "%06o", sum_of(block));
    block[SUM_AT + 7] = ' ';
}

size_t tar_padding(uint64_t size)
{
    return (size_t)((TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK);
}

/* ---- reading ------------------------------------------------------------------------------ */

/* Octal digits, ended by a NUL, a blank or the field's end. */
static bool read_octal(const unsigned char *p, size_t len, uint64_t *out)
{
    size_t i = 0;
    *out = 0;
    while (i < len && p[i] == ' ')
        i++;
    size_t first = i;
    for (; i < len && p[i] >= '0' && p[i] <= '7'; i++)
        *out = *out << 3 | (uint64_t)(p[i] - '0');
    return i > first && (i == len || p[i] == 0 || p[i] == ' ');
}

static bool is_zero(const unsigned char block[TAR_BLOCK])
{
    for (size_t i = 0; i < TAR_BLOCK; i++)
        if (block[i])
            return false;
    return true;
}

/* "./name" is "name": that is how people pack a folder again. */
static void read_name(const unsigned char block[TAR_BLOCK], char name[TAR_NAME_MAX + 1])
{
    const char *from = (const char *)block + NAME_AT;
    size_t len = strnlen(from, TAR_NAME_MAX);
    size_t skip = len > 2 && from[0] == '.' && from[1] == '/' ? 2 : 0;
    memcpy(name, from + skip, len - skip);
    name[len - skip] = 0;
}

static enum status begin_file(struct tar_reader *t, struct error *err)
{
    char name[TAR_NAME_MAX + 1];
    uint64_t sum, size;
    const unsigned char *b = t->block;
    if (is_zero(b)) {
        t->ended = true;
        return STATUS_OK;
    }
    if (t->ended || !read_octal(b + SUM_AT, SUM_LEN, &sum) || sum != sum_of(b) ||
        !read_octal(b + SIZE_AT, SIZE_LEN, &size) || memcmp(b + MAGIC_AT, "ustar", 5) != 0)
        return error_set(err, STATUS_INVALID, "this is no tar archive, or it is damaged");
    read_name(b, name);
    if (b[TYPE_AT] == TYPE_FOLDER && size == 0)
        return STATUS_OK;
    if ((b[TYPE_AT] != TYPE_FILE && b[TYPE_AT] != 0) || b[PREFIX_AT])
        return error_set(err, STATUS_INVALID, "the archive has something else than files: '%s'",
                         name);
    t->left = size;
    t->padding = tar_padding(size);
    enum status st = t->events->file(t->arg, name, size, err);
    if (!st && !size)
        st = t->events->data(t->arg, bytes_of(NULL, 0), err);
    return st;
}

static size_t least(uint64_t a, size_t b)
{
    return a < b ? (size_t)a : b;
}

/* What comes next of data: a part of a header, of a file or of its padding. */
static enum status take(struct tar_reader *t, struct bytes data, size_t *used, struct error *err)
{
    enum status st = STATUS_OK;
    if (t->left) {
        *used = least(t->left, data.len);
        t->left -= *used;
        st = t->events->data(t->arg, bytes_of(data.data, *used), err);
        if (!st && !t->left)
            st = t->events->data(t->arg, bytes_of(NULL, 0), err);
    } else if (t->padding) {
        *used = least(t->padding, data.len);
        t->padding -= *used;
    } else {
        *used = least(TAR_BLOCK - t->block_len, data.len);
        memcpy(t->block + t->block_len, data.data, *used);
        t->block_len += *used;
        if (t->block_len == TAR_BLOCK) {
            t->block_len = 0;
            st = begin_file(t, err);
        }
    }
    return st;
}

void tar_start(struct tar_reader *t, const struct tar_events *events, void *arg)
{
    *t = (struct tar_reader){ .events = events, .arg = arg };
}

enum status tar_feed(struct tar_reader *t, struct bytes data, struct error *err)
{
    enum status st = STATUS_OK;
    while (data.len && !st) {
        size_t used = 0;
        st = take(t, data, &used, err);
        data = bytes_of((const char *)data.data + used, data.len - used);
    }
    return st;
}

bool tar_complete(const struct tar_reader *t)
{
    return t->ended && !t->left && !t->padding && !t->block_len;
}
