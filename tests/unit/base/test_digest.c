/* test_digest.c - SHA-256 against the vectors of FIPS 180-4 and NIST's examples. */
#include "common/base/digest.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static const struct {
    const char *text;
    const char *hex;
} vectors[] = {
    { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
    { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
    { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
};

static void check(const struct digest *d, const char *hex)
{
    char text[DIGEST_HEX_SIZE];
    struct digest back;
    digest_hex(d, text);
    cr_assert_str_eq(text, hex);
    cr_assert_eq(digest_parse(bytes_str(text), &back), STATUS_OK);
    cr_assert(digest_equal(d, &back));
}

Test(digest, known_vectors)
{
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        struct digest d;
        digest_of(bytes_str(vectors[i].text), &d);
        check(&d, vectors[i].hex);
    }
    struct digest d;
    digest_of(bytes_of(NULL, 0), &d);
    check(&d, vectors[0].hex);
}

Test(digest, a_million_times_a_in_pieces_of_any_size)
{
    char *a = malloc(1000000);
    memset(a, 'a', 1000000);
    for (size_t piece = 1; piece <= 1000000; piece = piece * 7 + 3) {
        struct digest_stream s;
        struct digest d;
        digest_start(&s);
        for (size_t at = 0; at < 1000000; at += piece)
            digest_update(&s, bytes_of(a + at, 1000000 - at < piece ? 1000000 - at : piece));
        digest_update(&s, bytes_of(NULL, 0));
        digest_end(&s, &d);
        check(&d, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }
    free(a);
}

Test(digest, a_stream_may_be_dropped)
{
    struct digest_stream s;
    digest_start(&s);
    digest_update(&s, bytes_str("x"));
    digest_drop(&s);
    digest_drop(&s);
    s = (struct digest_stream){ 0 };
    digest_drop(&s);
}

Test(digest, only_64_lower_case_hex_digits_are_one)
{
    struct digest d;
    char text[DIGEST_HEX_SIZE];
    memset(text, '0', 64);
    text[64] = 0;
    cr_assert_eq(digest_parse(bytes_of(text, 64), &d), STATUS_OK);
    cr_assert_eq(digest_parse(bytes_of(text, 63), &d), STATUS_INVALID);
    cr_assert_eq(digest_parse(bytes_of(text, 65), &d), STATUS_INVALID);
    cr_assert_eq(digest_parse(bytes_of(NULL, 0), &d), STATUS_INVALID);
    for (const char *bad = "gA/:`@ \xff"; *bad; bad++) {
        for (size_t at = 0; at < 64; at += 21) {
            text[at] = *bad;
            cr_assert_eq(digest_parse(bytes_of(text, 64), &d), STATUS_INVALID);
            text[at] = '0';
        }
    }
}
