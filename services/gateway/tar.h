/* tar.h - POSIX tar archives (IEEE Std 1003.1, pax: "ustar interchange format"), as streams.  Pure.
 *
 * Written: regular files with short names.  Read: the same, however the archive was packed again;
 * folders are stepped over, everything else is refused.
 */
#ifndef SERVICES_GATEWAY_TAR_H
#define SERVICES_GATEWAY_TAR_H

#include "common/base/bytes.h"

#define TAR_BLOCK    512
#define TAR_NAME_MAX 100

/* The block before a file's data.  The name is shorter than TAR_NAME_MAX, the size below 8 GiB. */
void tar_header(unsigned char block[TAR_BLOCK], const char *name, uint64_t size);
/* Zeros behind so many bytes of data. */
size_t tar_padding(uint64_t size);

struct tar_events {
    /* A file begins.  Anything but OK ends the reading. */
    enum status (*file)(void *arg, const char *name, uint64_t size, struct error *err);
    /* Its data, in pieces; then, with no data, its end. */
    enum status (*data)(void *arg, struct bytes piece, struct error *err);
};

struct tar_reader {
    const struct tar_events *events; /* private, all of it */
    void *arg;
    unsigned char block[TAR_BLOCK]; /* a header that is coming */
    size_t block_len;
    uint64_t left;  /* data of the present file */
    size_t padding; /* behind it */
    bool ended;     /* a block of zeros has come */
};

void tar_start(struct tar_reader *t, const struct tar_events *events, void *arg);
/* INVALID: it is no tar archive; or what an event has said. */
enum status tar_feed(struct tar_reader *t, struct bytes data, struct error *err) MUST_CHECK;
bool tar_complete(const struct tar_reader *t); /* nothing is cut off */

#endif
