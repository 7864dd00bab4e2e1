/* tsan.h - lets Criterion start under ThreadSanitizer.
 *
 * Criterion maps the memory that it shares with a test at an address from rand_r, between
 * 0x2000'0000'0000 and 0x6000'0000'0000 in steps of 16 MiB.  Most of that range belongs to
 * ThreadSanitizer's shadow, so here the dice fall within the part that it leaves to programs.
 * Included once per test program.
 */
#ifndef TESTS_UNIT_TSAN_H
#define TESTS_UNIT_TSAN_H

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#include <stdlib.h>

int rand_r(unsigned *seed)
{
    const unsigned first = 0x350000, steps = 0x18000; /* 0x5500'0000'0000 to 0x5680'0000'0000 */
    *seed = *seed * 1103515245u + 12345u;
    return (int)(first + (*seed >> 8) % steps);
}
#endif

#endif
