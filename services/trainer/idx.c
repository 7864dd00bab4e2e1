/* idx.c - IDX images and labels.  zlib reads both compressed and plain files. */
#include "services/trainer/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#define MAGIC_LABELS 0x00000801u
#define MAGIC_IMAGES 0x00000803u
#define SLAB_BYTES   65536u

static enum status read_exactly(gzFile file, void *to, size_t len, const char *path,
                                struct error *err)
{
    unsigned char *at = to;
    while (len) {
        int n = gzread(file, at, (unsigned)(len < 1u << 30 ? len : 1u << 30));
        if (n <= 0)
            return error_set(err, STATUS_INVALID, "%s ends %zu bytes too early, or is damaged",
                             path, len);
        at += n;
        len -= (size_t)n;
    }
    return STATUS_OK;
}

static enum status read_u32(gzFile file, uint32_t *out, const char *path, struct error *err)
{
    unsigned char b[4];
    enum status st = read_exactly(file, b, sizeof b, path, err);
    if (!st)
        *out = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    return st;
}

/* Reads the magic number and `count` dimensions. */
static enum status read_header(gzFile file, uint32_t magic, uint32_t *dims, size_t count,
                               const char *path, struct error *err)
{
    uint32_t is;
    enum status st = read_u32(file, &is, path, err);
    if (!st && is != magic)
        st = error_set(err, STATUS_INVALID, "%s begins with 0x%08x; an IDX file of %s has 0x%08x",
                       path, is, magic == MAGIC_IMAGES ? "images" : "labels", magic);
    for (size_t i = 0; i < count && !st; i++)
        st = read_u32(file, &dims[i], path, err);
    return st;
}

static enum status expect_end(gzFile file, const char *path, struct error *err)
{
    unsigned char more;
    return gzread(file, &more, 1) == 0
               ? STATUS_OK
               : error_set(err, STATUS_INVALID, "%s has more data than its header says", path);
}

static enum status read_pixels(gzFile file, struct table *t, const char *path, struct error *err)
{
    unsigned char *slab = mem_alloc(SLAB_BYTES);
    size_t left = t->rows * t->features, at = 0;
    enum status st = STATUS_OK;
    while (left && !st) {
        size_t n = left < SLAB_BYTES ? left : SLAB_BYTES;
        st = read_exactly(file, slab, n, path, err);
        for (size_t i = 0; i < n && !st; i++)
            t->x[at + i] = slab[i];
        at += n;
        left -= n;
    }
    free(slab);
    return st ? st : expect_end(file, path, err);
}

static enum status read_images(gzFile file, struct table *t, const char *path, struct error *err)
{
    uint32_t dims[3];
    enum status st = read_header(file, MAGIC_IMAGES, dims, 3, path, err);
    if (st)
        return st;
    uint64_t features = (uint64_t)dims[1] * dims[2];
    if (!dims[0] || dims[0] > MAX_ROWS || !features || features > MAX_FEATURES ||
        dims[0] * features > MAX_CELLS)
        return error_set(err, STATUS_INVALID,
                         "%s says it has %u images of %u x %u: too many or none", path, dims[0],
                         dims[1], dims[2]);
    t->rows = dims[0];
    t->features = (size_t)features;
    t->x = mem_alloc(t->rows * t->features * sizeof *t->x);
    return read_pixels(file, t, path, err);
}

static void name_classes(struct table *t, uint32_t highest)
{
    t->classes_count = highest + 1;
    t->classes = mem_alloc(t->classes_count * sizeof *t->classes);
    for (uint32_t i = 0; i <= highest; i++) {
        char text[16];
        snprintf(text, sizeof text, "%u", i);
        t->classes[i] = mem_str(bytes_str(text));
    }
}

static enum status read_labels(gzFile file, struct table *t, const char *path, struct error *err)
{
    uint32_t count, highest = 0;
    enum status st = read_header(file, MAGIC_LABELS, &count, 1, path, err);
    if (!st && count != t->rows)
        st = error_set(err, STATUS_INVALID, "%s has %u labels, but there are %zu images", path,
                       count, t->rows);
    if (st)
        return st;
    unsigned char *labels = mem_alloc(count);
    st = read_exactly(file, labels, count, path, err);
    if (!st)
        st = expect_end(file, path, err);
    if (!st) {
        t->y = mem_alloc(count * sizeof *t->y);
        for (uint32_t i = 0; i < count; i++) {
            t->y[i] = labels[i];
            highest = labels[i] > highest ? labels[i] : highest;
        }
        name_classes(t, highest);
    }
    free(labels);
    return st;
}

enum status idx_read(const char *images_path, const char *labels_path, struct table *out,
                     struct error *err)
{
    gzFile images = gzopen(images_path, "rb");
    gzFile labels = gzopen(labels_path, "rb");
    enum status st = STATUS_OK;
    *out = (struct table){ 0 };
    if (!images || !labels)
        st = error_set(err, STATUS_IO, "cannot open %s", images ? labels_path : images_path);
    if (!st)
        st = read_images(images, out, images_path, err);
    if (!st)
        st = read_labels(labels, out, labels_path, err);
    if (images)
        gzclose(images);
    if (labels)
        gzclose(labels);
    if (st)
        table_finish(out);
    return st;
}
