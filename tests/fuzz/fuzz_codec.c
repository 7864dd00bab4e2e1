/* fuzz_codec.c - any bytes as an envelope, and as each bare struct.
 *
 * Beyond not crashing: what the scan lets pass can be unpacked, and what is decoded means
 * the same after it was encoded again.
 */
#include "common/msg/codec.h"
#include "common/msg/scan.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct msg_decoder first, second;

/* NaN differs from itself, so the bytes are compared and not the values. */
static void same_again(const struct msg *m)
{
    struct buf once = { 0 }, twice = { 0 };
    struct msg again;
    struct error err;
    msg_encode(&once, m->kind, m->id, m->body);
    enum status st = msg_decode(&second, buf_bytes(&once), &again, &err);
    assert(st == STATUS_OK && again.kind == m->kind && again.id == m->id);
    msg_encode(&twice, again.kind, again.id, again.body);
    assert(bytes_equal(buf_bytes(&once), buf_bytes(&twice)));
    buf_finish(&once);
    buf_finish(&twice);
}

static void as_struct(const struct schema_struct *s, struct bytes packed)
{
    struct buf once = { 0 }, twice = { 0 };
    const void *body;
    struct error err;
    if (msg_unpack(&first, s, packed, &body, &err))
        return;
    msg_pack(&once, s, body);
    enum status st = msg_unpack(&second, s, buf_bytes(&once), &body, &err);
    assert(st == STATUS_OK);
    msg_pack(&twice, s, body);
    assert(bytes_equal(buf_bytes(&once), buf_bytes(&twice)));
    buf_finish(&once);
    buf_finish(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bytes frame = bytes_of(data, len);
    struct error err = { .text = "" };
    struct msg m;
    enum status st = msg_decode(&first, frame, &m, &err);
    if (st == STATUS_OK)
        same_again(&m);
    else
        assert(st == STATUS_INVALID && err.text[0]);
    assert(!msg_scan(frame) || !strstr(err.text, "cannot be unpacked"));
#define X(name, FIELDS) as_struct(&schema_##name, frame);
    if (len && (data[0] >> 4 == 8 || data[0] == 0xde || data[0] == 0xdf))
        STRUCT_LIST(X)
#undef X
    return 0;
}
