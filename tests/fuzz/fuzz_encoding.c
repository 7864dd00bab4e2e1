/* fuzz_encoding.c - any bytes as a compressed body, as a plain one, and as an Accept-Encoding.
 *
 * What is unpacked keeps to its limit and means the same after it was packed again; what is
 * refused says why; whatever was packed here is unpacked to the same, and no byte less will do.
 */
#include "services/gateway/api/encoding.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define SLACK_BYTES 65536 /* room that the last step of unpacking may have beyond the limit */

static void is_refused(struct bytes in, uint64_t max, enum status as)
{
    struct buf out = { 0 };
    struct error err = { .text = "" };
    enum status st = encoding_inflate(in, max, &out, &err);
    assert(st == as && err.status == as && err.text[0]);
    buf_finish(&out);
}

static void there_and_back(struct bytes plain, enum encoding how)
{
    struct buf packed = { 0 }, again = { 0 };
    struct error err;
    encoding_compress(how, plain, &packed);
    enum status st = encoding_inflate(buf_bytes(&packed), plain.len, &again, &err);
    assert(st == STATUS_OK && again.len == plain.len);
    assert(bytes_equal(buf_bytes(&again), plain));
    if (plain.len)
        is_refused(buf_bytes(&packed), plain.len - 1, STATUS_TOO_LARGE);
    is_refused(bytes_of(packed.data, packed.len - 1), plain.len, STATUS_INVALID);
    buf_append(&packed, "", 1);
    is_refused(buf_bytes(&packed), plain.len, STATUS_INVALID);
    buf_finish(&packed);
    buf_finish(&again);
}

static void unpack(struct bytes in, uint64_t max)
{
    struct buf out = { 0 };
    struct error err = { .text = "" };
    enum status st = encoding_inflate(in, max, &out, &err);
    assert(out.cap <= 2 * (max + 2 * SLACK_BYTES));
    if (st == STATUS_OK) {
        assert(out.len <= max);
        there_and_back(buf_bytes(&out), ENCODING_GZIP);
        there_and_back(buf_bytes(&out), ENCODING_DEFLATE);
    } else {
        assert(st == STATUS_INVALID || st == STATUS_TOO_LARGE);
        assert(err.status == st && err.text[0]);
        assert(status_http(st) / 100 == 4);
    }
    buf_finish(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint64_t limits[] = { 0, 1, 100, 1 << 16, 1 << 20, 1 << 22 };
    if (!len)
        return 0;
    struct bytes in = bytes_of(data + 1, len - 1);
    char *text = mem_str(in);
    unpack(in, limits[(data[0] & 127) % (sizeof limits / sizeof *limits)]);
    if (data[0] & 128)
        there_and_back(in, data[0] & 64 ? ENCODING_GZIP : ENCODING_DEFLATE);
    enum encoding how = encoding_choose(text);
    assert(how != ENCODING_GZIP || strcasestr(text, "gzip"));
    assert(how != ENCODING_DEFLATE || strcasestr(text, "deflate"));
    assert(!encoding_known(text) || !encoding_none(text));
    free(text);
    return 0;
}
