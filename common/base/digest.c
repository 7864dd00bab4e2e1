/* digest.c - SHA-256.  A failure of OpenSSL here can only be lack of memory. */
#include "common/base/digest.h"

#include <openssl/evp.h>

static void must(int ok)
{
    if (!ok)
        die("OpenSSL cannot compute SHA-256");
}

void digest_of(struct bytes data, struct digest *out)
{
    must(EVP_Digest(data.data, data.len, out->byte, NULL, EVP_sha256(), NULL));
}

void digest_start(struct digest_stream *s)
{
    s->state = EVP_MD_CTX_new();
    must(s->state && EVP_DigestInit_ex(s->state, EVP_sha256(), NULL));
}

void digest_update(struct digest_stream *s, struct bytes data)
{
    must(EVP_DigestUpdate(s->state, data.data, data.len));
}

void digest_end(struct digest_stream *s, struct digest *out)
{
    must(EVP_DigestFinal_ex(s->state, out->byte, NULL));
    digest_drop(s);
}

void digest_drop(struct digest_stream *s)
{
    EVP_MD_CTX_free(s->state);
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
