/* source.c - zlib's reader with errors that people can act upon. */
#include "services/trainer/data/source.h"

#include <errno.h>
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

enum status source_read(struct source *s, void *data, size_t len, size_t *got, struct error *err)
{
    *got = 0;
    while (*got < len) {
        size_t want = len - *got < READ_STEP_BYTES ? len - *got : READ_STEP_BYTES;
        if (s->file->cancelled && atomic_load(s->file->cancelled))
            return error_set(err, STATUS_CANCELLED, "cancelled");
        int n = gzread(s->stream, (char *)data + *got, (unsigned)want);
        if (n > 0)
            *got += (size_t)n;
        if (n < (int)want)
            return stream_error(s, err);
    }
    return STATUS_OK;
}

void source_close(struct source *s)
{
    if (s->stream)
        gzclose_r(s->stream);
    s->stream = NULL;
}
