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
#define MAGIC_LEN   6 /* with its NUL; GNU tar's own has a blank there, and no prefix */
#define PREFIX_AT   345
#define PREFIX_LEN  155
#define TYPE_FILE   '0'
#define TYPE_FOLDER '5'
#define TYPE_PAX    'x' /* of the next file */
#define TYPE_GLOBAL 'g' /* of all that follow */
#define BASE_256    0x80

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

/* Octal, or, as GNU tar writes what is too large for that, a number of 11 bytes. */
static bool read_size(const unsigned char *p, uint64_t *out)
{
    if (p[0] != BASE_256)
        return read_octal(p, SIZE_LEN, out);
    *out = 0;
    for (size_t i = 1; i < SIZE_LEN; i++) {
        if (*out >> 55)
            return false;
        *out = *out << 8 | p[i];
    }
    return true;
}

static bool is_zero(const unsigned char block[TAR_BLOCK])
{
    for (size_t i = 0; i < TAR_BLOCK; i++)
        if (block[i])
            return false;
    return true;
}

/* "./name" is "name": that is how people pack a folder again. */
static void read_name(const struct tar_reader *t, char name[TAR_PATH_MAX + 1])
{
    const char *block = (const char *)t->block, *from = name;
    const char *prefix = block + PREFIX_AT, *last = block + NAME_AT;
    bool prefixed = *prefix && memcmp(block + MAGIC_AT, "ustar", MAGIC_LEN) == 0;
    if (t->path[0])
        from = t->path;
    else
        snprintf(name, TAR_PATH_MAX + 1, "%.*s%s%.*s", prefixed ? PREFIX_LEN : 0, prefix,
                 prefixed ? "/" : "", TAR_NAME_MAX, last);
    size_t skip = from[0] == '.' && from[1] == '/' && from[2] ? 2 : 0;
    memmove(name, from + skip, strlen(from + skip) + 1);
}

/* ---- pax headers -------------------------------------------------------------------------- */

static enum status damaged(struct error *err)
{
    return error_set(err, STATUS_INVALID, "this is no tar archive, or it is damaged");
}

/* Decimal digits, at least one. */
static bool read_decimal(const char *p, size_t len, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < len; i++) {
        if (p[i] < '0' || p[i] > '9' || *out > UINT64_MAX / 10 - 1)
            return false;
        *out = *out * 10 + (uint64_t)(p[i] - '0');
    }
    return len > 0;
}

static enum status take_record(struct tar_reader *t, struct bytes key, struct bytes value,
                               struct error *err)
{
    static const char sparse[] = "GNU.sparse"; /* what follows is not the file's data */
    if (bytes_equal_str(key, "path") && bytes_copy_str(value, t->path, sizeof t->path))
        return error_set(err, STATUS_INVALID, "a name in the archive has more than %d bytes",
                         TAR_PATH_MAX);
    if (bytes_equal_str(key, "size") && !read_decimal(value.data, value.len, &t->size))
        return damaged(err);
    if (key.len >= sizeof sparse - 1 && memcmp(key.data, sparse, sizeof sparse - 1) == 0)
        return error_set(err, STATUS_INVALID, "the archive has sparse files; pack it without");
    return STATUS_OK;
}

/* "LENGTH KEY=VALUE\n" each; the length is that of all of it. */
static enum status take_pax(struct tar_reader *t, struct error *err)
{
    const char *at = t->pax, *end = at + t->pax_len;
    while (at < end) {
        const char *blank = memchr(at, ' ', (size_t)(end - at));
        uint64_t len;
        if (!blank || !read_decimal(at, (size_t)(blank - at), &len) || len > (uint64_t)(end - at) ||
            len < (uint64_t)(blank - at) + 3 || at[len - 1] != '\n')
            return damaged(err);
        const char *key = blank + 1, *stop = at + len - 1;
        const char *equals = memchr(key, '=', (size_t)(stop - key));
        if (!equals)
            return damaged(err);
        enum status st = take_record(t, bytes_of(key, (size_t)(equals - key)),
                                     bytes_of(equals + 1, (size_t)(stop - equals - 1)), err);
        if (st)
            return st;
        at += len;
    }
    return STATUS_OK;
}

