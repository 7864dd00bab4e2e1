/* dataset.h - one digest for all files of a data set: what a model says that it was trained on. */
#ifndef COMMON_MSG_DATASET_H
#define COMMON_MSG_DATASET_H

#include "common/msg/schema.h"

/* SHA-256 of the lines that sha256sum prints for the files, in order of name.  count: at most
 * MAX_FILES. */
void dataset_digest(const struct msg_file *files, size_t count, struct digest *out);

#endif
