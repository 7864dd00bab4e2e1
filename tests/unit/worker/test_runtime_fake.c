/* test_runtime_fake.c - the fake runtime does what its first lines say, and counts only when
 * it is allowed. */
#include "common/base/clock.h"
#include "services/worker/runtime.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *model;
static struct signature signature;
static struct tensor_out out[MAX_TENSORS];
static size_t out_count;
static struct error err;

static void finish(void)
{
    while (out_count)
        frame_finish(&out[--out_count].data);
}

TestSuite(runtime_fake, .fini = finish);

static enum status load(const char *artifact)
{
    const struct runtime_options options = { .threads = 1 };
    char path[] = "/tmp/maas-fake-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_eq(write(fd, artifact, strlen(artifact)), (ssize_t)strlen(artifact));
    close(fd);
    enum status st = runtime_fake.load(path, &options, &model, &signature, &err);
    unlink(path);
    return st;
}

static enum status run(float command, float value)
{
    const float rows[2][2] = { { 0, 7 }, { command, value } };
    struct tensor_in in = { DT_FP32, (int64_t[]){ 2, 2 }, 2, bytes_of(rows, sizeof rows) };
    return runtime_fake.run(model, &in, 1, out, &out_count, &err);
}

Test(runtime_fake, only_when_allowed)
{
    cr_expect_null(runtime_find(bytes_str("fake"), false));
    cr_expect_eq(runtime_find(bytes_str("fake"), true), &runtime_fake);
    cr_expect_eq(runtime_find(bytes_str("onnx"), false), &runtime_onnx);
    cr_expect_null(runtime_find(bytes_str("pickle"), true));
    cr_expect_null(runtime_find(bytes_str(""), true));
}

Test(runtime_fake, loads_or_says_why_not)
{
    cr_expect_eq(load("fake\n"), STATUS_OK);
    cr_expect(signature.batchable && signature.inputs_count == 1 && signature.outputs_count == 1);
    cr_expect_eq(load("fake fail=out of luck"), STATUS_INVALID);
    cr_expect_str_eq(err.text, "out of luck");
    cr_expect_eq(load(""), STATUS_INVALID);
    cr_expect_eq(load("onnx"), STATUS_INVALID);
    uint64_t begin = clock_ms();
    cr_expect_eq(load("fake load=50"), STATUS_OK);
    cr_expect_geq(clock_ms() - begin, 50);
}

Test(runtime_fake, echoes)
{
    cr_assert_eq(load("fake\n"), STATUS_OK);
    cr_assert_eq(run(0, 5), STATUS_OK);
    const float *y = frame_bytes(&out[0].data).data;
    cr_expect(out[0].shape[0] == 2 && y[1] == 7 && y[3] == 5);
}

Test(runtime_fake, obeys)
{
    cr_assert_eq(load("fake\n"), STATUS_OK);
    uint64_t begin = clock_ms();
    cr_expect_eq(run(1, 50), STATUS_OK);
    cr_expect_geq(clock_ms() - begin, 50);
    finish();
    cr_expect_eq(run(4, 0), STATUS_INVALID);
    cr_expect_eq(out_count, 0);
    cr_expect_eq(run(99, 0), STATUS_INVALID);
    cr_expect_eq(run(6, 0), STATUS_OK);
    cr_expect_eq(out[0].shape[0], 3);
}

Test(runtime_fake, aborts, .signal = SIGABRT)
{
    cr_assert_eq(load("fake\n"), STATUS_OK);
    cr_expect_neq(run(2, 0), STATUS_OK);
}

Test(runtime_fake, exits, .exit_code = 3)
{
    cr_assert_eq(load("fake\n"), STATUS_OK);
    cr_expect_neq(run(3, 3), STATUS_OK);
}

Test(runtime_fake, aborts_while_loading, .signal = SIGABRT)
{
    cr_expect_neq(load("fake abort"), STATUS_OK);
}
