/* sweep.c - removes the files of chunks that have expired in Redis.
 *
 * One of the 256 folders at a time.  Redis is asked which chunks are nobody's, and marks them in the
 * same step: who puts such a chunk now, here or on another host, is told to try again (BUSY).  Their
 * files are renamed to DIR/gone/NAME.SWEEP; if the marks are still there then, removed, and the
 * marks after them.  A sweep that was held up for so long that its marks have expired puts the files
 * back instead.  What one that was killed has left behind is decided by a later one.
 */
#include "services/registry/fcall.h"
#include "services/registry/records.h"
#include "services/registry/store.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDERS    256
#define BATCH_MAX  512  /* files that are decided together */
#define OLD_S      3600 /* what lies in new/ or gone/ for so long is nobody's any more */
#define HEX_LEN    (DIGEST_HEX_SIZE - 1)
#define MARK_MS    60000         /* a sweep has so long for a batch */
#define FOLDER_NEW FOLDERS       /* after those of chunks: what was being written */
#define FOLDER_OLD (FOLDERS + 1) /* what was being removed */

enum stage { STAGE_LIST, STAGE_RENAME, STAGE_DECIDE };

struct sweep {
    struct loop *loop;
    struct redis *redis; /* NULL: destroyed */
    struct loop_timer *timer;
    uint64_t every_ms;
    char *root;
    char suffix[24];
    unsigned folder; /* the present one */
    enum stage stage;
    bool working; /* a pool thread, or Redis, has it */
    bool more;    /* the folder has more than a batch */
    size_t skip;  /* entries of it that are known to stay */
    size_t count;
    char names[BATCH_MAX][DIGEST_HEX_SIZE];
    char ours[BATCH_MAX]; /* '1': marked for this sweep */
    size_t removed;
    size_t failed; /* could not be put back */
};

static void ask(struct sweep *w);

static void free_sweep(struct sweep *w)
{
    free(w->root);
    free(w);
}

/* ---- files: pool threads ------------------------------------------------------------------ */

static void join(struct buf *path, const char *root, const char *folder, const char *name)
{
    path->len = 0;
    buf_printf(path, "%s/%s%s%s", root, folder, name ? "/" : "", name ? name : "");
    buf_cstr(path);
}

static void folder_name(const struct sweep *w, char out[8])
{
    if (w->folder < FOLDERS)
        snprintf(out, 8, "%02x", w->folder);
    else
        snprintf(out, 8, "%s", w->folder == FOLDER_NEW ? "new" : "gone");
}

static bool is_old(int folder, const char *name)
{
    struct stat about;
    return fstatat(folder, name, &about, AT_SYMLINK_NOFOLLOW) == 0 &&
           (uint64_t)about.st_ctime + OLD_S < clock_wall_ms() / 1000;
}

/* Puts what an earlier sweep has left half done back into its place: this one decides. */
static void restore(struct sweep *w, const char *name)
{
    struct buf from = { 0 }, to = { 0 };
    char folder[3] = { name[0], name[1], 0 }, plain[DIGEST_HEX_SIZE];
    snprintf(plain, sizeof plain, "%.*s", HEX_LEN, name);
    join(&from, w->root, "gone", name);
    join(&to, w->root, folder, plain);
    if (strlen(name) > HEX_LEN && rename((char *)from.data, (char *)to.data) != 0)
        w->failed++;
    buf_finish(&from);
    buf_finish(&to);
}

static void look_at(struct sweep *w, int folder, const char *name, size_t *seen)
{
    struct digest digest;
    if (w->folder >= FOLDERS) {
        if (name[0] == '.' || !is_old(folder, name))
            return;
        if (w->folder == FOLDER_OLD)
            restore(w, name);
        else if (unlinkat(folder, name, 0) == 0)
            w->removed++;
        return;
    }
    if (strlen(name) != HEX_LEN || digest_parse(bytes_str(name), &digest) || (*seen)++ < w->skip)
        return;
    if (w->count == BATCH_MAX) {
        w->more = true;
        return;
    }
    memcpy(w->names[w->count++], name, DIGEST_HEX_SIZE);
}

