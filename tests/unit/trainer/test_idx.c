/* test_idx.c - images and labels in IDX files, whole and broken. */
#include "tests/unit/trainer/fixture.h"

#include <criterion/parameterized.h>

#define IMAGES 0x803u
#define LABELS 0x801u

static struct fixture f;
static struct table t;
static struct error err;

static void init(void)
{
    fixture_init(&f);
    t = (struct table){ 0 };
    err = (struct error){ .status = STATUS_OK };
}

static void finish(void)
{
    table_finish(&t);
    fixture_finish(&f);
}

TestSuite(idx, .init = init, .fini = finish);

static void put_u32(struct buf *b, uint32_t value)
{
    const unsigned char bytes[] = { (unsigned char)(value >> 24), (unsigned char)(value >> 16),
                                    (unsigned char)(value >> 8), (unsigned char)value };
    buf_append(b, bytes, sizeof bytes);
}

/* Bytes 0, 1, 2 ... behind a header. */
static struct buf make(uint32_t magic, const uint32_t *dims, size_t rank, size_t count)
{
    struct buf b = { 0 };
    put_u32(&b, magic);
    for (size_t i = 0; i < rank; i++)
        put_u32(&b, dims[i]);
    for (size_t i = 0; i < count; i++) {
        unsigned char value = (unsigned char)i;
        buf_append(&b, &value, 1);
    }
    return b;
}

static void write_images(uint32_t magic, uint32_t count, uint32_t rows, uint32_t columns,
                         size_t data)
{
    struct buf b = make(magic, (const uint32_t[]){ count, rows, columns }, 3, data);
    fixture_write(&f, "images", buf_bytes(&b));
    buf_finish(&b);
}

static void write_labels(uint32_t magic, uint32_t count, size_t data)
{
    struct buf b = make(magic, &count, 1, data);
    fixture_write(&f, "labels", buf_bytes(&b));
    buf_finish(&b);
}

static enum status read_both(const char *images_name, const char *labels_name)
{
    char path[FIXTURE_PATH];
    snprintf(path, sizeof path, "%s", fixture_path(&f, images_name));
    const struct source_file images = { images_name, path, NULL, 0 };
    const struct source_file labels = { labels_name, fixture_path(&f, labels_name), NULL, 0 };
    return idx_read(&images, &labels, &t, &err);
}

static void assert_refused(const char *says)
{
    enum status st = read_both("images", "labels");
    cr_assert(st == STATUS_INVALID || st == STATUS_TOO_LARGE, "%s", status_name(st));
    cr_assert_not_null(strstr(err.text, says), "\"%s\" does not say \"%s\"", err.text, says);
    cr_assert_null(t.x);
    cr_assert_null(t.y);
    cr_assert_null(t.classes);
}

/* ---- whole ------------------------------------------------------------------------------ */

Test(idx, reads_pixels_and_labels)
{
    write_images(IMAGES, 3, 2, 2, 12);
    write_labels(LABELS, 3, 3);
    cr_assert_eq(read_both("images", "labels"), STATUS_OK, "%s", err.text);
    cr_assert_eq(t.rows, 3);
    cr_assert_eq(t.features, 4);
    for (size_t i = 0; i < 12; i++)
        cr_assert_eq(t.pixels[i], i);
    for (size_t i = 0; i < 3; i++) {
        const char name[] = { (char)('0' + i), 0 };
        cr_assert_eq(t.y[i], i);
        cr_assert_str_eq(t.classes[i], name);
    }
    cr_assert_eq(t.classes_count, 3);
}

Test(idx, a_pixel_goes_to_255)
{
    write_images(IMAGES, 2, 16, 16, 512);
    write_labels(LABELS, 2, 2);
    cr_assert_eq(read_both("images", "labels"), STATUS_OK, "%s", err.text);
    cr_assert_eq(t.pixels[255], 255);
    cr_assert_eq(t.pixels[511], 255);
}

Test(idx, compressed_is_the_same)
{
    struct buf images = make(IMAGES, (const uint32_t[]){ 2, 3, 1 }, 3, 6);
    struct buf labels = make(LABELS, (const uint32_t[]){ 2 }, 1, 2);
    fixture_write_gz(&f, "images.gz", buf_bytes(&images), 0);
    fixture_write_gz(&f, "labels.gz", buf_bytes(&labels), 0);
    cr_assert_eq(read_both("images.gz", "labels.gz"), STATUS_OK, "%s", err.text);
    cr_assert_eq(t.rows, 2);
    cr_assert_eq(t.pixels[5], 5);
    buf_finish(&images);
    buf_finish(&labels);
}

