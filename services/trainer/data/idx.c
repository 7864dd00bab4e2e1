/* idx.c - IDX images and labels. */
#include "services/trainer/data/table.h"

#include <stdio.h>
#include <stdlib.h>

#define MAGIC_LABELS 0x00000801u
#define MAGIC_IMAGES 0x00000803u

static enum status read_exactly(struct source *s, void *to, size_t len, struct error *err)
{
    size_t got;
    enum status st = source_read(s, to, len, &got, err);
    if (!st && got < len)
        return error_set(err, STATUS_INVALID, "it is cut off: it ends %zu bytes too early",
                         len - got);
    return st;
}

static enum status read_u32(struct source *s, uint32_t *out, struct error *err)
{
    unsigned char b[4];
    enum status st = read_exactly(s, b, sizeof b, err);
    if (!st)
        *out = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    return st;
}

/* Reads the magic number and `count` dimensions. */
static enum status read_header(struct source *s, uint32_t magic, uint32_t *dims, size_t count,
                               struct error *err)
{
    uint32_t is;
    enum status st = read_u32(s, &is, err);
    if (!st && is != magic)
        st = error_set(err, STATUS_INVALID, "it begins with 0x%08x; an IDX file of %s has 0x%08x",
                       is, magic == MAGIC_IMAGES ? "images" : "labels", magic);
    for (size_t i = 0; i < count && !st; i++)
        st = read_u32(s, &dims[i], err);
    return st;
}

static enum status expect_end(struct source *s, struct error *err)
{
    unsigned char more;
    size_t got;
    enum status st = source_read(s, &more, 1, &got, err);
    if (!st && got)
        return error_set(err, STATUS_INVALID, "it has more data than its header says");
    return st;
}

static enum status read_pixels(struct source *s, struct table *t, struct error *err)
{
    enum status st = read_exactly(s, t->pixels, t->rows * t->features, err);
    return st ? st : expect_end(s, err);
}

static enum status read_images(struct source *s, struct table *t, struct error *err)
{
    uint32_t dims[3];
    enum status st = read_header(s, MAGIC_IMAGES, dims, 3, err);
    if (st)
        return st;
    uint64_t features = (uint64_t)dims[1] * dims[2];
    if (!dims[0] || dims[0] > MAX_ROWS || !features || features > MAX_FEATURES ||
        dims[0] * features > MAX_CELLS)
        return error_set(err, STATUS_INVALID,
                         "it says that it has %u images of %u x %u: too many or none", dims[0],
                         dims[1], dims[2]);
    t->rows = dims[0];
    t->features = (size_t)features;
    t->image = (struct image_shape){ 1, dims[1], dims[2] };
    if (source_room(s->file, dims[0], features, dims[0] * features, err))
        return err->status;
    t->pixels = mem_alloc(t->rows * t->features);
    return read_pixels(s, t, err);
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

static enum status read_labels(struct source *s, struct table *t, struct error *err)
{
    uint32_t count, highest = 0;
    enum status st = read_header(s, MAGIC_LABELS, &count, 1, err);
    if (!st && count != t->rows)
        st = error_set(err, STATUS_INVALID, "it has %u labels, but there are %zu images", count,
                       t->rows);
    if (st)
        return st;
    unsigned char *labels = mem_alloc(count);
    st = read_exactly(s, labels, count, err);
    if (!st)
        st = expect_end(s, err);
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

typedef enum status read_fn(struct source *s, struct table *t, struct error *err);

/* Opens the file, reads it, and puts its name before what is wrong with it. */
static enum status read_file(const struct source_file *file, read_fn *read, struct table *t,
                             struct error *err)
{
    struct error inner;
    struct source source;
    enum status st = source_open(&source, file, &inner);
    if (!st) {
        st = read(&source, t, &inner);
        source_close(&source);
    }
    return st ? error_set(err, st, "%s: %s", file->name, inner.text) : STATUS_OK;
}

enum status idx_read(const struct source_file *images, const struct source_file *labels,
                     struct table *out, struct error *err)
{
    *out = (struct table){ 0 };
    enum status st = read_file(images, read_images, out, err);
    if (!st)
        st = read_file(labels, read_labels, out, err);
    if (st)
        table_finish(out);
    return st;
}
