/* reads.c - see reads.h. */
#include "services/registry/reads.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "services/registry/registry.h"

#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

#define LATELY_MS 1000 /* has been read by two peers, or at all */

struct waiter {
    read_done_fn *done;
    void *arg;
    struct waiter *next;
};

/* A chunk: it waits for its turn (in `waiting`), or is being read, or stays (in `kept`). */
struct read {
    UT_hash_handle hh;
    struct reads *reads;
    struct digest digest; /* as it should be */
    struct digest is;     /* as a pool thread found it */
    struct frame data;
    bool verify; /* before anybody gets it */
    bool there;
    struct waiter *waiters;
    struct read *prev, *next;
};

struct reads {
    struct loop *loop;
    struct store *store; /* NULL: destroyed */
    struct read *all;    /* hash by digest */
    struct read *waiting;
    struct read *kept; /* the oldest first */
    size_t kept_count;
    size_t open; /* being read */
    bool starting;
    struct digest now; /* begun last, at now_ms */
    uint64_t now_ms;
    struct rpc_peer last; /* who has asked */
    uint64_t several_until_ms;
};

static void read_destroy(struct read *k)
{
    frame_finish(&k->data);
    free(k);
}

/* One that is kept. */
static void forget(struct reads *r, struct read *k)
{
    DL_DELETE(r->kept, k);
    HASH_DEL(r->all, k);
    r->kept_count--;
    read_destroy(k);
}

static void forget_all(struct reads *r)
{
    while (r->kept)
        forget(r, r->kept);
}

static void release(struct reads *r)
{
    if (!r->store && !r->open)
        free(r);
}

/* Tells all who wait for it.  They may ask for more meanwhile. */
static void tell(struct read *k, enum status st, const char *text)
{
    struct waiter *w = k->waiters, *next;
    k->waiters = NULL;
    for (; w; w = next) {
        next = w->next;
        w->done(w->arg, st, text, &k->data);
        free(w);
    }
}

static bool several(const struct reads *r)
{
    return clock_ms() < r->several_until_ms;
}

static void keep(struct reads *r, struct read *k)
{
    DL_APPEND(r->kept, k);
    if (++r->kept_count > READS_KEPT)
        forget(r, r->kept); /* the oldest */
}

static void start_next(struct reads *r);

/* It is no longer being read. */
static void finish(struct read *k, enum status st, const char *text)
{
    struct reads *r = k->reads;
    bool stays = !st && several(r) && r->store;
    if (!stays)
        HASH_DEL(r->all, k);
    k->there = stays;
    tell(k, st, text);
    if (stays)
        keep(r, k);
    else
        read_destroy(k);
    r->open--;
    start_next(r);
    release(r);
}

static void hash(void *arg) /* pool thread */
{
    struct read *k = arg;
    digest_of(frame_bytes(&k->data), &k->is);
}

static void on_hashed(void *arg)
{
    struct read *k = arg;
    char hex[DIGEST_HEX_SIZE];
    if (digest_equal(&k->is, &k->digest)) {
        finish(k, STATUS_OK, "");
        return;
    }
    digest_hex(&k->digest, hex);
    count_corrupt_chunk("store");
    log_error("a chunk in the store is corrupt; upload it again", LOG_S("digest", hex));
    finish(k, STATUS_CORRUPT, "the chunk's data in the store does not have its digest");
}

static void on_read(void *arg, enum status st, const char *text, struct frame *data)
{
    struct read *k = arg;
    if (st) {
        finish(k, st, text);
        return;
    }
    frame_move(&k->data, data);
    if (k->verify)
        loop_work(k->reads->loop, hash, on_hashed, k);
    else
        finish(k, STATUS_OK, "");
}

/* Redis that is away says so at once, inside: hence `starting`. */
static void start_next(struct reads *r)
{
    if (r->starting)
        return;
    r->starting = true;
    while (r->waiting && r->open < READS_OPEN) {
        struct read *k = r->waiting;
        DL_DELETE(r->waiting, k);
        r->open++;
        r->now = k->digest;
        r->now_ms = clock_ms();
        store_get(r->store, &k->digest, on_read, k);
    }
    r->starting = false;
}

static void see(struct reads *r, const struct rpc_peer *peer)
{
    const struct rpc_peer *last = &r->last;
    bool same = last->route_len == peer->route_len &&
                memcmp(last->route, peer->route, peer->route_len) == 0;
    if (!same && last->route_len)
        r->several_until_ms = clock_ms() + LATELY_MS;
    r->last = *peer;
}

static struct read *read_create(struct reads *r, const struct digest *digest)
{
    struct read *k = mem_zalloc(sizeof *k);
    k->reads = r;
    k->digest = *digest;
    frame_init_empty(&k->data);
    HASH_ADD(hh, r->all, digest, sizeof k->digest, k);
    DL_APPEND(r->waiting, k);
    return k;
}

void reads_get(struct reads *r, const struct read_wish *wish, read_done_fn *done, void *arg)
{
    struct read *k;
    see(r, wish->peer);
    HASH_FIND(hh, r->all, wish->digest, sizeof *wish->digest, k);
    if (k && k->there && !k->verify && !wish->raw) {
        forget(r, k); /* perhaps it is what the peer has found wrong */
        k = NULL;
    }
    if (k && k->there) {
        done(arg, STATUS_OK, "", &k->data);
        return;
    }
    if (!k)
        k = read_create(r, wish->digest);
    struct waiter *w = mem_alloc(sizeof *w);
    *w = (struct waiter){ done, arg, NULL };
    LL_APPEND(k->waiters, w);
    k->verify |= !wish->raw;
    start_next(r);
}

struct bytes reads_now(const struct reads *r)
{
    bool lately = r->now_ms && clock_ms() - r->now_ms < LATELY_MS;
    return lately ? bytes_of(r->now.byte, DIGEST_SIZE) : bytes_of(NULL, 0);
}

void reads_tidy(struct reads *r)
{
    if (!several(r))
        forget_all(r);
}

struct reads *reads_create(struct loop *l, struct store *store)
{
    struct reads *r = mem_zalloc(sizeof *r);
    r->loop = l;
    r->store = store;
    return r;
}

void reads_destroy(struct reads *r)
{
    if (!r)
        return;
    r->starting = true; /* nothing is begun any more */
    forget_all(r);
    while (r->waiting) {
        struct read *k = r->waiting;
        DL_DELETE(r->waiting, k);
        HASH_DEL(r->all, k);
        tell(k, STATUS_CANCELLED, "the registry is stopping");
        read_destroy(k);
    }
    r->store = NULL;
    release(r);
}
