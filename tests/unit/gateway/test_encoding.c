/* test_encoding.c - compressed bodies: there and back, bombs, and what is damaged. */
#include "services/gateway/api/encoding.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <zlib.h>

static struct buf out;
static struct error err;

static void init(void)
{
    out = (struct buf){ 0 };
    err = (struct error){ .text = "" };
}

static void finish(void)
{
    buf_finish(&out);
}

TestSuite(encoding, .init = init, .fini = finish);

/* Text that compresses a bit, the same for each length. */
static struct buf some_text(size_t len)
{
    struct buf text = { 0 };
    unsigned random = 7;
    buf_reserve(&text, len + 1);
    while (text.len < len) {
        random = random * 1664525u + 1013904223u;
        text.data[text.len++] = (unsigned char)"0123456789,.[]e-"[random >> 28];
    }
    return text;
}

static void refused(enum status as, const char *says, struct bytes in, uint64_t max)
{
    buf_finish(&out);
    cr_assert_eq(encoding_inflate(in, max, &out, &err), as, "%s", err.text);
    cr_assert_eq(err.status, as);
    cr_assert(strstr(err.text, says), "\"%s\" does not say \"%s\"", err.text, says);
}

static void there_and_back(enum encoding how, size_t len)
{
    struct buf text = some_text(len), packed = { 0 };
    encoding_compress(how, buf_bytes(&text), &packed);
    buf_finish(&out);
    cr_assert_eq(encoding_inflate(buf_bytes(&packed), len, &out, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(out.len, len);
    cr_assert(bytes_equal(buf_bytes(&out), buf_bytes(&text)));
    if (len)
        refused(STATUS_TOO_LARGE, "when it is unpacked", buf_bytes(&packed), len - 1);
    buf_finish(&text);
    buf_finish(&packed);
}

Test(encoding, there_and_back)
{
    static const size_t lengths[] = { 0, 1, 2, 1000, 65535, 65536, 65537, 1 << 20, 5000001 };
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        there_and_back(ENCODING_GZIP, lengths[i]);
        there_and_back(ENCODING_DEFLATE, lengths[i]);
    }
}

Test(encoding, gzip_and_deflate_are_what_their_names_say)
{
    encoding_compress(ENCODING_GZIP, bytes_str("text"), &out);
    cr_assert(out.data[0] == 0x1f && out.data[1] == 0x8b, "RFC 1952 section 2.3.1");
    out.len = 0;
    encoding_compress(ENCODING_DEFLATE, bytes_str("text"), &out);
    cr_assert_eq(out.data[0] & 15, 8, "a zlib stream, RFC 1950 section 2.2");
    cr_assert_eq((out.data[0] * 256 + out.data[1]) % 31, 0);
}

/* 64 MiB of zeros in 64 KiB: it must cost about what is allowed, not what it says. */
Test(encoding, a_bomb_costs_no_more_than_the_limit)
{
    size_t len = 64u << 20;
    uLongf packed_len = compressBound(len);
    char *zeros = calloc(1, len);
    unsigned char *packed = malloc(packed_len);
    cr_assert(zeros && packed);
    cr_assert_eq(compress2(packed, &packed_len, (Bytef *)zeros, len, 9), Z_OK);
    refused(STATUS_TOO_LARGE, "more than 1000000 bytes", bytes_of(packed, packed_len), 1000000);
    cr_assert_leq(out.cap, 3000000);
    refused(STATUS_TOO_LARGE, "more than 67108863 bytes", bytes_of(packed, packed_len), len - 1);
    refused(STATUS_TOO_LARGE, "more than 0 bytes", bytes_of(packed, packed_len), 0);
    free(zeros);
    free(packed);
}

Test(encoding, what_is_cut_off_anywhere_is_refused)
{
    struct buf text = some_text(3000);
    for (enum encoding how = ENCODING_GZIP; how <= ENCODING_DEFLATE; how++) {
        struct buf packed = { 0 };
        encoding_compress(how, buf_bytes(&text), &packed);
        for (size_t len = 0; len < packed.len; len++)
            refused(STATUS_INVALID, "damaged, or cut off", bytes_of(packed.data, len), 1 << 20);
        buf_append(&packed, "", 1);
        refused(STATUS_INVALID, "something follows", buf_bytes(&packed), 1 << 20);
        buf_finish(&packed);
    }
    buf_finish(&text);
}

/* Header, data or sum: one bit that is wrong is found, or means nothing (time, system). */
Test(encoding, a_wrong_bit_never_changes_the_body)
{
    struct buf text = some_text(2000), packed = { 0 };
    encoding_compress(ENCODING_GZIP, buf_bytes(&text), &packed);
    for (size_t bit = 0; bit < packed.len * 8; bit++) {
        packed.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        out.len = 0;
        if (encoding_inflate(buf_bytes(&packed), 1 << 20, &out, &err) == STATUS_OK)
            cr_assert(bytes_equal(buf_bytes(&out), buf_bytes(&text)), "bit %zu", bit);
        packed.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    buf_finish(&text);
    buf_finish(&packed);
}

Test(encoding, what_is_not_compressed_is_refused)
{
    refused(STATUS_INVALID, "damaged", bytes_str("{\"inputs\": [[1, 2, 3]]}"), 1000);
    refused(STATUS_INVALID, "damaged", bytes_of("", 0), 1000);
    refused(STATUS_INVALID, "damaged", bytes_of("\x1f\x8b", 2), 1000);
}

Test(encoding, names)
{
    cr_assert(encoding_none("") && encoding_none("identity") && encoding_none("Identity"));
    cr_assert(encoding_known("gzip") && encoding_known("X-GZIP") && encoding_known("deflate"));
    cr_assert_not(encoding_known("br") || encoding_known("") || encoding_known("gzip, gzip"));
    cr_assert_not(encoding_none("gzip") || encoding_none("?"));
}

Test(encoding, the_client_chooses)
{
    cr_assert_eq(encoding_choose("gzip, deflate, br"), ENCODING_GZIP);
    cr_assert_eq(encoding_choose("br;q=1.0, GZIP;q=0.8"), ENCODING_GZIP);
    cr_assert_eq(encoding_choose("deflate"), ENCODING_DEFLATE);
    cr_assert_eq(encoding_choose("gzip;q=0, deflate;q=0.5"), ENCODING_DEFLATE);
    cr_assert_eq(encoding_choose("gzip ; q=0.000"), ENCODING_NONE);
    cr_assert_eq(encoding_choose("br, identity"), ENCODING_NONE);
    cr_assert_eq(encoding_choose("x-gzipped, notgzip, gzip2"), ENCODING_NONE);
    cr_assert_eq(encoding_choose(""), ENCODING_NONE);
    cr_assert_eq(encoding_choose("?"), ENCODING_NONE);
}
