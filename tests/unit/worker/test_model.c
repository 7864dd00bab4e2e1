/* test_model.c - a version is verified before it is loaded, and a job before it is run. */
#include "common/base/digest.h"
#include "services/worker/model.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct model model;
static struct error err;

static void finish(void)
{
    model_unload(&model);
}

TestSuite(model, .fini = finish);

static enum status load(const char *artifact, const char *digest_of_text, const char *format)
{
    char path[] = "/tmp/maas-load-XXXXXX", hex[DIGEST_HEX_SIZE];
    struct digest d;
    int fd = mkstemp(path);
    cr_assert_eq(write(fd, artifact, strlen(artifact)), (ssize_t)strlen(artifact));
    close(fd);
    digest_of(bytes_str(digest_of_text), &d);
    digest_hex(&d, hex);
    struct model_source from = {
        .path = path, .digest = hex, .format = format, .allow_fake = true
    };
    enum status st = model_load(&model, &from, &err);
    unlink(path);
    return st;
}

Test(model, a_file_with_another_digest_is_not_loaded)
{
    cr_expect_eq(load("fake", "fake", "fake"), STATUS_OK);
    finish();
    cr_expect_eq(load("fake", "FAKE", "fake"), STATUS_CORRUPT);
    struct model_source nowhere = {
        .path = "/nowhere", .digest = "00", .format = "fake", .allow_fake = true
    };
    cr_expect_eq(model_load(&model, &nowhere, &err), STATUS_CORRUPT);
}

Test(model, formats_without_a_runtime_are_named)
{
    cr_expect_eq(load("x", "x", "pickle"), STATUS_UNSUPPORTED);
    cr_expect_not_null(strstr(err.text, "'pickle'"));
}

/* A job for the fake model with one input. */
static enum status check(const char *name, enum datatype type, const int64_t *shape, size_t rank,
                         size_t bytes, size_t more_frames)
{
    struct msg_tensor input = { bytes_str(name), type, { shape, rank } };
    struct msg_job job = { .job = 1, .inputs = &input, .inputs_count = 1 };
    struct frames frames = { .count = 0 };
    struct tensor_in in[MAX_TENSORS];
    frame_init_empty(frames_add(&frames));
    memset(frame_init_size(frames_add(&frames), bytes), 0, bytes);
    for (size_t i = 0; i < more_frames; i++)
        frame_init_empty(frames_add(&frames));
    cr_assert_eq(load("fake", "fake", "fake"), STATUS_OK);
    enum status st = model_check(&model, &job, &frames, in, &err);
    frames_finish(&frames);
    finish();
    return st;
}

Test(model, jobs_that_fit_pass)
{
    cr_expect_eq(check("x", DT_FP32, (int64_t[]){ 3, 2 }, 2, 24, 0), STATUS_OK, "%s", err.text);
    cr_expect_eq(check("x", DT_FP32, (int64_t[]){ 0, 2 }, 2, 0, 0), STATUS_OK, "%s", err.text);
}

Test(model, jobs_that_do_not_fit_are_refused_with_a_sentence)
{
    cr_expect_eq(check("z", DT_FP32, (int64_t[]){ 1, 2 }, 2, 8, 0), STATUS_INVALID);
    cr_expect_str_eq(err.text, "an input is called 'z'; the model takes 'x' here");
    cr_expect_eq(check("x", DT_INT64, (int64_t[]){ 1, 2 }, 2, 16, 0), STATUS_INVALID);
    cr_expect_str_eq(err.text, "input 'x' is INT64; the model takes FP32");
    cr_expect_eq(check("x", (enum datatype)999, (int64_t[]){ 1, 2 }, 2, 8, 0), STATUS_INVALID);
    cr_expect_eq(check("x", DT_FP32, (int64_t[]){ 1, 3 }, 2, 12, 0), STATUS_INVALID);
    cr_expect_str_eq(err.text, "input 'x' has the shape [1,3]; the model takes [-1,2]");
    cr_expect_eq(check("x", DT_FP32, (int64_t[]){ 2 }, 1, 8, 0), STATUS_INVALID);
    cr_expect_eq(check("x", DT_FP32, NULL, 0, 4, 0), STATUS_INVALID);
    cr_expect_eq(check("x", DT_FP32, (int64_t[]){ -1, 2 }, 2, 8, 0), STATUS_INVALID);
    cr_expect_eq(check("x", DT_FP32, (int64_t[]){ INT64_MAX, 2 }, 2, 8, 0), STATUS_INVALID);
    cr_expect_eq(check("x", DT_FP32, (int64_t[]){ 1, 2 }, 2, 7, 0), STATUS_INVALID);
    cr_expect_eq(check("x", DT_FP32, (int64_t[]){ 1, 2 }, 2, 9, 0), STATUS_INVALID);
    cr_expect_eq(check("x", DT_FP32, (int64_t[]){ 1, 2 }, 2, 8, 1), STATUS_INVALID);
    cr_expect_str_eq(err.text, "the model takes 1 input; 1 came in 2 frames");
}

Test(model, the_longest_sentence_fits)
{
    int64_t shape[MAX_RANK];
    char name[MAX_NAME + 1];
    for (size_t i = 0; i < MAX_RANK; i++)
        shape[i] = INT64_MIN;
    memset(name, 'n', MAX_NAME);
    name[MAX_NAME] = 0;
    cr_expect_eq(check(name, DT_FP32, shape, MAX_RANK, 8, 0), STATUS_INVALID);
    cr_expect_eq(check("x", DT_FP32, shape, MAX_RANK, 8, 0), STATUS_INVALID);
    cr_expect_lt(strlen(err.text), MAX_REASON);
}
