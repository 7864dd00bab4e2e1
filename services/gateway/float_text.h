/* float_text.h - shortest decimal texts of floating-point numbers.
 *
 * Seven digits do not bring back more than half of all float32 values; these do, always,
 * and are as short as can be.  out: FLOAT_TEXT_MAX bytes; the length is returned, there is
 * no NUL.  value must be finite.
 */
#ifndef SERVICES_GATEWAY_FLOAT_TEXT_H
#define SERVICES_GATEWAY_FLOAT_TEXT_H

#include <stddef.h>

#define FLOAT_TEXT_MAX 32

size_t float_text(float value, char *out, size_t size);
size_t double_text(double value, char *out, size_t size);

#endif
