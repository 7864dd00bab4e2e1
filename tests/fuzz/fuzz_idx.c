/* fuzz_idx.c - any bytes as a pair of IDX files, plain or compressed.  Behind the first four bytes,
 * which say how long the first file is, come the two.
 *
 * A pair that is accepted has a label for each image and a name for each label; one that is
 * refused owns nothing, and the error says why. */
#include "services/trainer/data/table.h"
#include "tests/fuzz/table_rig.h"

#define HEAD_BYTES     4
#define ANNOUNCED_MAX  (1u << 24) /* pixels: their memory is asked for before they are read */
#define DIMENSIONS_END 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint32_t big_endian(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The limits of the house are fine for a trainer, but not for many runs in a second. */
static bool announces_too_much(struct bytes images)
{
    const uint8_t *p = images.data;
    double pixels = 1;
    for (size_t at = HEAD_BYTES; images.len >= DIMENSIONS_END && at < DIMENSIONS_END; at += 4)
        pixels *= big_endian(p + at);
    return pixels > ANNOUNCED_MAX || (images.len > 1 && p[0] == 0x1f && p[1] == 0x8b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < HEAD_BYTES)
        return 0;
    size_t rest = len - HEAD_BYTES, first = big_endian(data);
    struct bytes images = bytes_of(data + HEAD_BYTES, first < rest ? first : rest);
    struct bytes labels = bytes_of(data + HEAD_BYTES + images.len, rest - images.len);
    if (announces_too_much(images))
        return 0;
    struct rig_file files[2] = { rig_file("images", images), rig_file("labels", labels) };
    struct table t;
    struct error err = { .text = "" };
    enum status st = idx_read(&files[0].source, &files[1].source, &t, &err);
    if (st)
        rig_refused(&t, st, &err);
    else
        rig_accepted(&t);
    table_finish(&t);
    rig_file_finish(&files[0]);
    rig_file_finish(&files[1]);
    return 0;
}
