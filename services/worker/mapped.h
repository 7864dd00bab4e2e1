/* mapped.h - files as memory, read-only. */
#ifndef SERVICES_WORKER_MAPPED_H
#define SERVICES_WORKER_MAPPED_H

#include "services/worker/runtime.h"

/* IO: it cannot be read.  INVALID: it is empty, or cannot be mapped. */
enum status mapped_open(const char *path, struct bytes *out, struct error *err) MUST_CHECK;
void mapped_close(struct bytes file); /* empty is fine */

struct mapped_files {
    const char *names[MAX_VERSION_FILES]; /* borrowed */
    void *data[MAX_VERSION_FILES];
    size_t sizes[MAX_VERSION_FILES];
    size_t count;
};

/* Also on failure *out is to be closed. */
enum status mapped_open_all(const struct runtime_file *files, size_t count,
                            struct mapped_files *out, struct error *err) MUST_CHECK;
void mapped_close_all(struct mapped_files *files);

#endif