/* More than one of the reader's blocks, and not a multiple of it. */
Test(idx, large_images_are_whole)
{
    write_images(IMAGES, 333, 20, 30, 333 * 600);
    write_labels(LABELS, 333, 333);
    cr_assert_eq(read_both("images", "labels"), STATUS_OK, "%s", err.text);
    for (size_t i = 0; i < t.rows * t.features; i++)
        cr_assert_eq(t.pixels[i], i & 255);
    cr_assert_eq(t.classes_count, 256);
}

/* ---- broken ----------------------------------------------------------------------------- */

struct bad {
    uint32_t magic, count, rows, columns;
    size_t data;
    char says[32];
};

ParameterizedTestParameters(idx, bad_images_are_refused)
{
    static struct bad images[] = {
        { LABELS, 2, 2, 2, 8, "0x00000801" },
        { 0x0d03, 2, 2, 2, 8, "0x00000d03" },
        { 0x1f8b0800, 2, 2, 2, 8, "images" },
        { IMAGES, 0, 2, 2, 0, "0 images" },
        { IMAGES, 2, 0, 2, 0, "0 x 2" },
        { IMAGES, 2, 2, 0, 0, "2 x 0" },
        { IMAGES, 2, 2, 2, 7, "" },
        { IMAGES, 2, 2, 2, 0, "" },
        { IMAGES, 2, 2, 2, 9, "more data" },
        { IMAGES, UINT32_MAX, 2, 2, 8, "4294967295" },
        { IMAGES, 2, 65536, 65536, 8, "65536 x 65536" },
        { IMAGES, 2, UINT32_MAX, UINT32_MAX, 8, "4294967295" },
        { IMAGES, 1000000, 256, 256, 8, "1000000" },
    };
    return cr_make_param_array(struct bad, images, sizeof images / sizeof *images);
}

ParameterizedTest(struct bad *bad, idx, bad_images_are_refused, .init = init, .fini = finish)
{
    write_images(bad->magic, bad->count, bad->rows, bad->columns, bad->data);
    write_labels(LABELS, 2, 2);
    assert_refused(bad->says);
    cr_assert_not_null(strstr(err.text, "images"), "\"%s\" names no file", err.text);
}

struct bad_labels {
    uint32_t magic, count;
    size_t data;
    char says[32];
};

ParameterizedTestParameters(idx, bad_labels_are_refused)
{
    static struct bad_labels labels[] = {
        { IMAGES, 2, 2, "0x00000803" }, { LABELS, 3, 3, "3 labels" }, { LABELS, 1, 1, "1 labels" },
        { LABELS, 0, 0, "0 labels" },   { LABELS, 2, 1, "" },         { LABELS, 2, 3, "more data" },
    };
    return cr_make_param_array(struct bad_labels, labels, sizeof labels / sizeof *labels);
}

ParameterizedTest(struct bad_labels *bad, idx, bad_labels_are_refused, .init = init, .fini = finish)
{
    write_images(IMAGES, 2, 2, 2, 8);
    write_labels(bad->magic, bad->count, bad->data);
    assert_refused(bad->says);
    cr_assert_not_null(strstr(err.text, "labels"), "\"%s\" names no file", err.text);
}

Test(idx, a_header_may_be_cut_off)
{
    struct buf b = make(IMAGES, (const uint32_t[]){ 2, 2, 2 }, 3, 8);
    write_labels(LABELS, 2, 2);
    for (size_t len = 0; len < 16; len++) {
        fixture_write(&f, "images", bytes_of(b.data, len));
        assert_refused("");
    }
    buf_finish(&b);
}

Test(idx, compressed_data_may_be_cut_off)
{
    struct buf b = make(IMAGES, (const uint32_t[]){ 100, 10, 10 }, 3, 10000);
    struct buf labels = make(LABELS, (const uint32_t[]){ 100 }, 1, 100);
    fixture_write_gz(&f, "labels", buf_bytes(&labels), 0);
    fixture_write_gz(&f, "images", buf_bytes(&b), 200);
    assert_refused("");
    buf_finish(&b);
    buf_finish(&labels);
}

Test(idx, files_that_are_not_there)
{
    cr_assert_eq(read_both("images", "labels"), STATUS_IO);
    cr_assert_not_null(strstr(err.text, "images"));
    write_images(IMAGES, 2, 2, 2, 8);
    cr_assert_eq(read_both("images", "labels"), STATUS_IO);
    cr_assert_not_null(strstr(err.text, "labels"));
}
