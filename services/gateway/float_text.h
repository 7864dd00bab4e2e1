/* float_text.h - shortest decimal texts of numbers.
 *
 * Seven digits do not bring back more than half of all float32 values; these do, always,
 * and are as short as can be.  out: NUMBER_TEXT_MAX bytes; the length is returned, there is
 * no NUL.  Floating-point values must be finite.
 */
#ifndef SERVICES_GATEWAY_FLOAT_TEXT_H
#define SERVICES_GATEWAY_FLOAT_TEXT_H

#include <stddef.h>
#include <stdint.h>

#define NUMBER_TEXT_MAX 32

size_t float_text(float value, char *out);
size_t double_text(double value, char *out);
size_t int_text(int64_t value, char *out);
size_t uint_text(uint64_t value, char *out);

#endif
