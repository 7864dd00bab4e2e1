/* test_range.c - which bytes a client wants (RFC 9110 section 14). */
#include "services/gateway/http/range.h"

#include <criterion/criterion.h>

static void expect(const char *text, uint64_t size, enum range want, uint64_t first,
                   uint64_t length)
{
    uint64_t f = 0, l = 0;
    enum range got = range_parse(text, size, &f, &l);
    cr_expect_eq(got, want, "%s", text);
    cr_expect(want != RANGE_PART || (f == first && l == length), "%s: %llu + %llu", text,
              (unsigned long long)f, (unsigned long long)l);
}

Test(range, parts)
{
    expect("bytes=0-0", 10, RANGE_PART, 0, 1);
    expect("Bytes=2-5", 10, RANGE_PART, 2, 4);
    expect("bytes=2-", 10, RANGE_PART, 2, 8);
    expect("bytes=9-9", 10, RANGE_PART, 9, 1);
    expect("bytes=0-99", 10, RANGE_PART, 0, 10);
    expect("bytes=-3", 10, RANGE_PART, 7, 3);
    expect("bytes=-30", 10, RANGE_PART, 0, 10);
    expect("bytes=5-18446744073709551615", 10, RANGE_PART, 5, 5);
    expect("bytes=5-99999999999999999999999", 10, RANGE_PART, 5, 5);
    expect("bytes=-1", UINT64_MAX, RANGE_PART, UINT64_MAX - 1, 1);
}

Test(range, outside)
{
    expect("bytes=10-", 10, RANGE_OUTSIDE, 0, 0);
    expect("bytes=10-20", 10, RANGE_OUTSIDE, 0, 0);
    expect("bytes=99999999999999999999999-", 10, RANGE_OUTSIDE, 0, 0);
    expect("bytes=-0", 10, RANGE_OUTSIDE, 0, 0);
}

Test(range, what_is_not_known_is_no_range)
{
    static const char *const texts[] = {
        "",        "?",         "bytes",     "bytes=",        "bytes=-",    "bytes=x-1",
        "bytes=1", "bytes=5-2", "lines=1-2", "bytes=1-2,4-5", "bytes= 1-2", "bytes=1-2 "
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        expect(texts[i], 10, RANGE_WHOLE, 0, 0);
}

Test(range, tags)
{
    cr_expect(range_tag_matches("*", "\"a\""));
    cr_expect(range_tag_matches("\"a\"", "\"a\""));
    cr_expect(range_tag_matches("W/\"a\"", "\"a\""));
    cr_expect(range_tag_matches("\"b\", \"a\"", "\"a\""));
    cr_expect(range_tag_matches("\"a\",\"b\"", "\"a\""));
    cr_expect_not(range_tag_matches("\"ab\"", "\"a\""));
    cr_expect_not(range_tag_matches("\"a\"x", "\"a\""));
    cr_expect_not(range_tag_matches("", "\"a\""));
    cr_expect_not(range_tag_matches("?", "\"a\""));
}
