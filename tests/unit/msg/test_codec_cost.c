/* test_codec_cost.c - a decoder that is kept allocates nothing for small messages. */
#include "common/msg/codec.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static __thread unsigned long allocations;

/* A sanitizer has a malloc of its own, which cannot be counted: nothing is found then. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
void *__libc_malloc(size_t len);
void *__libc_calloc(size_t count, size_t len);
void *__libc_realloc(void *p, size_t len);

void *malloc(size_t len)
{
    allocations++;
    return __libc_malloc(len);
}

void *calloc(size_t count, size_t len)
{
    allocations++;
    return __libc_calloc(count, len);
}

void *realloc(void *p, size_t len)
{
    allocations++;
    return __libc_realloc(p, len);
}
#endif

static const int64_t shape[] = { 32, 28, 28 };
static struct msg_tensor tensors[] = {
    { .name = { "input", 5 }, .datatype = 11, .shape = { shape, 3 } },
    { .name = { "mask", 4 }, .datatype = 1, .shape = { shape, 2 } },
};

Test(cost, decoding_and_encoding_small_messages_allocates_nothing)
{
    struct msg_decoder d = { 0 };
    struct buf job = { 0 }, result = { 0 };
    struct msg m;
    struct error err;
    msg_encode(&job, MSG_JOB, 0,
               &(struct msg_job){ .job = 1, .inputs = tensors, .inputs_count = 2 });
    msg_encode(&result, MSG_RESULT, 0,
               &(struct msg_result){ .job = 1, .outputs = tensors, .outputs_count = 2 });
    cr_assert_eq(msg_decode(&d, buf_bytes(&job), &m, &err), STATUS_OK);
    unsigned long before = allocations;
    for (uint64_t i = 0; i < 10000; i++) {
        bool ok = msg_decode(&d, i % 2 ? buf_bytes(&job) : buf_bytes(&result), &m, &err) == 0;
        result.len = 0;
        msg_encode(&result, MSG_RESULT, i,
                   &(struct msg_result){ .job = i, .outputs = tensors, .outputs_count = 2 });
        if (!ok)
            cr_assert_fail("%s", err.text);
    }
    cr_assert_leq(allocations - before, 10, "%lu allocations", allocations - before);
    buf_finish(&job);
    buf_finish(&result);
    msg_decoder_finish(&d);
}
