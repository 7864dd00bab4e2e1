/* mapped.c - see mapped.h. */
#include "services/worker/mapped.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum status mapped_open(const char *path, struct bytes *out, struct error *err)
{
    struct stat about;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about) != 0) {
        if (fd >= 0)
            close(fd);
        return error_set(err, STATUS_IO, "cannot read the artifact: %m");
    }
    size_t len = (size_t)about.st_size;
    void *file = len ? mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    close(fd);
    if (file == MAP_FAILED)
        return error_set(err, STATUS_INVALID, "the artifact is empty or cannot be mapped");
    *out = bytes_of(file, len);
    return STATUS_OK;
}

void mapped_close(struct bytes file)
{
    if (file.len)
        munmap((void *)(uintptr_t)file.data, file.len);
}

enum status mapped_open_all(const struct runtime_file *files, size_t count,
                            struct mapped_files *out, struct error *err)
{
    out->count = 0;
    for (size_t i = 0; i < count; i++) {
        struct bytes data = { 0 };
        enum status st = mapped_open(files[i].path, &data, err);
        if (st)
            return st;
        out->names[i] = files[i].name;
        out->data[i] = (void *)(uintptr_t)data.data;
        out->sizes[i] = data.len;
        out->count++;
    }
    return STATUS_OK;
}

void mapped_close_all(struct mapped_files *files)
{
    while (files->count) {
        files->count--;
        mapped_close(bytes_of(files->data[files->count], files->sizes[files->count]));
    }
}
