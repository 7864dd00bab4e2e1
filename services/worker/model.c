/* model.c - see model.h. */
#include "services/worker/model.h"

#include "common/base/digest.h"
#include "services/worker/files.h"
#include "services/worker/warmup.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Asked for in advance: engines that read their files at once got a quarter to a half of what the
 * disk gives from the kernel's own reading ahead. */
#define AHEAD_BYTES     (4u << 20)
#define SHORT_BYTES_MAX (32u << 20) /* a larger artifact is not loaded twice to find out */

/* ---- jobs against the signature ------------------------------------------------------------ */

static const char *text_of(struct bytes name, char out[MAX_NAME + 1])
{
    return bytes_copy_str(name, out, MAX_NAME + 1) ? "?" : out;
}

static enum status wrong_shape(const struct msg_tensor *is, const struct msg_tensor *want,
                               const char *name, struct error *err)
{
    struct buf got = { 0 }, takes = { 0 };
    shape_text(is->shape.at, is->shape.count, &got);
    shape_text(want->shape.at, want->shape.count, &takes);
    error_set(err, STATUS_INVALID, "input '%s' has the shape %s; the model takes %s", name,
              buf_cstr(&got), buf_cstr(&takes));
    buf_finish(&got);
    buf_finish(&takes);
    return STATUS_INVALID;
}

static bool shape_fits(const struct msg_tensor *is, const struct msg_tensor *want)
{
    if (is->shape.count != want->shape.count)
        return false;
    for (size_t k = 0; k < want->shape.count; k++)
        if (want->shape.at[k] >= 0 && want->shape.at[k] != is->shape.at[k])
            return false;
    return true;
}

static enum status check_input(const struct msg_tensor *is, const struct msg_tensor *want,
                               struct bytes data, struct tensor_in *in, struct error *err)
{
    char name[MAX_NAME + 1], other[MAX_NAME + 1];
    enum datatype type = datatype_from_wire(is->datatype);
    struct error why;
    text_of(want->name, name);
    if (!bytes_equal(is->name, want->name))
        return error_set(err, STATUS_INVALID, "an input is called '%s'; the model takes '%s' here",
                         text_of(is->name, other), name);
    if (is->datatype != want->datatype)
        return error_set(err, STATUS_INVALID, "input '%s' is %s; the model takes %s", name,
                         datatype_name(type), datatype_name(datatype_from_wire(want->datatype)));
    if (!shape_fits(is, want))
        return wrong_shape(is, want, name, err);
    if (tensor_check(type, is->shape.at, is->shape.count, data, &why))
        return error_set(err, STATUS_INVALID, "input '%s': %.300s", name, why.text);
    *in = (struct tensor_in){ type, is->shape.at, is->shape.count, data };
    return STATUS_OK;
}

enum status model_check(const struct model *m, const struct msg_job *job,
                        const struct frames *frames, struct tensor_in *in, struct error *err)
{
    const struct signature *s = &m->signature;
    if (job->inputs_count != s->inputs_count || frames->count != job->inputs_count + 1)
        return error_set(err, STATUS_INVALID, "the model takes %zu input%s; %zu came in %zu frames",
                         s->inputs_count, s->inputs_count == 1 ? "" : "s", job->inputs_count,
                         frames->count - 1);
    for (size_t i = 0; i < s->inputs_count; i++) {
        enum status st = check_input(&job->inputs[i], &s->inputs[i],
                                     frame_bytes(&frames->at[i + 1]), &in[i], err);
        if (st)
            return st;
    }
    return STATUS_OK;
}

enum status model_run(const struct model *m, const struct tensor_in *in, size_t in_count,
                      struct tensor_out *out, size_t *out_count, struct error *err)
{
    return m->runtime->run(m->context, in, in_count, out, out_count, err);
}

void model_interrupt(const struct model *m, bool on)
{
    m->runtime->interrupt(m->context, on);
}

/* ---- load ---------------------------------------------------------------------------------- */

/* A file in the cache may have rotted since it was fetched. */
static enum status verify(const char *path, const struct digest *want, struct error *err)
{
    static unsigned char block[1 << 16];
    struct digest_stream stream;
    struct digest is;
    size_t n;
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set(err, STATUS_CORRUPT, "cannot read %s", path);
    digest_start(&stream);
    off_t at = 0;
    do {
        if (at % AHEAD_BYTES == 0)
            posix_fadvise(fileno(file), at, 2 * (off_t)AHEAD_BYTES, POSIX_FADV_WILLNEED);
        n = fread(block, 1, sizeof block, file);
        at += (off_t)n;
        digest_update(&stream, bytes_of(block, n));
    } while (n == sizeof block); /* less: the end, or an error that the digest shows */
    digest_end(&stream, &is);
    fclose(file);
    if (!digest_equal(&is, want))
        return error_set(err, STATUS_CORRUPT, "%s does not have its digest", path);
    return STATUS_OK;
}

