/* cache.h - the folder of artifacts: a file's name is its digest, so equal bytes are there once.
 * A folder in it, named by a digest too, holds hard links to such files under other names.
 *
 * The least recently used files that nobody uses go when the folder grows beyond its limit.
 * Files with other names are not ours and stay.
 */
#ifndef COMMON_BASE_CACHE_H
#define COMMON_BASE_CACHE_H

#include "common/base/digest.h"

struct digest_list {
    struct digest *at; /* owned */
    size_t count;
};

#define CACHE_PART ".part" /* ends the name of what is not complete */

/* The path of an artifact; the caller frees. */
char *cache_path(const char *folder, const struct digest *digest);

/* The artifact at this path is used now. */
void cache_touch(const char *path);

/* Removes files that are not in `used`, the longest unused first, until what is left has at
 * most limit_bytes; how many went.  Reads the disk: for a pool thread. */
size_t cache_trim(const char *folder, uint64_t limit_bytes, const struct digest_list *used);

/* Removes a folder of the cache with the files in it, if there is one. */
void cache_remove_folder(const char *folder, const char *name);

#endif
