/* test_warmup.c - samples are run before a version is ready; what is wrong with them is said. */
#include "common/base/digest.h"
#include "services/worker/warmup.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct model model;
static struct error err;

/* The fake model echoes its rows; the first number of a row is a command. */
static void load_fake(void)
{
    char path[] = "/tmp/maas-warmup-XXXXXX", hex[DIGEST_HEX_SIZE];
    struct digest d;
    int fd = mkstemp(path);
    cr_assert_eq(write(fd, "fake", 4), 4);
    close(fd);
    digest_of(bytes_str("fake"), &d);
    digest_hex(&d, hex);
    struct model_source from = {
        .path = path, .digest = hex, .format = "fake", .allow_fake = true
    };
    enum status st = model_load(&model, &from, &err);
    cr_assert_eq(st, STATUS_OK, "%s", err.text);
    unlink(path);
}

static void finish(void)
{
    model_unload(&model);
}

TestSuite(warmup, .init = load_fake, .fini = finish);

static enum status run(const char *text)
{
    char path[] = "/tmp/maas-warmup-XXXXXX";
    struct warmup w;
    uint64_t row_us = 0;
    int fd = mkstemp(path);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    err.text[0] = 0;
    enum status st = warmup_read(path, &w, &err);
    if (!st)
        st = warmup_run(&w, &model, &row_us, &err);
    warmup_finish(&w);
    unlink(path);
    cr_expect(st || row_us < UINT64_MAX);
    return st;
}

#define X(shape, data) \
    "{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":" shape ",\"data\":" data "}"
#define Y(shape, data) \
    "{\"name\":\"y\",\"datatype\":\"FP32\",\"shape\":" shape ",\"data\":" data "}"
#define SAMPLE(inputs, outputs) "{\"inputs\":[" inputs "],\"outputs\":[" outputs "]}"
#define SAMPLES(list)           "{\"samples\":[" list "]}"

static void expect_error(const char *text, const char *says)
{
    cr_expect_eq(run(text), STATUS_INVALID, "%s", text);
    cr_expect(strstr(err.text, says), "'%s' does not say '%s'", err.text, says);
}

Test(warmup, samples_that_are_met)
{
    cr_expect_eq(run(SAMPLES("{\"inputs\":[" X("[1,2]", "[0,5]") "]}")), STATUS_OK, "%s", err.text);
    cr_expect_eq(
        run(SAMPLES(SAMPLE(X("[2,2]", "[0,5,0,6]"), Y("[2,2]", "[[0,5],[0,6]]")) "," SAMPLE(
            X("[1,2]", "[0,7]"), Y("[1,2]", "[0,7]")))),
        STATUS_OK, "%s", err.text);
    cr_expect_eq(run(SAMPLES(SAMPLE(X("[1,2]", "[0,null]"), Y("[1,2]", "[0,null]")))), STATUS_OK,
                 "%s", err.text);
    cr_expect_eq(run("{\"atol\":1,\"rtol\":0,\"samples\":[" SAMPLE(X("[1,2]", "[0,5]"),
                                                                   Y("[1,2]", "[0,5.9]")) "]}"),
                 STATUS_OK, "%s", err.text);
}

Test(warmup, outputs_that_differ_are_named)
{
    expect_error(SAMPLES(SAMPLE(X("[1,2]", "[0,5]"), Y("[1,2]", "[0,5]")) "," SAMPLE(
                     X("[2,2]", "[0,5,0,6]"), Y("[2,2]", "[0,5,0,7]"))),
                 "samples[1]: output 'y'[1][1] is 6; 7 was expected");
    expect_error(SAMPLES(SAMPLE(X("[1,2]", "[0,5]"), Y("[2]", "[0,5]"))),
                 "samples[0]: output 'y' has the shape [1,2]; [2] was expected");
    expect_error(SAMPLES(SAMPLE(X("[1,2]", "[0,5]"), X("[1,2]", "[0,5]"))),
                 "samples[0].outputs[0]: the model has no output 'x'");
}

Test(warmup, samples_that_cannot_be_run)
{
    expect_error(SAMPLES(SAMPLE(X("[1,2]", "[4,0]"), "")),
                 "samples[0]: the fake model was told to fail");
    expect_error(SAMPLES(SAMPLE(X("[1,3]", "[0,0,0]"), "")),
                 "samples[0]: input 'x' has the shape [1,3]; the model takes [-1,2]");
    expect_error(SAMPLES(SAMPLE(Y("[1,2]", "[0,0]"), "")), "samples[0] lacks the input 'x'");
    expect_error(SAMPLES(SAMPLE("", "")), "samples[0] has 0 inputs; the model takes 1");
    expect_error(SAMPLES(SAMPLE(X("[1,2]", "[0]"), "")),
                 "samples[0].inputs[0].data has 1 elements, but the shape needs 2");
    expect_error(SAMPLES(SAMPLE(X("[1,2]", "[0,0]"), Y("[1,2]", "[0,\"5\"]"))),
                 "samples[0].outputs[0].data[1]: expected a number");
    expect_error(SAMPLES("{\"inputs\":[{\"name\":\"x\",\"datatype\":\"REAL\",\"shape\":[1,2],"
                         "\"data\":[0,0]}]}"),
                 "samples[0].inputs[0].datatype");
}

Test(warmup, files_that_are_none)
{
    expect_error("{", "warmup.json is no JSON");
    expect_error("[]", "warmup.json is no JSON object");
    expect_error("{}", "1 to 256");
    expect_error(SAMPLES(""), "1 to 256");
    expect_error(SAMPLES("3"), "samples[0].inputs must be a list");
    expect_error(SAMPLES("{\"inputs\":[3]}"), "samples[0].inputs[0] has no name");
    expect_error(SAMPLES("{\"inputs\":[],\"ouputs\":[]}"), "\"ouputs\", which is not known");
    expect_error("{\"samples\":[],\"tol\":1}", "\"tol\", which is not known");
    expect_error("{\"samples\":[],\"atol\":-1}", "\"atol\" must be a number that is not negative");
    expect_error("{\"samples\":[],\"rtol\":\"1\"}", "\"rtol\" must be a number");
}

Test(warmup, too_many_samples)
{
    struct buf text = { 0 };
    for (size_t i = 0; i <= MAX_WARMUP_SAMPLES; i++)
        buf_printf(&text, "%s%s", i ? "," : "{\"samples\":[", "{\"inputs\":[]}");
    buf_append_str(&text, "]}");
    expect_error(buf_cstr(&text), "1 to 256");
    buf_finish(&text);
}

Test(warmup, a_file_that_is_too_large_is_not_read)
{
    char path[] = "/tmp/maas-warmup-XXXXXX";
    struct warmup w;
    int fd = mkstemp(path);
    cr_assert_eq(ftruncate(fd, MAX_WARMUP_BYTES + 1), 0);
    close(fd);
    cr_expect_eq(warmup_read(path, &w, &err), STATUS_INVALID);
    cr_expect_not_null(strstr(err.text, "has more than"));
    unlink(path);
    cr_expect_eq(warmup_read(path, &w, &err), STATUS_CORRUPT);
    warmup_finish(&w);
}

Test(warmup, without_samples_zeros_are_run)
{
    struct warmup w;
    uint64_t row_us = 0;
    cr_expect_eq(warmup_read(NULL, &w, &err), STATUS_OK);
    cr_expect_eq(warmup_run(&w, &model, &row_us, &err), STATUS_OK);
    cr_expect_lt(row_us, UINT64_MAX);
    warmup_finish(&w);
}
