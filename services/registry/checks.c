/* checks.c - see checks.h. */
#include "services/registry/checks.h"

#include <inttypes.h>
#include <yyjson.h>

enum status check_digest(struct bytes digest, struct error *err)
{
    if (digest.len == DIGEST_SIZE)
        return STATUS_OK;
    return error_set(err, STATUS_INVALID, "a digest has %d bytes, this one has %zu", DIGEST_SIZE,
                     digest.len);
}

enum status check_size(uint64_t size_bytes, struct error *err)
{
    const uint64_t size_max = (uint64_t)MAX_CHUNKS * CHUNK_BYTES;
    if (size_bytes == 0)
        return error_set(err, STATUS_INVALID, "the artifact is empty");
    if (size_bytes > size_max)
        return error_set(err, STATUS_TOO_LARGE,
                         "the artifact has %" PRIu64 " bytes; at most %" PRIu64 " are allowed",
                         size_bytes, size_max);
    return STATUS_OK;
}

enum status check_piece(struct bytes upload, uint64_t offset, size_t length, struct error *err)
{
    const uint64_t size_max = (uint64_t)MAX_CHUNKS * CHUNK_BYTES;
    if (offset >= size_max)
        return error_set(err, STATUS_TOO_LARGE,
                         "a range begins at byte %" PRIu64 "; at most %" PRIu64 " are allowed",
                         offset, size_max);
    if (offset % CHUNK_BYTES + length > CHUNK_BYTES)
        return error_set(err, STATUS_INVALID, "a piece of an upload may not cross a MiB");
    return name_check(upload, "the upload's id", err);
}

enum status check_artifact(struct bytes digest, uint64_t size_bytes, struct bytes chunks,
                           struct error *err)
{
    enum status st = check_digest(digest, err);
    if (!st)
        st = check_size(size_bytes, err);
    if (st)
        return st;
    uint64_t count = (size_bytes + CHUNK_BYTES - 1) / CHUNK_BYTES;
    if (chunks.len != count * DIGEST_SIZE)
        return error_set(err, STATUS_INVALID,
                         "an artifact of %" PRIu64 " bytes has %" PRIu64
                         " chunks, but digests of %zu were sent",
                         size_bytes, count, chunks.len / DIGEST_SIZE);
    if (count == 1 && !bytes_equal(digest, chunks))
        return error_set(err, STATUS_INVALID,
                         "the digest of the artifact is not the one of its only chunk");
    return STATUS_OK;
}

static bool name_is_used(const struct msg_version_commit *m, size_t count)
{
    struct bytes name = m->parts[count].name;
    for (size_t i = 0; i < count; i++)
        if (bytes_equal(m->parts[i].name, name))
            return true;
    return bytes_equal(m->file, name);
}

static enum status check_names(const struct msg_version_commit *m, struct error *err)
{
    enum status st = STATUS_OK;
    if (m->file.len || m->parts_count)
        st = name_check(m->file, "the name of a file", err);
    for (size_t i = 0; i < m->parts_count && !st; i++) {
        st = name_check(m->parts[i].name, "the name of a file", err);
        if (!st && name_is_used(m, i))
            st = error_set(err, STATUS_INVALID, "two files have the name '%.*s'",
                           (int)m->parts[i].name.len, (const char *)m->parts[i].name.data);
    }
    for (size_t i = 0; i < m->uploads_count && !st; i++)
        st = name_check(m->uploads[i].name, "an upload's id", err);
    return st;
}

/* What it says is looked at where the version is loaded; a size that no engine reads, and samples
 * without a model, are refused here. */
static enum status check_warmup(const struct msg_version_commit *m, struct error *err)
{
    if (bytes_equal_str(m->file, WARMUP_FILE))
        return error_set(err, STATUS_INVALID, "%s has samples; the main file is another",
                         WARMUP_FILE);
    for (size_t i = 0; i < m->parts_count; i++)
        if (bytes_equal_str(m->parts[i].name, WARMUP_FILE) &&
            m->parts[i].size_bytes > MAX_WARMUP_BYTES)
            return error_set(err, STATUS_INVALID, "%s may have at most %u bytes", WARMUP_FILE,
                             MAX_WARMUP_BYTES);
    return STATUS_OK;
}

enum status check_parts(const struct msg_version_commit *m, struct error *err)
{
    size_t chunks = m->chunks.len / DIGEST_SIZE;
    enum status st = check_names(m, err);
    if (!st)
        st = check_warmup(m, err);
    for (size_t i = 0; i < m->parts_count && !st; i++) {
        const struct msg_part *p = &m->parts[i];
        chunks += p->chunks.len / DIGEST_SIZE;
        st = check_artifact(p->digest, p->size_bytes, p->chunks, err);
    }
    if (!st && chunks > MAX_CHUNKS)
        st = error_set(err, STATUS_TOO_LARGE, "all files of a version have at most %u MiB together",
                       MAX_CHUNKS);
    return st;
}

static enum status check_json(struct bytes text, const char *what, yyjson_type type,
                              const char *type_name, struct error *err)
{
    yyjson_read_err problem = { 0 };
    if (!text.len)
        return STATUS_OK;
    /* Without YYJSON_READ_INSITU the text is only read; the parameter is not const. */
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)text.data, text.len, 0, NULL, &problem);
    bool fits = doc && yyjson_get_type(yyjson_doc_get_root(doc)) == type;
    yyjson_doc_free(doc);
    if (fits)
        return STATUS_OK;
    if (problem.code)
        return error_set(err, STATUS_INVALID, "%s is not JSON: %s at byte %zu", what, problem.msg,
                         problem.pos);
    return error_set(err, STATUS_INVALID, "%s is not a JSON %s", what, type_name);
}

enum status check_json_object(struct bytes text, const char *what, struct error *err)
{
    return check_json(text, what, YYJSON_TYPE_OBJ, "object", err);
}

enum status check_json_array(struct bytes text, const char *what, struct error *err)
{
    return check_json(text, what, YYJSON_TYPE_ARR, "array", err);
}

enum status check_text(struct bytes text, const char *what, struct error *err)
{
    const char *p = text.data;
    size_t len;
    for (size_t i = 0; i < text.len; i += len)
        if (!(len = bytes_utf8(bytes_of(p + i, text.len - i))))
            return error_set(err, STATUS_INVALID, "%s is not UTF-8: byte %zu", what, i);
    return STATUS_OK;
}

enum status check_who(struct bytes who, struct error *err)
{
    return who.len ? name_check(who, "the name of who asks", err) : STATUS_OK;
}

struct bytes check_readable(struct bytes words, char out[MAX_REASON + 1])
{
    const char *p = words.data;
    for (size_t i = 0, len; i < words.len; i += len) {
        len = bytes_utf8(bytes_of(p + i, words.len - i));
        if (len) {
            memcpy(out + i, p + i, len);
        } else {
            out[i] = '?';
            len = 1;
        }
    }
    return bytes_of(out, words.len);
}
