/* test_words.c - last words, and the pause before the next try. */
#include "services/worker/backoff.h"
#include "services/worker/words.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>

static struct words w;

static void say(const char *text)
{
    words_add(&w, bytes_str(text));
}

Test(words, the_last_line_that_is_not_empty)
{
    cr_expect_str_eq(words_last_line(&w), "");
    say("one\ntwo");
    cr_expect_str_eq(words_last_line(&w), "two");
    say(" and a half\n\n\r\n");
    cr_expect_str_eq(words_last_line(&w), "two and a half");
    words_clear(&w);
    say("\n\n");
    cr_expect_str_eq(words_last_line(&w), "");
}

Test(words, bounded_whatever_comes)
{
    char block[1000];
    memset(block, 'a', sizeof block);
    for (size_t len = 1; len < sizeof block; len += 37) {
        words_add(&w, bytes_of(block, len));
        cr_expect_leq(w.len, WORDS_BYTES);
    }
    say("end");
    const char *line = words_last_line(&w);
    cr_expect_eq(strlen(line), WORDS_BYTES);
    cr_expect_str_eq(line + WORDS_BYTES - 3, "end");
}

Test(words, control_characters_become_blanks)
{
    words_add(&w, bytes_of("first\nred\x1b[0m\0\tx\n", 17));
    cr_expect_str_eq(words_last_line(&w), "red [0m  x");
}

Test(backoff, doubles_up_to_the_last)
{
    struct backoff b = { 0 };
    uint64_t expected = BACKOFF_FIRST_MS, pause_ms;
    for (int i = 0; i < 20; i++) {
        pause_ms = backoff_next(&b);
        cr_expect_eq(pause_ms, expected);
        expected = 2 * expected < BACKOFF_LAST_MS ? 2 * expected : BACKOFF_LAST_MS;
    }
    cr_expect_eq(pause_ms, BACKOFF_LAST_MS);
    backoff_reset(&b);
    cr_expect_eq(backoff_next(&b), BACKOFF_FIRST_MS);
}
