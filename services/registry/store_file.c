/* store_file.c - chunks as files, DIR/ab/abcdef..., which several registries may share.
 *
 * A chunk is put in three steps: Redis is told that its file is about to be there, so that no
 * sweep removes it from then on (sweep.c; BUSY when one is just doing it); a pool thread writes DIR/new/NAME, syncs it, renames
 * it into its place and syncs the folder; Redis is told that it is there, whole.  Only then may a
 * manifest keep it.
 */
#include "services/registry/fcall.h"
#include "services/registry/store.h"

#include "common/msg/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX_SIZE 24 /* of a file that is being written: process and number */

struct store_file {
    struct store base;
    struct loop *loop;
    struct redis *redis; /* NULL: destroyed */
    struct store *older; /* chunks that are in Redis still */
    struct sweep *sweep;
    char *folder;
    uint64_t ttl_ms;
    unsigned count; /* of files written */
    size_t open;    /* operations that hold on to this */
};

/* One chunk on its way to its file, or out of it. */
struct op {
    struct store_file *store;
    const struct digest *digest; /* put: the caller's */
    struct digest wanted;
    const struct frame *data; /* put: the caller's */
    struct frame out;         /* get */
    char name[DIGEST_HEX_SIZE];
    char suffix[SUFFIX_SIZE];
    bool repaired;
    struct error error; /* of the pool thread */
    store_put_fn *put;
    store_get_fn *get;
    void *arg;
};

static void release(struct store_file *s)
{
    if (--s->open || s->redis)
        return;
    free(s->folder);
    free(s);
}

static struct op *op_create(struct store_file *s, const struct digest *digest, void *arg)
{
    struct op *op = mem_zalloc(sizeof *op);
    op->store = s;
    op->digest = digest;
    op->wanted = *digest;
    op->arg = arg;
    frame_init_empty(&op->out);
    digest_hex(digest, op->name);
    snprintf(op->suffix, sizeof op->suffix, "%u-%u", (unsigned)getpid(), s->count++);
    s->open++;
    return op;
}

static void op_finish(struct op *op, enum status st, const char *text)
{
    struct store_file *s = op->store;
    if (op->put)
        op->put(op->arg, st, text, op->repaired);
    else
        op->get(op->arg, st, text, &op->out);
    frame_finish(&op->out);
    free(op);
    release(s);
}

/* ---- files: pool threads ------------------------------------------------------------------ */

static char *path_of(const struct store_file *s, const char *name)
{
    struct buf path = { 0 };
    buf_printf(&path, "%s/%.2s/%s", s->folder, name, name);
    buf_cstr(&path);
    return buf_take(&path, NULL);
}

static enum status read_file(const char *path, struct frame *out, struct error *err)
{
    struct stat about;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO,
                         "cannot open the file of a chunk: %s", strerror(errno));
    enum status st = STATUS_OK;
    if (fstat(fd, &about) != 0 || about.st_size <= 0 || about.st_size > (off_t)CHUNK_BYTES) {
        st = error_set(err, STATUS_CORRUPT, "the file of a chunk has an impossible length");
    } else {
        frame_finish(out);
        void *to = frame_init_chunk(out, (size_t)about.st_size);
        if (!to) {
            frame_init_empty(out);
            st = error_set(err, STATUS_FULL, "there is no memory for a chunk");
        } else if (pread(fd, to, (size_t)about.st_size, 0) != (ssize_t)about.st_size) {
            st = error_set(err, STATUS_IO, "the file of a chunk cannot be read: %s",
                           strerror(errno));
        }
    }
    close(fd);
    return st;
}

