/* files.h - the files of a version in the cache.
 *
 * A version of one file is that file, under its digest.  One of several is a folder, named by the
 * digest of its list; its files are hard links to those of the cache, so that equal files of several
 * versions are there once.  The list lies beside them: what the engine verifies, and what the model
 * may open.
 */
#ifndef SERVICES_WORKER_FILES_H
#define SERVICES_WORKER_FILES_H

#include "common/base/cache.h"
#include "common/msg/schema.h"
#include "common/net/artifact.h"

#define FILES_LIST ".files" /* no file of a version has such a name: name_check */

struct version_file {
    char name[MAX_NAME + 1];
    struct digest digest;
};

struct version_files {
    struct digest key;       /* what the cache knows the version by */
    struct version_file *at; /* the main one first */
    size_t count;            /* 0: one file without a name, key is its digest */
    uint64_t bytes;          /* of all */
};

/* CORRUPT: a name or a digest is none. */
enum status files_read(const struct msg_version *v, struct version_files *out) MUST_CHECK;
void files_finish(struct version_files *f); /* zeroed is fine */
uint64_t files_bytes(const struct msg_version *v);

/* Where the engine finds the main file, and the list (NULL: there is none); the caller frees. */
char *files_path(const char *folder, const struct version_files *f);
char *files_list_path(const char *folder, const struct version_files *f);

/* Something of it is damaged: all of it goes. */
void files_remove(const char *folder, const struct version_files *f);

/* Puts the folder together out of files that are there.  For a pool thread.  IO. */
enum status files_lay_out(const char *folder, const struct version_files *f,
                          struct error *err) MUST_CHECK;

/* A list that files_lay_out has written; names and digests.  CORRUPT. */
enum status files_read_list(const char *path, struct version_files *out,
                            struct error *err) MUST_CHECK;

#endif
