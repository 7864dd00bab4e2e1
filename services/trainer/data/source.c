/* source.c - zlib's and libzip's readers with errors that people can act upon. */
#include "services/trainer/data/source.h"

#include "services/trainer/cancel.h"

#include <errno.h>
#include <zip.h>
#include <zlib.h>

#define STREAM_BUFFER_BYTES (128u << 10)
#define READ_STEP_BYTES     (1u << 20) /* between two looks at *cancelled */

static bool named_gz(const char *name)
{
    size_t len = strlen(name);
    return len > 3 && strcmp(name + len - 3, ".gz") == 0;
}

enum status source_open(struct source *s, const struct source_file *file, struct error *err)
{
    *s = (struct source){ .file = file };
    s->stream = gzopen(file->path, "rbe");
    if (!s->stream)
        return error_set(err, STATUS_IO, "it cannot be opened: %s", strerror(errno));
    gzbuffer(s->stream, STREAM_BUFFER_BYTES);
    if (named_gz(file->name) && gzdirect(s->stream)) {
        source_close(s);
        return error_set(err, STATUS_INVALID,
                         "its name ends in .gz, but it is not compressed with gzip");
    }
    return STATUS_OK;
}

static enum status stream_error(struct source *s, struct error *err)
{
    int code = Z_OK;
    const char *text = gzerror(s->stream, &code);
    if (code == Z_OK || code == Z_STREAM_END)
        return STATUS_OK;
    if (code == Z_BUF_ERROR)
        return error_set(err, STATUS_INVALID, "its compressed data is cut off");
    if (code == Z_ERRNO)
        return error_set(err, STATUS_IO, "it cannot be read: %s", strerror(errno));
    return error_set(err, STATUS_INVALID, "its compressed data is damaged (%s)", text);
}

enum status source_open_member(struct source *s, const struct source_file *file, const char *member,
                               struct error *err)
{
    int code = 0;
    *s = (struct source){ .file = file };
    s->archive = zip_open(file->path, ZIP_RDONLY, &code);
    if (!s->archive)
        return error_set(err,
                         code == ZIP_ER_OPEN || code == ZIP_ER_READ ? STATUS_IO : STATUS_INVALID,
                         "it is no zip archive that can be read");
    s->member = zip_fopen(s->archive, member, 0);
    if (s->member)
        return STATUS_OK;
    bool absent = zip_error_code_zip(zip_get_error(s->archive)) == ZIP_ER_NOENT;
    source_close(s);
    return error_set(err, absent ? STATUS_NOT_FOUND : STATUS_INVALID,
                     absent ? "it has no array '%.64s'" : "its array '%.64s' cannot be read",
                     member);
}

bool source_cancelled(const struct source_file *file)
{
    return cancel_is_set(file->cancelled);
}

enum status source_room(const struct source_file *file, uint64_t rows, uint64_t columns,
                        uint64_t bytes, struct error *err)
{
    if (!file->memory_bytes || bytes <= file->memory_bytes)
        return STATUS_OK;
    return error_set(err, STATUS_TOO_LARGE,
                     "%llu rows of %llu columns take %llu MiB of memory; this trainer has %llu MiB "
                     "for a training (--memory-bytes)",
                     (unsigned long long)rows, (unsigned long long)columns,
                     (unsigned long long)(bytes >> 20),
                     (unsigned long long)(file->memory_bytes >> 20));
}

/* -1: failed. */
static int read_some(struct source *s, void *data, size_t len)
{
    return s->member ? (int)zip_fread(s->member, data, len)
                     : gzread(s->stream, data, (unsigned)len);
}

static enum status read_error(struct source *s, int n, struct error *err)
{
    if (!s->member)
        return stream_error(s, err);
    return n < 0 ? error_set(err, STATUS_INVALID, "its compressed data is damaged") : STATUS_OK;
}

enum status source_read(struct source *s, void *data, size_t len, size_t *got, struct error *err)
{
    *got = 0;
    while (*got < len) {
        size_t want = len - *got < READ_STEP_BYTES ? len - *got : READ_STEP_BYTES;
        if (source_cancelled(s->file))
            return error_set(err, STATUS_CANCELLED, "cancelled");
        int n = read_some(s, (char *)data + *got, want);
        if (n > 0)
            *got += (size_t)n;
        if (n < (int)want && (n <= 0 || !s->member))
            return read_error(s, n, err);
    }
    return STATUS_OK;
}

void source_close(struct source *s)
{
    if (s->stream)
        gzclose_r(s->stream);
    if (s->member)
        zip_fclose(s->member);
    if (s->archive)
        zip_discard(s->archive);
    s->stream = NULL;
    s->member = NULL;
    s->archive = NULL;
}
