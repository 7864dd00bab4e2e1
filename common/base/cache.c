/* cache.c - see cache.h. */
#include "common/base/cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEX_LEN   (DIGEST_HEX_SIZE - 1)
#define FILES_MAX 65536 /* that one look considers */

struct cache_file {
    char name[HEX_LEN + sizeof CACHE_PART];
    struct digest digest;
    uint64_t size_bytes; /* on the disk */
    bool is_folder;
    struct timespec used;
};

struct listing {
    struct cache_file *at;
    size_t count;
    uint64_t size_bytes;
};

char *cache_path(const char *folder, const struct digest *digest)
{
    struct buf path = { 0 };
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    buf_printf(&path, "%s/%s", folder, hex);
    buf_cstr(&path);
    return buf_take(&path, NULL);
}

void cache_touch(const char *path)
{
    if (utimensat(AT_FDCWD, path, NULL, 0) != 0)
        return; /* it goes earlier than it might: no more than that */
}

/* Is this name a digest, or that of its unfinished download? */
static bool parse_name(const char *name, struct digest *out)
{
    size_t len = strlen(name);
    if (len != HEX_LEN &&
        (len != HEX_LEN + strlen(CACHE_PART) || strcmp(name + HEX_LEN, CACHE_PART) != 0))
        return false;
    return digest_parse(bytes_of(name, HEX_LEN), out) == STATUS_OK;
}

static void list_files(DIR *dir, int fd, struct listing *l)
{
    struct dirent *entry;
    size_t room = 0;
    while ((entry = readdir(dir)) && l->count < FILES_MAX) { // NOLINT: this stream is ours alone
        struct cache_file f = { 0 };
        struct stat about;
        if (!parse_name(entry->d_name, &f.digest) ||
            fstatat(fd, entry->d_name, &about, AT_SYMLINK_NOFOLLOW) != 0 ||
            (!S_ISREG(about.st_mode) && !S_ISDIR(about.st_mode)))
            continue;
        f.is_folder = S_ISDIR(about.st_mode);
        memcpy(f.name, entry->d_name, strlen(entry->d_name));
        f.size_bytes = (uint64_t)about.st_blocks * 512;
        f.used = about.st_mtim;
        if (l->count == room) {
            room = room ? 2 * room : 16;
            l->at = mem_resize(l->at, room * sizeof *l->at);
        }
        l->at[l->count++] = f;
        l->size_bytes += f.size_bytes;
    }
}

/* Folders go first: while one has a link, to remove the file itself frees nothing. */
static int longest_unused_first(const void *a, const void *b)
{
    const struct cache_file *one = a, *other = b;
    const struct timespec *x = &one->used, *y = &other->used;
    if (one->is_folder != other->is_folder)
        return one->is_folder ? -1 : 1;
    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? -1 : 1;
    return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

static bool is_used(const struct digest_list *used, const struct digest *d)
{
    for (size_t i = 0; i < used->count; i++)
        if (digest_equal(&used->at[i], d))
            return true;
    return false;
}

/* false: the folder cannot be read. */
static bool list_folder(const char *folder, int fd, struct listing *l)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return false;
    list_files(dir, fd, l);
    closedir(dir);
    return true;
}

static bool remove_folder(int cache, const char *name)
{
    int fd = openat(cache, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    if (!dir)
        return false;
    while ((entry = readdir(dir))) // NOLINT: this stream is ours alone
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(fd, entry->d_name, 0);
    closedir(dir);
    return unlinkat(cache, name, AT_REMOVEDIR) == 0;
}

void cache_remove_folder(const char *folder, const char *name)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    remove_folder(fd, name);
    close(fd);
}

static bool remove_entry(int fd, const struct cache_file *f)
{
    return f->is_folder ? remove_folder(fd, f->name) : unlinkat(fd, f->name, 0) == 0;
}

size_t cache_trim(const char *folder, uint64_t limit_bytes, const struct digest_list *used)
{
    struct listing l = { 0 };
    size_t removed = 0;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (list_folder(folder, fd, &l) && l.count)
        qsort(l.at, l.count, sizeof *l.at, longest_unused_first);
    for (size_t i = 0; i < l.count && l.size_bytes > limit_bytes; i++) {
        if (is_used(used, &l.at[i].digest) || !remove_entry(fd, &l.at[i]))
            continue;
        l.size_bytes -= l.at[i].size_bytes;
        removed++;
    }
    close(fd);
    free(l.at);
    return removed;
}
