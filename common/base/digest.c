/* digest.c - SHA-256.
 *
 * The low-level functions are used on purpose, out of the static library: the EVP layer loads
 * OpenSSL's providers and the shared library its relocations, 4 to 5 MiB of resident memory in
 * each process for the same code.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "common/base/digest.h"

#include <openssl/sha.h>
#include <stdlib.h>

void digest_of(struct bytes data, struct digest *out)
{
    SHA256_CTX state; /* SHA256() in one call would go through EVP */
    SHA256_Init(&state);
    if (data.len)
        SHA256_Update(&state, data.data, data.len);
    SHA256_Final(out->byte, &state);
}

void digest_start(struct digest_stream *s)
{
    s->state = mem_alloc(sizeof(SHA256_CTX));
    SHA256_Init(s->state);
}

void digest_update(struct digest_stream *s, struct bytes data)
{
    if (data.len)
        SHA256_Update(s->state, data.data, data.len);
}

void digest_end(struct digest_stream *s, struct digest *out)
{
    SHA256_Final(out->byte, s->state);
    digest_drop(s);
}

void digest_drop(struct digest_stream *s)
{
    free(s->state);
    s->state = NULL;
}

void digest_hex(const struct digest *d, char out[DIGEST_HEX_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < DIGEST_SIZE; i++) {
        out[2 * i] = digits[d->byte[i] >> 4];
        out[2 * i + 1] = digits[d->byte[i] & 15];
    }
    out[2 * DIGEST_SIZE] = 0;
}

static int nibble(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum status digest_parse(struct bytes hex, struct digest *out)
{
    const unsigned char *p = hex.data;
    if (hex.len != 2 * (size_t)DIGEST_SIZE)
        return STATUS_INVALID;
    for (size_t i = 0; i < DIGEST_SIZE; i++) {
        int high = nibble(p[2 * i]), low = nibble(p[2 * i + 1]);
        if (high < 0 || low < 0)
            return STATUS_INVALID;
        out->byte[i] = (unsigned char)(high << 4 | low);
    }
    return STATUS_OK;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
    return memcmp(a->byte, b->byte, DIGEST_SIZE) == 0;
}
