/* digest.h - SHA-256 (FIPS 180-4) through OpenSSL.  Any thread. */
#ifndef COMMON_BASE_DIGEST_H
#define COMMON_BASE_DIGEST_H

#include "common/base/bytes.h"

#define DIGEST_SIZE     32
#define DIGEST_HEX_SIZE 65 /* 64 lower-case hex digits and a NUL */

struct digest {
    unsigned char byte[DIGEST_SIZE];
};

struct digest_stream {
    void *state; /* private */
};

void digest_of(struct bytes data, struct digest *out);
void digest_start(struct digest_stream *s);
void digest_update(struct digest_stream *s, struct bytes data);
void digest_end(struct digest_stream *s, struct digest *out); /* finishes s */
void digest_drop(struct digest_stream *s);                    /* zeroed is fine */

void digest_hex(const struct digest *d, char out[DIGEST_HEX_SIZE]);
enum status digest_parse(struct bytes hex, struct digest *out) MUST_CHECK; /* INVALID */
bool digest_equal(const struct digest *a, const struct digest *b);

#endif