static enum status sync_folder(const struct store_file *s, const char *name, struct error *err)
{
    struct buf path = { 0 };
    buf_printf(&path, "%s/%.2s", s->folder, name);
    int fd = open(buf_cstr(&path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    buf_finish(&path);
    return ok ? STATUS_OK
              : error_set(err, STATUS_IO, "cannot sync the artifact store: %s", strerror(errno));
}

static enum status write_new(int fd, struct bytes data, struct error *err)
{
    const char *at = data.data;
    while (data.len) {
        ssize_t n = write(fd, at, data.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(err, errno == ENOSPC || errno == EDQUOT ? STATUS_FULL : STATUS_IO,
                             "cannot write to the artifact store: %s", strerror(errno));
        at += n;
        data.len -= (size_t)n;
    }
    if (fsync(fd) != 0)
        return error_set(err, STATUS_IO, "cannot sync the artifact store: %s", strerror(errno));
    return STATUS_OK;
}

static enum status write_file(struct op *op, const char *path, struct error *err)
{
    const struct store_file *s = op->store;
    struct buf temp = { 0 };
    buf_printf(&temp, "%s/new/%s.%s", s->folder, op->name, op->suffix);
    int fd = open(buf_cstr(&temp), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    enum status st = STATUS_OK;
    if (fd < 0)
        st = error_set(err, errno == ENOSPC ? STATUS_FULL : STATUS_IO,
                       "cannot write to the artifact store: %s", strerror(errno));
    else
        st = write_new(fd, frame_bytes(op->data), err);
    if (fd >= 0)
        close(fd);
    if (!st && rename(buf_cstr(&temp), path) != 0)
        st = error_set(err, STATUS_IO, "cannot keep a chunk: %s", strerror(errno));
    if (!st)
        st = sync_folder(s, op->name, err);
    if (st && fd >= 0)
        unlink(buf_cstr(&temp));
    buf_finish(&temp);
    return st;
}

/* What is there already and equal needs no writing. */
static void put_file(void *arg) /* pool thread */
{
    struct op *op = arg;
    char *path = path_of(op->store, op->name);
    struct frame old;
    frame_init_empty(&old);
    enum status st = read_file(path, &old, &op->error);
    if (st || !bytes_equal(frame_bytes(&old), frame_bytes(op->data))) {
        op->repaired = st != STATUS_NOT_FOUND;
        op->error.status = write_file(op, path, &op->error);
    } else {
        op->error.status = STATUS_OK;
    }
    frame_finish(&old);
    free(path);
}

static void get_file(void *arg) /* pool thread */
{
    struct op *op = arg;
    char *path = path_of(op->store, op->name);
    op->error.status = read_file(path, &op->out, &op->error);
    free(path);
}

/* ---- put ---------------------------------------------------------------------------------- */

static void on_kept(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    (void)reply;
    op_finish(arg, st, text);
}

static void on_file_put(void *arg)
{
    struct op *op = arg;
    struct store_file *s = op->store;
    struct fcall call;
    if (op->error.status || !s->redis) {
        op_finish(op, op->error.status ? op->error.status : STATUS_CANCELLED, op->error.text);
        return;
    }
    fcall_begin(&call, "maas_file_end");
    fcall_add(&call, bytes_of(op->wanted.byte, DIGEST_SIZE));
    fcall_add_number(&call, frame_bytes(op->data).len);
    fcall_add_number(&call, s->ttl_ms);
    redis_send(s->redis, on_kept, op, call.argv, call.argc);
}

static void on_begun(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct op *op = arg;
    (void)reply;
    if (st)
        op_finish(op, st, text);
    else
        loop_work(op->store->loop, put_file, on_file_put, op);
}

static void put_chunk(struct store *base, const struct digest *digest, struct frame *data,
                      store_put_fn *done, void *arg)
{
    struct store_file *s = (struct store_file *)base;
    struct op *op = op_create(s, digest, arg);
    struct fcall call;
    op->data = data;
    op->put = done;
    fcall_begin(&call, "maas_file_begin");
    fcall_add(&call, bytes_of(op->wanted.byte, DIGEST_SIZE));
    fcall_add_number(&call, s->ttl_ms);
    redis_send(s->redis, on_begun, op, call.argv, call.argc);
}

/* ---- get ---------------------------------------------------------------------------------- */

static void on_older(void *arg, enum status st, const char *text, struct frame *data)
{
    struct op *op = arg;
    if (!st)
        frame_move(&op->out, data);
    op_finish(op, st, text);
}

static void on_file_got(void *arg)
{
    struct op *op = arg;
    struct store_file *s = op->store;
    if (op->error.status == STATUS_NOT_FOUND && s->redis)
        store_get(s->older, &op->wanted, on_older, op);
    else
        op_finish(op, op->error.status, op->error.text);
}

static void get_chunk(struct store *base, const struct digest *digest, store_get_fn *done,
                      void *arg)
{
    struct store_file *s = (struct store_file *)base;
    struct op *op = op_create(s, digest, arg);
    op->get = done;
    loop_work(s->loop, get_file, on_file_got, op);
}

/* ---- life --------------------------------------------------------------------------------- */

static void destroy(struct store *base)
{
    struct store_file *s = (struct store_file *)base;
    sweep_destroy(s->sweep);
    store_destroy(s->older);
    s->redis = NULL;
    release(s);
}

static const struct store_ops ops = { put_chunk, get_chunk, destroy };

static enum status make_folder(const char *folder, const char *name, struct error *err)
{
    struct buf path = { 0 };
    enum status st = STATUS_OK;
    buf_printf(&path, "%s%s%s", folder, *name ? "/" : "", name);
    if (mkdir(buf_cstr(&path), 0700) != 0 && errno != EEXIST)
        st = error_set(err, STATUS_IO, "cannot make the folder %s: %s", buf_cstr(&path),
                       strerror(errno));
    buf_finish(&path);
    return st;
}

static enum status make_folders(const char *folder, struct error *err)
{
    enum status st = make_folder(folder, "", err);
    if (!st)
        st = make_folder(folder, "new", err);
    if (!st)
        st = make_folder(folder, "gone", err);
    for (unsigned i = 0; i < 256 && !st; i++) {
        char name[3];
        snprintf(name, sizeof name, "%02x", i);
        st = make_folder(folder, name, err);
    }
    int fd = st ? -1 : open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!st && (fd < 0 || fsync(fd) != 0))
        st = error_set(err, STATUS_IO, "cannot sync %s: %s", folder, strerror(errno));
    if (fd >= 0)
        close(fd);
    return st;
}

struct store *store_file_create(struct loop *l, struct redis *redis,
                                const struct store_config *config, const char *folder,
                                struct error *err)
{
    if (make_folders(folder, err))
        return NULL;
    struct store_file *s = mem_zalloc(sizeof *s);
    *s = (struct store_file){ .base = { &ops },
                              .loop = l,
                              .redis = redis,
                              .older = store_redis_create(redis, config->ttl_ms),
                              .folder = mem_str(bytes_str(folder)),
                              .ttl_ms = config->ttl_ms,
                              .open = 1 };
    s->sweep = sweep_create(l, redis, s->folder, config->sweep_ms);
    return &s->base;
}
