/* fetch.c - see fetch.h. */
#include "services/worker/fetch.h"

#include <stdlib.h>
#include <unistd.h>

struct fetch {
    struct loop *loop;
    struct rpc_client *registry;
    char *folder;
    struct version_files files;
    uint64_t size_max;
    bool careful;
    size_t next; /* file */
    struct download *download;
    struct loop_timer *begin;
    struct error error; /* of the pool thread */
    bool working;       /* a pool thread holds on to this */
    fetch_done_fn *done;
    void *arg;
};

static void step(void *arg);

static void release(struct fetch *f)
{
    files_finish(&f->files);
    free(f->folder);
    free(f);
}

static void lay_out(void *arg) /* pool thread */
{
    struct fetch *f = arg;
    f->error.status = files_lay_out(f->folder, &f->files, &f->error);
}

static void on_laid_out(void *arg)
{
    struct fetch *f = arg;
    f->working = false;
    if (!f->begin)
        release(f);
    else
        f->done(f->arg, f->error.status ? &f->error : NULL);
}

static const struct digest *digest_of_next(const struct fetch *f)
{
    return f->files.count ? &f->files.at[f->next].digest : &f->files.key;
}

static bool is_there(const struct fetch *f)
{
    char *path = cache_path(f->folder, digest_of_next(f));
    bool there = access(path, R_OK) == 0;
    free(path);
    return there;
}

/* Another version may have fetched the same file meanwhile, and renamed it first. */
static void on_downloaded(void *arg, const struct error *err)
{
    struct fetch *f = arg;
    struct error why = err ? *err : (struct error){ .status = STATUS_OK };
    download_destroy(f->download);
    f->download = NULL;
    if (why.status && !is_there(f)) {
        f->done(f->arg, &why);
        return;
    }
    f->next++;
    step(f);
}

/* The last thing that a caller does: the event may destroy f. */
static void step(void *arg)
{
    struct fetch *f = arg;
    size_t count = f->files.count ? f->files.count : 1;
    while (f->next < count && is_there(f))
        f->next++;
    if (f->next < count) {
        char *path = cache_path(f->folder, digest_of_next(f));
        f->download = download_create(f->loop, f->registry, digest_of_next(f), path, f->size_max,
                                      NULL, on_downloaded, f);
        if (!f->careful)
            download_trust(f->download);
        free(path);
    } else if (f->files.count) {
        f->working = true;
        loop_work(f->loop, lay_out, on_laid_out, f);
    } else {
        f->done(f->arg, NULL);
    }
}

struct fetch *fetch_create(struct loop *l, struct rpc_client *registry, const char *folder,
                           const struct version_files *files, uint64_t size_max, bool careful,
                           fetch_done_fn *done, void *arg)
{
    struct fetch *f = mem_zalloc(sizeof *f);
    f->loop = l;
    f->registry = registry;
    f->folder = mem_str(bytes_str(folder));
    f->files = *files;
    f->files.at = mem_alloc((files->count + 1) * sizeof *files->at);
    if (files->count)
        memcpy(f->files.at, files->at, files->count * sizeof *files->at);
    f->size_max = size_max;
    f->careful = careful;
    f->done = done;
    f->arg = arg;
    f->begin = loop_timer_create(l, step, f);
    loop_timer_start(f->begin, 0, 0);
    return f;
}

void fetch_destroy(struct fetch *f)
{
    if (!f)
        return;
    download_destroy(f->download);
    f->download = NULL;
    loop_timer_destroy(f->begin);
    f->begin = NULL;
    if (!f->working)
        release(f);
}