/* Nothing is said of the file that comes next. */
static void forget_pax(struct tar_reader *t)
{
    t->pax_len = 0;
    t->path[0] = 0;
    t->size = UINT64_MAX;
}

static enum status begin_extra(struct tar_reader *t, enum tar_extra extra, uint64_t size,
                               struct error *err)
{
    if (extra == TAR_PAX && size > TAR_PAX_MAX)
        return error_set(err, STATUS_INVALID, "a pax header in the archive has more than %d bytes",
                         TAR_PAX_MAX);
    if (extra == TAR_PAX)
        forget_pax(t);
    t->extra = extra;
    t->left = size;
    t->padding = tar_padding(size);
    return STATUS_OK;
}

/* ---- files -------------------------------------------------------------------------------- */

/* size: as the block says it. */
static enum status begin_file(struct tar_reader *t, uint64_t size, struct error *err)
{
    const unsigned char *b = t->block;
    char name[TAR_PATH_MAX + 1];
    size = t->size == UINT64_MAX ? size : t->size;
    read_name(t, name);
    forget_pax(t);
    t->extra = TAR_FILE;
    if (b[TYPE_AT] == TYPE_FOLDER && size == 0)
        return STATUS_OK;
    if (b[TYPE_AT] != TYPE_FILE && b[TYPE_AT] != 0)
        return error_set(err, STATUS_INVALID, "the archive has something else than files: '%s'",
                         name);
    t->left = size;
    t->padding = tar_padding(size);
    enum status st = t->events->file(t->arg, name, size, err);
    if (!st && !size)
        st = t->events->data(t->arg, bytes_of(NULL, 0), err);
    return st;
}

static enum status begin_block(struct tar_reader *t, struct error *err)
{
    uint64_t sum, size;
    const unsigned char *b = t->block;
    if (is_zero(b)) {
        t->ended = true;
        return STATUS_OK;
    }
    if (t->ended || !read_octal(b + SUM_AT, SUM_LEN, &sum) || sum != sum_of(b) ||
        !read_size(b + SIZE_AT, &size) || memcmp(b + MAGIC_AT, "ustar", 5) != 0)
        return damaged(err);
    if (b[TYPE_AT] == TYPE_PAX)
        return begin_extra(t, TAR_PAX, size, err);
    if (b[TYPE_AT] == TYPE_GLOBAL)
        return begin_extra(t, TAR_STEPPED_OVER, size, err);
    return begin_file(t, size, err);
}

static size_t least(uint64_t a, size_t b)
{
    return a < b ? (size_t)a : b;
}

/* A part of what the header has announced. */
static enum status take_data(struct tar_reader *t, struct bytes data, struct error *err)
{
    enum status st = STATUS_OK;
    t->left -= data.len;
    if (t->extra == TAR_FILE) {
        st = t->events->data(t->arg, data, err);
        if (!st && !t->left)
            st = t->events->data(t->arg, bytes_of(NULL, 0), err);
    } else if (t->extra == TAR_PAX) {
        memcpy(t->pax + t->pax_len, data.data, data.len); /* begin_extra: it fits */
        t->pax_len += data.len;
        st = t->left ? STATUS_OK : take_pax(t, err);
    }
    return st;
}

/* What comes next of data: a part of a header, of a file or of its padding. */
static enum status take(struct tar_reader *t, struct bytes data, size_t *used, struct error *err)
{
    enum status st = STATUS_OK;
    if (t->left) {
        *used = least(t->left, data.len);
        st = take_data(t, bytes_of(data.data, *used), err);
    } else if (t->padding) {
        *used = least(t->padding, data.len);
        t->padding -= *used;
    } else {
        *used = least(TAR_BLOCK - t->block_len, data.len);
        memcpy(t->block + t->block_len, data.data, *used);
        t->block_len += *used;
        if (t->block_len == TAR_BLOCK) {
            t->block_len = 0;
            st = begin_block(t, err);
        }
    }
    return st;
}

void tar_start(struct tar_reader *t, const struct tar_events *events, void *arg)
{
    *t = (struct tar_reader){ .events = events, .arg = arg, .size = UINT64_MAX };
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
