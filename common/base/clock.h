/* clock.h - time.  Deadlines and durations are monotonic; wall time is only for people. */
#ifndef COMMON_BASE_CLOCK_H
#define COMMON_BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_ms(void);      /* monotonic milliseconds */
uint64_t clock_us(void);      /* monotonic microseconds */
uint64_t clock_wall_ms(void); /* milliseconds since 1970-01-01 UTC */

/* "2026-01-31T12:00:00.123Z" (RFC 3339) and a NUL */
#define CLOCK_TEXT_SIZE 32
void clock_text(uint64_t wall_ms, char out[CLOCK_TEXT_SIZE]);

#endif