/* The other files of the version, verified. */
struct others {
    struct version_files list;
    struct runtime_file files[MAX_VERSION_FILES]; /* that the model may refer to */
    size_t count;
    char *warmup; /* path of the samples, or NULL */
};

static char *beside(const char *list, const char *name)
{
    struct buf path = { 0 };
    buf_printf(&path, "%.*s/%s", (int)(strrchr(list, '/') - list), list, name);
    buf_cstr(&path);
    return buf_take(&path, NULL);
}

static void others_finish(struct others *o)
{
    while (o->count)
        free((char *)(uintptr_t)o->files[--o->count].path);
    free(o->warmup);
    files_finish(&o->list);
}

static enum status read_others(const char *list, struct others *o, struct error *err)
{
    if (!list || !strchr(list, '/'))
        return STATUS_OK;
    enum status st = files_read_list(list, &o->list, err);
    for (size_t i = 1; i < o->list.count && !st; i++) { /* the first is the model itself */
        const struct version_file *f = &o->list.at[i];
        char *path = beside(list, f->name);
        if (strcmp(f->name, WARMUP_FILE) == 0)
            o->warmup = path;
        else
            o->files[o->count++] = (struct runtime_file){ f->name, path };
        st = verify(path, &f->digest, err);
    }
    return st;
}

static uint64_t size_of(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 ? (uint64_t)about.st_size : UINT64_MAX / MAX_VERSION_FILES / 2;
}

static bool may_be_short(const struct model *m, const struct model_source *from,
                         const struct others *others)
{
    uint64_t bytes = size_of(from->path);
    for (size_t i = 0; i < others->count; i++)
        bytes += size_of(others->files[i].path);
    return from->short_run_us && from->threads > 1 && m->runtime->threaded &&
           bytes <= SHORT_BYTES_MAX;
}

static enum status load_with(struct model *m, const struct model_source *from,
                             const struct runtime_options *options, const struct warmup *w,
                             uint64_t *row_us, struct error *err)
{
    enum status st = m->runtime->load(from->path, options, &m->context, &m->signature, err);
    if (!st)
        st = warmup_run(w, m, row_us, err);
    if (st) {
        model_unload(m);
        m->signature = (struct signature){ 0 }; /* it borrows from what is gone */
    }
    return st;
}

/* With one thread; then, unless its runs prove to be short, anew with all. */
static enum status load(struct model *m, const struct model_source *from,
                        const struct others *others, const struct warmup *w, struct error *err)
{
    bool short_runs = may_be_short(m, from, others);
    struct runtime_options options = { short_runs ? 1 : from->threads, others->files,
                                       others->count };
    uint64_t took = UINT64_MAX;
    enum status st = load_with(m, from, &options, w, &took, err);
    uint64_t rows = m->signature.batchable ? from->max_batch : 1;
    if (st || !short_runs || (took < from->short_run_us && took * rows < from->short_run_us))
        return st;
    model_unload(m);
    m->signature = (struct signature){ 0 };
    options.threads = from->threads;
    return load_with(m, from, &options, w, &took, err);
}

enum status model_load(struct model *m, const struct model_source *from, struct error *err)
{
    struct others others = { 0 };
    struct warmup warmup = { 0 };
    struct digest want;
    m->runtime = runtime_find(bytes_str(from->format), from->allow_fake);
    if (!m->runtime)
        return error_set(err, STATUS_UNSUPPORTED, "this worker has no runtime for the format '%s'",
                         from->format);
    if (digest_parse(bytes_str(from->digest), &want))
        return error_set(err, STATUS_CORRUPT, "'%s' is no digest", from->digest);
    enum status st = verify(from->path, &want, err);
    if (!st)
        st = read_others(from->files, &others, err);
    if (!st)
        st = warmup_read(others.warmup, &warmup, err);
    if (!st)
        st = load(m, from, &others, &warmup, err);
    warmup_finish(&warmup);
    others_finish(&others);
    return st;
}

void model_unload(struct model *m)
{
    if (m->context)
        m->runtime->unload(m->context);
    m->context = NULL;
}