static void list(struct sweep *w)
{
    struct buf path = { 0 };
    char folder[8];
    size_t seen = 0;
    struct dirent *entry;
    folder_name(w, folder);
    join(&path, w->root, folder, NULL);
    w->count = 0;
    w->more = false;
    int fd = open((char *)path.data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    while (dir && (entry = readdir(dir))) // NOLINT: this stream is ours alone
        look_at(w, fd, entry->d_name, &seen);
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    buf_finish(&path);
}

/* Those that are ours leave the folder. */
static void keep_ours(struct sweep *w)
{
    size_t kept = 0;
    for (size_t i = 0; i < w->count; i++)
        if (w->ours[i] == '1')
            memmove(w->names[kept++], w->names[i], DIGEST_HEX_SIZE);
    w->skip += w->count - kept; /* the others stay in it */
    w->count = kept;
}

/* Out of the way; then for good, or back. */
static void move_files(struct sweep *w, bool away)
{
    struct buf place = { 0 }, gone = { 0 };
    char folder[8], name[DIGEST_HEX_SIZE + sizeof w->suffix];
    folder_name(w, folder);
    for (size_t i = 0; i < w->count; i++) {
        snprintf(name, sizeof name, "%s.%s", w->names[i], w->suffix);
        join(&place, w->root, folder, w->names[i]);
        join(&gone, w->root, "gone", name);
        const char *from = (char *)place.data, *to = (char *)gone.data;
        bool ours = w->ours[i] == '1';
        if (away && rename(from, to) != 0)
            w->ours[i] = '0'; /* another sweep was first */
        else if (!away && ours && unlink(to) == 0)
            w->removed++;
        else if (!away && !ours && rename(to, from) != 0)
            w->failed++;
    }
    buf_finish(&place);
    buf_finish(&gone);
}

static void rename_ours(struct sweep *w)
{
    keep_ours(w);
    memset(w->ours, '1', w->count);
    move_files(w, true);
    keep_ours(w);
}

static void work(void *arg) /* pool thread */
{
    struct sweep *w = arg;
    if (w->stage == STAGE_LIST)
        list(w);
    else if (w->stage == STAGE_RENAME)
        rename_ours(w);
    else
        move_files(w, false);
}

/* ---- the loop's side ---------------------------------------------------------------------- */

static void rest(struct sweep *w)
{
    if (w->removed)
        log_info("files of expired chunks removed", LOG_U("files", w->removed));
    if (w->failed)
        log_error("files of chunks cannot be moved", LOG_U("files", w->failed));
    w->removed = w->failed = 0;
    w->folder = 0;
    w->skip = 0;
    loop_timer_start(w->timer, w->every_ms, 0);
}

static void on_worked(void *arg);

static void go(struct sweep *w, enum stage stage)
{
    w->stage = stage;
    w->working = true;
    loop_work(w->loop, work, on_worked, w);
}

static void next_batch(struct sweep *w)
{
    if (!w->more) {
        w->folder++;
        w->skip = 0;
    }
    if (w->folder > FOLDER_OLD)
        rest(w);
    else
        go(w, STAGE_LIST);
}

static void on_worked(void *arg)
{
    struct sweep *w = arg;
    w->working = false;
    if (!w->redis)
        free_sweep(w);
    else if (!w->count)
        next_batch(w);
    else
        ask(w);
}

/* Redis is away: what was renamed stays in gone/ until a later sweep puts it back. */
static void on_answer(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct sweep *w = arg;
    (void)text;
    w->working = false;
    if (!w->redis) {
        free_sweep(w);
        return;
    }
    struct bytes ours = st ? bytes_of(NULL, 0) : record_text(reply);
    if (ours.len != w->count) {
        rest(w);
    } else if (w->stage == STAGE_DECIDE) {
        next_batch(w);
    } else {
        memcpy(w->ours, ours.data, ours.len);
        go(w, w->stage == STAGE_LIST ? STAGE_RENAME : STAGE_DECIDE);
    }
}

static void ask(struct sweep *w)
{
    static const char *const functions[] = { [STAGE_LIST] = "maas_files_condemn",
                                             [STAGE_RENAME] = "maas_files_condemned",
                                             [STAGE_DECIDE] = "maas_files_removed" };
    struct buf digests = { 0 };
    struct fcall call;
    for (size_t i = 0; i < w->count; i++) {
        struct digest digest = { 0 };
        if (digest_parse(bytes_str(w->names[i]), &digest) == STATUS_OK)
            buf_append(&digests, digest.byte, DIGEST_SIZE);
    }
    fcall_begin(&call, functions[w->stage]);
    fcall_add(&call, buf_bytes(&digests));
    fcall_add_str(&call, w->suffix);
    fcall_add_number(&call, MARK_MS);
    w->working = true;
    redis_send(w->redis, on_answer, w, call.argv, call.argc);
    buf_finish(&digests);
}

static void on_timer(void *arg)
{
    go(arg, STAGE_LIST);
}

struct sweep *sweep_create(struct loop *l, struct redis *redis, const char *folder,
                           uint64_t every_ms)
{
    struct sweep *w = mem_zalloc(sizeof *w);
    uint64_t id = clock_us();
    w->loop = l;
    w->redis = redis;
    w->every_ms = every_ms;
    w->root = mem_str(bytes_str(folder));
    if (getrandom(&id, sizeof id, 0) != sizeof id)
        log_debug("no random number for a sweep");
    snprintf(w->suffix, sizeof w->suffix, "%016llx", (unsigned long long)id);
    w->timer = loop_timer_create(l, on_timer, w);
    loop_timer_start(w->timer, every_ms, 0);
    return w;
}

void sweep_destroy(struct sweep *w)
{
    if (!w)
        return;
    loop_timer_destroy(w->timer);
    w->timer = NULL;
    w->redis = NULL;
    if (!w->working)
        free_sweep(w);
}
