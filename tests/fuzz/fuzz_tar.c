/* fuzz_tar.c - any bytes as an archive, whole and in single bytes: the same files come out, none is
 * longer than it said, and what is complete has an end. */
#include "services/gateway/tar.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct story {
    struct buf text;
    uint64_t left;
    bool open;
};

static enum status on_file(void *arg, const char *name, uint64_t size, struct error *err)
{
    struct story *s = arg;
    (void)err;
    assert(!s->open && strlen(name) <= TAR_PATH_MAX);
    s->open = true;
    s->left = size;
    buf_append_str(&s->text, name);
    buf_append_str(&s->text, "\n");
    return STATUS_OK;
}

static enum status on_data(void *arg, struct bytes piece, struct error *err)
{
    struct story *s = arg;
    (void)err;
    assert(s->open && piece.len <= s->left);
    s->left -= piece.len;
    if (piece.len) {
        buf_append_bytes(&s->text, piece);
        return STATUS_OK;
    }
    assert(!s->left);
    s->open = false;
    buf_append_str(&s->text, ";");
    return STATUS_OK;
}

static enum status run(const uint8_t *data, size_t len, size_t step, struct story *s,
                       bool *complete)
{
    static const struct tar_events events = { on_file, on_data };
    struct tar_reader t;
    struct error err;
    enum status st = STATUS_OK;
    tar_start(&t, &events, s);
    for (size_t at = 0; at < len && !st; at += step)
        st = tar_feed(&t, bytes_of(data + at, len - at < step ? len - at : step), &err);
    *complete = !st && tar_complete(&t);
    assert(!*complete || !s->open);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct story whole = { .open = false }, cut = { .open = false };
    bool complete[2];
    enum status st = run(data, len, len ? len : 1, &whole, &complete[0]);
    enum status again = run(data, len, 1, &cut, &complete[1]);
    assert(st == again && complete[0] == complete[1]);
    assert(bytes_equal(buf_bytes(&whole.text), buf_bytes(&cut.text)));
    buf_finish(&whole.text);
    buf_finish(&cut.text);
    return 0;
}
