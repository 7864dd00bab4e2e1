/* fuzz_codec.c - hostile bytes into the codec: it must refuse or understand, never break.
 *
 * What was understood is encoded and decoded again, and must come out the same.
 */
#include "common/msg/codec.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const struct msg *m)
{
    struct msg_decoder again = { 0 };
    struct buf first = { 0 }, second = { 0 };
    struct msg n;
    struct error err;
    msg_encode(&first, m->kind, m->id, m->body);
    if (msg_decode(&again, buf_bytes(&first), &n, &err))
        abort();
    msg_encode(&second, n.kind, n.id, n.body);
    if (!bytes_equal(buf_bytes(&first), buf_bytes(&second)))
        abort();
    buf_finish(&first);
    buf_finish(&second);
    msg_decoder_finish(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct msg_decoder decoder;
    struct msg m;
    struct error err;
    if (msg_decode(&decoder, bytes_of(data, size), &m, &err)) {
        if (err.status != STATUS_INVALID || !err.text[0])
            abort();
        return 0;
    }
    check_round_trip(&m);
    return 0;
}
