/* source.h - a file of a data set as a stream of bytes, inflated when it is compressed.
 *
 * Errors do not name the file: the readers put its name before what else they have to say.
 */
#ifndef SERVICES_TRAINER_SOURCE_H
#define SERVICES_TRAINER_SOURCE_H

#include "common/base/bytes.h"

#include <stdatomic.h>

/* A file as its data set names it (for errors), and where its bytes are. */
struct source_file {
    const char *name;
    const char *path;
    const atomic_bool *cancelled; /* set: reading ends with CANCELLED; may be NULL */
    uint64_t memory_bytes;        /* that what is made of it may take; 0: any */
};

struct gzFile_s;
struct zip;
struct zip_file;

struct source {
    const struct source_file *file; /* borrowed */
    struct gzFile_s *stream;        /* private */
    struct zip *archive;            /* private: of members of zip archives */
    struct zip_file *member;        /* private */
};

/* file: borrowed until source_close.  IO: cannot be opened.  INVALID: named .gz, but not
 * compressed. */
enum status source_open(struct source *s, const struct source_file *file,
                        struct error *err) MUST_CHECK;
/* A member of a zip archive (.npz).  NOT_FOUND: it has none of that name. */
enum status source_open_member(struct source *s, const struct source_file *file, const char *member,
                               struct error *err) MUST_CHECK;
/* Reads len bytes; *got is less only at the end of the file.  INVALID: the compressed data is cut
 * off or damaged. */
enum status source_read(struct source *s, void *data, size_t len, size_t *got,
                        struct error *err) MUST_CHECK;
void source_close(struct source *s); /* zeroed is fine */

/* TOO_LARGE: `rows` of `columns` cells, `bytes` together, are more than the file's memory_bytes. */
enum status source_room(const struct source_file *file, uint64_t rows, uint64_t columns,
                        uint64_t bytes, struct error *err) MUST_CHECK;
bool source_cancelled(const struct source_file *file);

#endif
