/* tar.h - POSIX tar archives (IEEE Std 1003.1, pax: "ustar interchange format"), as streams.  Pure.
 *
 * Written: regular files with short names.  Read: the same, however the archive was packed again:
 * with pax headers (a name and a size count, the rest is stepped over) or sizes as GNU tar writes
 * them.  Folders are stepped over, everything else is refused.
 */
#ifndef SERVICES_GATEWAY_TAR_H
#define SERVICES_GATEWAY_TAR_H

#include "common/base/bytes.h"

#define TAR_BLOCK    512
#define TAR_NAME_MAX 100
#define TAR_PATH_MAX 256  /* bytes of a name that is read */
#define TAR_PAX_MAX  8192 /* bytes of one file's pax header */

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

enum tar_extra { TAR_FILE, TAR_PAX, TAR_STEPPED_OVER };

struct tar_reader {
    const struct tar_events *events; /* private, all of it */
    void *arg;
    unsigned char block[TAR_BLOCK]; /* a header that is coming */
    size_t block_len;
    enum tar_extra extra; /* what the present file is */
    uint64_t left;        /* data of it */
    size_t padding;       /* behind it */
    bool ended;           /* a block of zeros has come */
    /* of a pax header, for the next file */
    char pax[TAR_PAX_MAX];
    size_t pax_len;
    char path[TAR_PATH_MAX + 1]; /* empty: not said */
    uint64_t size;               /* UINT64_MAX: not said */
};

void tar_start(struct tar_reader *t, const struct tar_events *events, void *arg);
/* INVALID: it is no tar archive; or what an event has said. */
enum status tar_feed(struct tar_reader *t, struct bytes data, struct error *err) MUST_CHECK;
bool tar_complete(const struct tar_reader *t); /* nothing is cut off */

#endif
