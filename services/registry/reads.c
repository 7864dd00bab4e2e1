/* reads.c - see reads.h. */
#include "services/registry/reads.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "services/registry/registry.h"

#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

#define LATELY_MS      1000 /* what was read or kept since then is of now */
#define ALONG_MS       50   /* a peer that has asked since then reads along */
#define PATIENCE_MS    100  /* a chunk stays for who is behind by no more than this */
#define SLOW_MS        1000 /* so long nobody waits again for a peer that was too late */
#define COMPANIONS_MAX 64   /* one bit each */

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
    uint64_t number;  /* in the order in which they were asked for */
    uint64_t asked;   /* companions that have asked for it, or for a later one */
    uint64_t kept_ms; /* when it came, if it is there */
    struct waiter *waiters;
    struct read *prev, *next;
};

/* Who reads along. */
struct companion {
    unsigned char route[MAX_ROUTE];
    size_t route_len;
    uint64_t until_ms;      /* it has asked lately */
    uint64_t slow_until_ms; /* it was not there in time */
};

struct reads {
    struct loop *loop;
    struct loop_timer *timer; /* the patience with who is behind has an end */
    struct store *store;      /* NULL: destroyed */
    struct read *all;         /* hash by digest */
    struct read *waiting;
    struct read *kept; /* the oldest first */
    size_t kept_count;
    size_t open; /* being read */
    bool starting;
    struct digest now; /* begun last, at now_ms */
    uint64_t now_ms;
    uint64_t next_number;
    struct companion companions[COMPANIONS_MAX];
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

static bool same_peer(const struct companion *c, const struct rpc_peer *peer)
{
    return c->route_len == peer->route_len && memcmp(c->route, peer->route, c->route_len) == 0;
}

/* The peer's bit among the companions; 0: there are more than can be told apart. */
static uint64_t see(struct reads *r, const struct rpc_peer *peer)
{
    uint64_t now = clock_ms();
    struct companion *c = NULL;
    for (size_t i = 0; i < COMPANIONS_MAX; i++) {
        struct companion *at = &r->companions[i];
        if (same_peer(at, peer)) {
            c = at;
            break;
        }
        if (!c && now >= at->until_ms)
            c = at;
    }
    if (!c)
        return 0;
    if (!same_peer(c, peer))
        *c = (struct companion){ .route_len = peer->route_len };
    memcpy(c->route, peer->route, peer->route_len);
    c->until_ms = now + ALONG_MS;
    return UINT64_C(1) << (c - r->companions);
}

/* Companions that may still ask for it; but for those that are slow, if only `awaited`. */
static uint64_t missing(const struct reads *r, const struct read *k, bool awaited)
{
    uint64_t now = clock_ms(), bits = 0;
    for (size_t i = 0; i < COMPANIONS_MAX; i++)
        if (now < r->companions[i].until_ms && (!awaited || now >= r->companions[i].slow_until_ms))
            bits |= UINT64_C(1) << i;
    return bits & ~k->asked;
}

/* Who asks for this one will not ask for those before it: it has them, or joined behind them. */
static void pass(struct reads *r, uint64_t asks, const struct read *k)
{
    struct read *before;
    DL_FOREACH(r->kept, before)
    if (before->number < k->number)
        before->asked |= asks;
}

static void keep(struct reads *r, struct read *k)
{
    DL_APPEND(r->kept, k);
    r->kept_count++;
    k->kept_ms = clock_ms();
}

/* For one more chunk.  If not, the first ones wait a little for who is behind; who does not make it
 * by then is left behind, and not waited for again soon. */
static bool has_room(struct reads *r)
{
    if (r->kept_count + r->open < READS_KEPT)
        return true;
    uint64_t now = clock_ms(), age = now - r->kept->kept_ms; /* of the oldest */
    uint64_t late = missing(r, r->kept, true);
    if (late && age < PATIENCE_MS) {
        loop_timer_start(r->timer, PATIENCE_MS - age, 0);
        return false;
    }
    for (size_t i = 0; i < COMPANIONS_MAX; i++)
        if (late >> i & 1)
            r->companions[i].slow_until_ms = now + SLOW_MS;
    forget(r, r->kept);
    return true;
}

static void start_next(struct reads *r);

/* It is no longer being read. */
static void finish(struct read *k, enum status st, const char *text)
{
    struct reads *r = k->reads;
    bool stays = !st && r->store && missing(r, k, false);
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
    while (r->waiting && r->open < READS_OPEN && has_room(r)) {
        struct read *k = r->waiting;
        DL_DELETE(r->waiting, k);
        r->open++;
        r->now = k->digest;
        r->now_ms = clock_ms();
        store_get(r->store, &k->digest, on_read, k);
    }
    r->starting = false;
}

static struct read *read_create(struct reads *r, const struct digest *digest)
{
    struct read *k = mem_zalloc(sizeof *k);
    k->reads = r;
    k->digest = *digest;
    k->number = r->next_number++;
    frame_init_empty(&k->data);
    HASH_ADD(hh, r->all, digest, sizeof k->digest, k);
    DL_APPEND(r->waiting, k);
    return k;
}

void reads_get(struct reads *r, const struct read_wish *wish, read_done_fn *done, void *arg)
{
    struct read *k;
    uint64_t asks = see(r, wish->peer);
    HASH_FIND(hh, r->all, wish->digest, sizeof *wish->digest, k);
    if (k && k->there && !k->verify && !wish->raw) {
        forget(r, k); /* perhaps it is what the peer has found wrong */
        k = NULL;
    }
    if (!k)
        k = read_create(r, wish->digest);
    k->asked |= asks;
    pass(r, asks, k);
    if (k->there) {
        done(arg, STATUS_OK, "", &k->data);
        if (!missing(r, k, false)) {
            forget(r, k);
            start_next(r);
        }
        return;
    }
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

static void on_timer(void *arg)
{
    start_next(arg);
}

void reads_tidy(struct reads *r)
{
    while (r->kept && clock_ms() - r->kept->kept_ms >= LATELY_MS)
        forget(r, r->kept);
}

struct reads *reads_create(struct loop *l, struct store *store)
{
    struct reads *r = mem_zalloc(sizeof *r);
    r->loop = l;
    r->timer = loop_timer_create(l, on_timer, r);
    r->store = store;
    return r;
}

void reads_destroy(struct reads *r)
{
    if (!r)
        return;
    r->starting = true; /* nothing is begun any more */
    loop_timer_destroy(r->timer);
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
