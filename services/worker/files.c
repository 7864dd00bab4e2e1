/* files.c - see files.h.  A list has a line for each file: its digest in hex, a blank, its name. */
#include "services/worker/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIST_MAX (MAX_VERSION_FILES * (DIGEST_HEX_SIZE + MAX_NAME + 1))

static void write_list(const struct version_files *f, struct buf *out)
{
    char hex[DIGEST_HEX_SIZE];
    for (size_t i = 0; i < f->count; i++) {
        digest_hex(&f->at[i].digest, hex);
        buf_printf(out, "%s %s\n", hex, f->at[i].name);
    }
}

static enum status read_file(const struct msg_file *from, struct version_file *to)
{
    struct error err;
    if (from->digest.len != DIGEST_SIZE || name_check(from->name, "the name of a file", &err) ||
        bytes_copy_str(from->name, to->name, sizeof to->name))
        return STATUS_CORRUPT;
    memcpy(to->digest.byte, from->digest.data, DIGEST_SIZE);
    return STATUS_OK;
}

uint64_t files_bytes(const struct msg_version *v)
{
    uint64_t bytes = v->files_count ? 0 : v->size_bytes;
    for (size_t i = 0; i < v->files_count; i++)
        bytes += v->files[i].size_bytes;
    return bytes;
}

enum status files_read(const struct msg_version *v, struct version_files *out)
{
    struct buf list = { 0 };
    enum status st = v->digest.len == DIGEST_SIZE ? STATUS_OK : STATUS_CORRUPT;
    *out = (struct version_files){ .bytes = files_bytes(v) };
    if (!st)
        memcpy(out->key.byte, v->digest.data, DIGEST_SIZE);
    if (st || !v->files_count)
        return st;
    out->at = mem_zalloc(v->files_count * sizeof *out->at);
    out->count = v->files_count;
    for (size_t i = 0; i < v->files_count && !st; i++)
        st = read_file(&v->files[i], &out->at[i]);
    write_list(out, &list);
    digest_of(buf_bytes(&list), &out->key);
    buf_finish(&list);
    return st;
}

void files_finish(struct version_files *f)
{
    free(f->at);
    *f = (struct version_files){ 0 };
}

/* ---- paths -------------------------------------------------------------------------------- */

static char *inside(const char *folder, const struct version_files *f, const char *name)
{
    struct buf path = { 0 };
    char *base = cache_path(folder, &f->key);
    buf_printf(&path, "%s/%s", base, name);
    buf_cstr(&path);
    free(base);
    return buf_take(&path, NULL);
}

char *files_path(const char *folder, const struct version_files *f)
{
    return f->count ? inside(folder, f, f->at[0].name) : cache_path(folder, &f->key);
}

char *files_list_path(const char *folder, const struct version_files *f)
{
    return f->count ? inside(folder, f, FILES_LIST) : NULL;
}

static void unlink_cached(const char *folder, const struct digest *digest)
{
    char *path = cache_path(folder, digest);
    unlink(path);
    free(path);
}

void files_remove(const char *folder, const struct version_files *f)
{
    char hex[DIGEST_HEX_SIZE];
    if (!f->count) {
        unlink_cached(folder, &f->key);
        return;
    }
    for (size_t i = 0; i < f->count; i++)
        unlink_cached(folder, &f->at[i].digest);
    digest_hex(&f->key, hex);
    cache_remove_folder(folder, hex);
}

/* ---- laying out --------------------------------------------------------------------------- */

static enum status failed(struct error *err, const char *what)
{
    return error_set(err, errno == ENOSPC ? STATUS_FULL : STATUS_IO,
                     "the version's folder cannot be made: %s: %s", what, strerror(errno));
}

static enum status fill_folder(const char *folder, const char *part, const struct version_files *f,
                               struct error *err)
{
    enum status st = STATUS_OK;
    struct buf to = { 0 };
    for (size_t i = 0; i < f->count && !st; i++) {
        char *from = cache_path(folder, &f->at[i].digest);
        to.len = 0;
        buf_printf(&to, "%s/%s", part, f->at[i].name);
        if (link(from, buf_cstr(&to)) != 0)
            st = failed(err, f->at[i].name);
        free(from);
    }
    buf_finish(&to);
    return st;
}

static enum status add_list(const char *part, const struct version_files *f, struct error *err)
{
    struct buf path = { 0 }, list = { 0 };
    enum status st = STATUS_OK;
    buf_printf(&path, "%s/%s", part, FILES_LIST);
    write_list(f, &list);
    int fd = open(buf_cstr(&path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, list.data, list.len) != (ssize_t)list.len || fsync(fd) != 0)
        st = failed(err, FILES_LIST);
    if (fd >= 0)
        close(fd);
    buf_finish(&path);
    buf_finish(&list);
    return st;
}

enum status files_lay_out(const char *folder, const struct version_files *f, struct error *err)
{
    char *whole = cache_path(folder, &f->key), name[DIGEST_HEX_SIZE + sizeof CACHE_PART];
    struct buf part = { 0 };
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&f->key, hex);
    snprintf(name, sizeof name, "%s" CACHE_PART, hex);
    buf_printf(&part, "%s/%s", folder, name);
    cache_remove_folder(folder, name); /* of an earlier try */
    cache_remove_folder(folder, hex);  /* not whole: its main file is missing */
    enum status st = STATUS_OK;
    if (mkdir(buf_cstr(&part), 0700) != 0)
        st = failed(err, name);
    if (!st)
        st = fill_folder(folder, (char *)part.data, f, err);
    if (!st)
        st = add_list((char *)part.data, f, err);
    if (!st && rename((char *)part.data, whole) != 0)
        st = failed(err, hex);
    free(whole);
    buf_finish(&part);
    return st;
}

/* ---- the engine's side -------------------------------------------------------------------- */

static enum status read_line(struct bytes line, struct version_file *out)
{
    const char *text = line.data;
    struct error err;
    if (line.len <= DIGEST_HEX_SIZE || text[DIGEST_HEX_SIZE - 1] != ' ' ||
        digest_parse(bytes_of(text, DIGEST_HEX_SIZE - 1), &out->digest))
        return STATUS_CORRUPT;
    struct bytes name = bytes_of(text + DIGEST_HEX_SIZE, line.len - DIGEST_HEX_SIZE);
    if (name_check(name, "the name of a file", &err))
        return STATUS_CORRUPT;
    return bytes_copy_str(name, out->name, sizeof out->name);
}

static enum status read_lines(struct bytes text, struct version_files *out)
{
    const char *at = text.data, *end = at + text.len;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop || out->count == MAX_VERSION_FILES ||
            read_line(bytes_of(at, (size_t)(stop - at)), &out->at[out->count]))
            return STATUS_CORRUPT;
        out->count++;
        at = stop + 1;
    }
    return out->count ? STATUS_OK : STATUS_CORRUPT;
}

enum status files_read_list(const char *path, struct version_files *out, struct error *err)
{
    static char text[LIST_MAX + 1];
    *out = (struct version_files){ 0 };
    FILE *file = fopen(path, "re");
    size_t len = file ? fread(text, 1, sizeof text, file) : 0;
    if (file)
        fclose(file);
    out->at = mem_zalloc(MAX_VERSION_FILES * sizeof *out->at);
    if (len && len <= LIST_MAX && !read_lines(bytes_of(text, len), out))
        return STATUS_OK;
    files_finish(out);
    return error_set(err, STATUS_CORRUPT, "%s is damaged", path);
}
