/* text.h - text out of people's files: is it UTF-8, and how to show it in a sentence. */
#ifndef SERVICES_TRAINER_TEXT_H
#define SERVICES_TRAINER_TEXT_H

#include "common/base/bytes.h"

#define TEXT_SHOWN_SIZE 44

bool text_is_utf8(struct bytes text);

/* The beginning of text for an error message: at most 40 bytes, control characters and what is
 * not UTF-8 as '?'. */
const char *text_shown(struct bytes text, char out[TEXT_SHOWN_SIZE]);

/* A finite decimal number ("1", "-2.5", "6e-3").  INVALID: anything else, "nan" and "0x1" too. */
enum status text_number(struct bytes text, float *out) MUST_CHECK;

#endif
