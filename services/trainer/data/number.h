/* number.h - decimal numbers out of people's files, by the C++17 standard library's from_chars:
 * four times as fast as strtod, and it knows no locales. */
#ifndef SERVICES_TRAINER_NUMBER_H
#define SERVICES_TRAINER_NUMBER_H

#include <stdbool.h>
#include <stddef.h>

/* A finite decimal number ("1", "-2.5", "+.5", "6e-3") that fits into a float32; false for anything
 * else, "nan" and "0x1" too.  *whole: it was written without point and exponent. */
bool number_read(const char *text, size_t len, double *value, bool *whole);

#endif
