/* test_bytes.c - borrowed and owned memory, and UTF-8. */
#include "common/base/bytes.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <stdlib.h>

Test(bytes, equality_is_by_content)
{
    cr_assert(bytes_equal(bytes_of(NULL, 0), bytes_str("")));
    cr_assert(bytes_equal_str(bytes_of("abcd", 3), "abc"));
    cr_assert(!bytes_equal_str(bytes_of("ab", 2), "abc"));
    cr_assert(!bytes_equal_str(bytes_of("abd", 3), "abc"));
    cr_assert(bytes_equal(bytes_of("a\0b", 3), bytes_of("a\0b", 3)));
    cr_assert_eq(bytes_str(NULL).len, 0);
}

Test(bytes, copy_str_fits_or_refuses)
{
    char out[4] = "zzz";
    cr_assert_eq(bytes_copy_str(bytes_str("abcd"), out, sizeof out), STATUS_INVALID);
    cr_assert_eq(bytes_copy_str(bytes_of("a\0b", 3), out, sizeof out), STATUS_INVALID);
    cr_assert_eq(bytes_copy_str(bytes_str("abc"), out, sizeof out), STATUS_OK);
    cr_assert_str_eq(out, "abc");
    cr_assert_eq(bytes_copy_str(bytes_of(NULL, 0), out, sizeof out), STATUS_OK);
    cr_assert_str_eq(out, "");
    cr_assert_eq(bytes_copy_str(bytes_of(NULL, 0), out, 0), STATUS_INVALID);
}

Test(bytes, mem_str_copies)
{
    char *s = mem_str(bytes_of("abc", 2));
    cr_assert_str_eq(s, "ab");
    free(s);
    s = mem_str(bytes_of(NULL, 0));
    cr_assert_str_eq(s, "");
    free(s);
}

Test(buf, grows_and_keeps_what_was_there)
{
    struct buf b = { 0 };
    for (int i = 0; i < 10000; i++)
        buf_printf(&b, "%d,", i);
    cr_assert_eq(b.len, 10 * 2 + 90 * 3 + 900 * 4 + 9000 * 5);
    cr_assert_eq(strncmp(buf_cstr(&b), "0,1,2,3,", 8), 0);
    cr_assert_eq(strlen(buf_cstr(&b)), b.len);
    cr_assert_eq(strcmp(buf_cstr(&b) + b.len - 10, "9998,9999,"), 0);
    buf_finish(&b);
    cr_assert_eq(b.data, NULL);
    buf_finish(&b);
}

Test(buf, consumes_from_the_front)
{
    struct buf b = { 0 };
    buf_append_str(&b, "hello world");
    buf_consume(&b, 6);
    cr_assert_str_eq(buf_cstr(&b), "world");
    buf_consume(&b, 0);
    buf_consume(&b, 5);
    cr_assert_eq(b.len, 0);
    cr_assert_str_eq(buf_cstr(&b), "");
    buf_finish(&b);
}

Test(buf, nothing_may_be_appended)
{
    struct buf b = { 0 };
    buf_append(&b, NULL, 0);
    buf_append_str(&b, "");
    buf_append_bytes(&b, bytes_of(NULL, 0));
    buf_printf(&b, "%s", "");
    cr_assert_eq(b.len, 0);
    cr_assert_str_eq(buf_cstr(&b), "");
    buf_finish(&b);
}

Test(buf, gives_its_memory_away)
{
    struct buf b = { 0 };
    size_t len = 99;
    buf_append_str(&b, "text");
    char *taken = buf_take(&b, &len);
    cr_assert_eq(len, 4);
    cr_assert_eq(memcmp(taken, "text", 4), 0);
    cr_assert_eq(b.data, NULL);
    cr_assert_eq(b.cap, 0);
    free(taken);
    cr_assert_eq(buf_take(&b, NULL), NULL);
}

Test(utf8, knows_every_code_point_and_its_length)
{
    for (uint32_t c = 1; c <= 0x10ffff; c++) {
        unsigned char s[4];
        size_t len;
        if (c < 0x80) {
            s[0] = (unsigned char)c;
            len = 1;
        } else if (c < 0x800) {
            s[0] = (unsigned char)(0xc0 | c >> 6);
            s[1] = (unsigned char)(0x80 | (c & 0x3f));
            len = 2;
        } else if (c < 0x10000) {
            s[0] = (unsigned char)(0xe0 | c >> 12);
            s[1] = (unsigned char)(0x80 | (c >> 6 & 0x3f));
            s[2] = (unsigned char)(0x80 | (c & 0x3f));
            len = 3;
        } else {
            s[0] = (unsigned char)(0xf0 | c >> 18);
            s[1] = (unsigned char)(0x80 | (c >> 12 & 0x3f));
            s[2] = (unsigned char)(0x80 | (c >> 6 & 0x3f));
            s[3] = (unsigned char)(0x80 | (c & 0x3f));
            len = 4;
        }
        bool surrogate = c >= 0xd800 && c <= 0xdfff;
        if (bytes_utf8(bytes_of(s, len)) != (surrogate ? 0 : len))
            cr_assert_fail("U+%04X", c);
        if (bytes_utf8(bytes_of(s, len - 1)) != 0 && len > 1)
            cr_assert_fail("U+%04X, cut", c);
    }
}

Test(utf8, refuses_what_is_none)
{
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xe0\x80\x80",
        "\xe0\x9f\xbf",
        "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "\xfe",
        "\xc3(",
        "\xe2\x82(",
        "\xed\xa0\x80",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(bytes_utf8(bytes_str(bad[i])), 0, "number %zu", i);
    cr_assert_eq(bytes_utf8(bytes_of("", 0)), 0);
}
