/* test_status.c - the vocabulary of failure. */
#include "common/base/bytes.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <signal.h>

Test(status, every_status_has_its_row)
{
    for (unsigned st = 0; st < STATUS_COUNT; st++) {
        cr_assert_gt(strlen(status_text((enum status)st)), 0);
        cr_assert_gt(strlen(status_name((enum status)st)), 0);
        int http = status_http((enum status)st);
        cr_assert(http >= 200 && http < 600);
        cr_assert_eq(status_from_wire(st), (enum status)st);
        if (status_retryable((enum status)st))
            cr_assert(http == 429 || http >= 500);
    }
    cr_assert_eq(STATUS_OK, 0);
    cr_assert_str_eq(status_name(STATUS_NOT_FOUND), "NOT_FOUND");
    cr_assert_eq(status_http(STATUS_NOT_FOUND), 404);
    cr_assert(status_retryable(STATUS_UNAVAILABLE));
    cr_assert(!status_retryable(STATUS_POISON));
}

Test(status, unknown_numbers_from_a_peer_are_internal)
{
    cr_assert_eq(status_from_wire(STATUS_COUNT), STATUS_INTERNAL);
    cr_assert_eq(status_from_wire(UINT32_MAX), STATUS_INTERNAL);
}

Test(status, an_unknown_status_of_ours_is_a_bug, .signal = SIGABRT)
{
    status_text((enum status)STATUS_COUNT);
}

Test(error, keeps_status_and_text)
{
    struct error e;
    cr_assert_eq(error_set(&e, STATUS_CONFLICT, "%s is version %d", "m", 3), STATUS_CONFLICT);
    cr_assert_eq(e.status, STATUS_CONFLICT);
    cr_assert_str_eq(e.text, "m is version 3");
    cr_assert_eq(error_set(NULL, STATUS_IO, "nobody reads %s", "this"), STATUS_IO);
}

Test(error, a_long_text_is_cut_between_characters)
{
    struct error e;
    char text[2 * ERROR_TEXT_MAX];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'x', shift);
        for (size_t i = shift; i + 4 < sizeof text; i += 4)
            memcpy(text + i, "\xf0\x9f\x98\x80", 5);
        error_set(&e, STATUS_INVALID, "%s", text);
        size_t len = strlen(e.text);
        cr_assert_eq((len - shift) % 4, 0);
        cr_assert_geq(len, ERROR_TEXT_MAX - 5);
        cr_assert_lt(len, ERROR_TEXT_MAX);
    }
}

Test(error, a_text_is_utf8_whatever_it_quotes)
{
    struct error e;
    error_set(&e, STATUS_INVALID, "model \"%s\" is not there", "caf\xc3\xa9 \xff\xc3/\xe2\x82");
    cr_assert_str_eq(e.text, "model \"caf\xc3\xa9 ?"
                             "?/?"
                             "?\" is not there");
}

Test(die, ends_the_process_with_2, .exit_code = 2)
{
    cr_redirect_stderr();
    die("cannot listen on %s", "here");
}

Test(memory, a_buffer_that_cannot_grow_ends_the_process, .exit_code = 2)
{
    struct buf b = { 0 };
    cr_redirect_stderr();
    buf_reserve(&b, SIZE_MAX - 1);
}
