/* test_schema.c - the names of things, and what a name may look like. */
#include "common/msg/schema.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>

Test(schema, kinds_roles_and_states_have_names)
{
    cr_assert_str_eq(msg_kind_name(MSG_VERSION_COMMIT), "VERSION_COMMIT");
    cr_assert_str_eq(msg_kind_name(0), "?");
    cr_assert_str_eq(msg_kind_name(UINT32_MAX), "?");
    for (unsigned r = ROLE_REGISTRY; r < ROLE_COUNT; r++)
        cr_assert_eq(role_parse(bytes_str(role_name(r))), (enum role)r);
    cr_assert_eq(role_parse(bytes_str("none")), ROLE_NONE);
    cr_assert_eq(role_parse(bytes_str("")), ROLE_NONE);
    cr_assert_str_eq(role_name(ROLE_COUNT), "?");
    cr_assert_str_eq(training_state_name(TRAINING_CANCELLED), "cancelled");
    cr_assert_str_eq(training_state_name(TRAINING_CANCELLED + 1), "?");
    cr_assert_str_eq(engine_state_name(ENGINE_LEAVING), "leaving");
    cr_assert_str_eq(engine_state_name(UINT32_MAX), "?");
}

Test(schema, good_names)
{
    static const char *const good[] = { "a", "7", "fashion-mnist", "A.b_c-9", "t10k-labels.gz" };
    struct error err;
    char longest[MAX_NAME + 1];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        cr_assert_eq(name_check(bytes_str(good[i]), "model", &err), STATUS_OK, "%s", good[i]);
    memset(longest, 'n', sizeof longest);
    cr_assert_eq(name_check(bytes_of(longest, MAX_NAME), "model", &err), STATUS_OK);
    cr_assert_eq(name_check(bytes_of(longest, MAX_NAME + 1), "model", &err), STATUS_INVALID);
    cr_assert(strstr(err.text, "model") && strstr(err.text, "128"), "%s", err.text);
}

Test(schema, bad_names_are_refused_with_the_character)
{
    static const char *const bad[] = { ".",   "..",       "-x",    "_x",    "a/b",    "a b", "a\n",
                                       "a:b", "\xc3\xa9", "a\x7f", "a\xff", "../etc", "a%2f" };
    struct error err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(name_check(bytes_str(bad[i]), "dataset", &err), STATUS_INVALID, "%s", bad[i]);
    cr_assert(strstr(err.text, "dataset") && strstr(err.text, "0x25"), "%s", err.text);
    cr_assert_eq(name_check(bytes_of("a\0b", 3), "dataset", &err), STATUS_INVALID);
    cr_assert_eq(name_check(bytes_of(NULL, 0), "dataset", &err), STATUS_INVALID);
    cr_assert_str_eq(err.text, "dataset is empty");
    /* Every byte at the first and a later place. */
    for (unsigned c = 0; c < 256; c++) {
        char name[2] = { (char)c, 'x' };
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        bool later = alnum || c == '.' || c == '_' || c == '-';
        cr_assert_eq(name_check(bytes_of(name, 2), "n", NULL) == STATUS_OK, alnum);
        name[1] = (char)c;
        name[0] = 'x';
        cr_assert_eq(name_check(bytes_of(name, 2), "n", NULL) == STATUS_OK, later);
    }
}
