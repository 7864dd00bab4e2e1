/* What a commit must look like before Redis hears of it. */
#include "services/registry/checks.h"

#include <criterion/criterion.h>

static unsigned char digests[3 * DIGEST_SIZE] = { 1, 2, 3 };

static void expect(enum status wanted, const char *word, size_t digest, uint64_t size,
                   size_t chunks)
{
    struct error err = { .text = "" };
    enum status st =
        check_artifact(bytes_of(digests, digest), size, bytes_of(digests, chunks), &err);
    cr_assert_eq(st, wanted, "%s", err.text);
    cr_assert(strstr(err.text, word), "\"%s\" lacks \"%s\"", err.text, word);
}

Test(artifact, has_a_digest_per_chunk)
{
    expect(STATUS_OK, "", 32, 1, 32);
    expect(STATUS_OK, "", 32, CHUNK_BYTES, 32);
    expect(STATUS_OK, "", 32, CHUNK_BYTES + 1, 64);
    expect(STATUS_OK, "", 32, 3 * (uint64_t)CHUNK_BYTES, 96);
}

Test(artifact, is_refused_with_a_sentence)
{
    expect(STATUS_INVALID, "32 bytes, this one has 31", 31, 1, 32);
    expect(STATUS_INVALID, "empty", 32, 0, 0);
    expect(STATUS_INVALID, "2 chunks, but digests of 1", 32, CHUNK_BYTES + 1, 32);
    expect(STATUS_INVALID, "1 chunks, but digests of 1", 32, 5, 33);
    expect(STATUS_INVALID, "1 chunks, but digests of 0", 32, 5, 0);
    expect(STATUS_TOO_LARGE, "17179869184", 32, (1ull << 34) + 1, 96);
    expect(STATUS_TOO_LARGE, "at most", 32, UINT64_MAX, 96);
}

Test(artifact, of_one_chunk_has_its_digest)
{
    unsigned char other[DIGEST_SIZE] = { 9 };
    struct error err;
    enum status st =
        check_artifact(bytes_of(other, DIGEST_SIZE), 5, bytes_of(digests, DIGEST_SIZE), &err);
    cr_assert_eq(st, STATUS_INVALID);
    cr_assert(strstr(err.text, "only chunk"), "%s", err.text);
}

static enum status object(const char *text, struct error *err)
{
    return check_json_object(bytes_str(text), "metrics", err);
}

Test(json, is_an_object_or_empty)
{
    struct error err;
    cr_assert_eq(object("", &err), STATUS_OK);
    cr_assert_eq(object("{}", &err), STATUS_OK);
    cr_assert_eq(object("{\"accuracy\":0.9,\"classes\":[\"a\",\"b\"]}", &err), STATUS_OK);
    cr_assert_eq(check_json_array(bytes_str("[{},{}]"), "history", &err), STATUS_OK);
}

Test(json, is_refused_with_its_name)
{
    static const char *const bad[] = { "{",          "[]",    "1",           "null",
                                       "{\"a\":1}}", "{a:1}", "{\"a\":NaN}", "{\"a\":\"\xff\"}",
                                       " " };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err;
        cr_assert_eq(object(bad[i], &err), STATUS_INVALID, "%s", bad[i]);
        cr_assert(strstr(err.text, "metrics is not"), "%s", err.text);
    }
    struct error err;
    cr_assert_eq(check_json_array(bytes_str("{}"), "history", &err), STATUS_INVALID);
}

Test(json, borrowed_text_needs_no_end)
{
    struct error err;
    cr_assert_eq(check_json_object(bytes_of("{}garbage", 2), "tags", &err), STATUS_OK);
}
