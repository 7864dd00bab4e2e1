/* store.h - where the bytes of chunks are: in Redis, or in files of a shared folder.
 *
 * A store is an interface (struct store_ops) and its state.  What is known of chunks (who keeps
 * them, when they expire) is in Redis either way: artifacts.lua.  Data is not verified here.
 * Loop thread only; files are read and written on pool threads.
 */
#ifndef SERVICES_REGISTRY_STORE_H
#define SERVICES_REGISTRY_STORE_H

#include "common/base/digest.h"
#include "common/net/frame.h"
#include "services/registry/redis.h"

struct store;

/* repaired: other bytes were there under this digest. */
typedef void store_put_fn(void *arg, enum status st, const char *text, bool repaired);
/* data: when OK, may be moved out.  NOT_FOUND: there is no such chunk. */
typedef void store_get_fn(void *arg, enum status st, const char *text, struct frame *data);

struct store_ops {
    /* digest is borrowed until done runs, which it does once; data, which may be moved out, too. */
    void (*put)(struct store *s, const struct digest *digest, struct frame *data,
                store_put_fn *done, void *arg);
    void (*get)(struct store *s, const struct digest *digest, store_get_fn *done, void *arg);
    /* What is under way ends later, when its pool thread is done. */
    void (*destroy)(struct store *s);
};

struct store {
    const struct store_ops *ops;
};

struct store_config {
    const char *where; /* "redis" or "file:DIR" */
    uint64_t ttl_ms;   /* of a chunk that nobody keeps */
    uint64_t sweep_ms; /* how often files that are nobody's are looked for */
};

/* NULL with *err: INVALID, or IO when the folder cannot be used. */
struct store *store_create(struct loop *l, struct redis *redis, const struct store_config *config,
                           struct error *err);

static inline void store_put(struct store *s, const struct digest *digest, struct frame *data,
                             store_put_fn *done, void *arg)
{
    s->ops->put(s, digest, data, done, arg);
}

static inline void store_get(struct store *s, const struct digest *digest, store_get_fn *done,
                             void *arg)
{
    s->ops->get(s, digest, done, arg);
}

static inline void store_destroy(struct store *s) /* NULL is fine */
{
    if (s)
        s->ops->destroy(s);
}

/* ---- the two kinds; store_file.c also reads chunks that were put into Redis before ---- */

struct store *store_redis_create(struct redis *redis, uint64_t ttl_ms);
struct store *store_file_create(struct loop *l, struct redis *redis,
                                const struct store_config *config, const char *folder,
                                struct error *err);

/* ---- sweep.c: removes files of chunks that have expired ---- */

struct sweep;

/* folder: borrowed. */
struct sweep *sweep_create(struct loop *l, struct redis *redis, const char *folder,
                           uint64_t every_ms);
void sweep_destroy(struct sweep *w); /* NULL is fine */

#endif
