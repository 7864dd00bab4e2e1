/* test_clock.c - monotonic time, and wall time as text. */
#include "common/base/clock.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <string.h>

Test(clock, text_is_rfc_3339)
{
    char text[CLOCK_TEXT_SIZE];
    clock_text(0, text);
    cr_assert_str_eq(text, "1970-01-01T00:00:00.000Z");
    clock_text(951782400123, text); /* a leap day */
    cr_assert_str_eq(text, "2000-02-29T00:00:00.123Z");
    clock_text(1769860800999, text);
    cr_assert_str_eq(text, "2026-01-31T12:00:00.999Z");
    clock_text(UINT64_MAX, text); /* whatever it says, it ends */
    cr_assert_lt(strlen(text), CLOCK_TEXT_SIZE);
}

Test(clock, never_goes_back)
{
    uint64_t last = clock_us();
    for (int i = 0; i < 100000; i++) {
        uint64_t now = clock_us();
        cr_assert_geq(now, last);
        last = now;
    }
    cr_assert_leq(clock_us() / 1000 - clock_ms(), 1);
    cr_assert_gt(clock_wall_ms(), 1700000000000);
}
