/* test_reads.c - chunks are read once for all who read along, nobody is waited for without end, and
 * who does not verify by himself gets nothing unverified. */
#include "services/registry/reads.h"
#include "tests/unit/net/rig.h"

#define GETS_MAX 64
#define AHEAD    (READS_KEPT + 4)
#define OTHER    100

struct fake_get {
    unsigned char number;
    store_get_fn *done;
    void *arg;
};

/* A store that answers when the test wants it.  A chunk is one byte, its number. */
static struct {
    struct store base;
    struct fake_get open[GETS_MAX];
    size_t open_count, gets;
    bool rotten;
    bool holds; /* OTHER is not answered */
} store;

static struct rig rig;
static struct reads *reads;

struct answer {
    unsigned count;
    enum status status;
    unsigned char byte;
};

static struct digest digest_of_number(unsigned char number)
{
    struct digest digest;
    digest_of(bytes_of(&number, 1), &digest);
    return digest;
}

static unsigned char number_of(const struct digest *digest)
{
    unsigned i = 0;
    for (struct digest is = digest_of_number(0); !digest_equal(&is, digest);
         is = digest_of_number((unsigned char)i))
        cr_assert_lt(++i, 256u, "a chunk that nobody asked for");
    return (unsigned char)i;
}

static void fake_get(struct store *s, const struct digest *digest, store_get_fn *done, void *arg)
{
    (void)s;
    cr_assert_lt(store.open_count, (size_t)READS_OPEN);
    store.open[store.open_count++] = (struct fake_get){ number_of(digest), done, arg };
    store.gets++;
}

static const struct store_ops ops = { .get = fake_get };

static void answer_one(size_t at)
{
    struct fake_get get = store.open[at];
    struct frame data;
    store.open_count--;
    memmove(store.open + at, store.open + at + 1, (store.open_count - at) * sizeof store.open[0]);
    get.number ^= store.rotten ? 0x80 : 0;
    frame_init_copy(&data, bytes_of(&get.number, 1));
    get.done(get.arg, STATUS_OK, "", &data);
    frame_finish(&data);
}

static void answer_all(void)
{
    size_t held;
    while ((held = store.holds && store.open_count && store.open[0].number == OTHER) <
           store.open_count)
        answer_one(held);
}

static void on_done(void *arg, enum status st, const char *text, const struct frame *data)
{
    struct answer *a = arg;
    (void)text;
    a->count++;
    a->status = st;
    a->byte = st ? 0 : *(const unsigned char *)frame_bytes(data).data;
}

static void ask(struct answer *a, char peer, unsigned char number, bool raw)
{
    struct digest digest = digest_of_number(number);
    struct rpc_peer from = { .route = { (unsigned char)peer }, .route_len = 1 };
    *a = (struct answer){ .count = 0 };
    reads_get(reads, &(struct read_wish){ &digest, &from, raw }, on_done, a);
}

static void init(void)
{
    rig_init(&rig);
    store.base.ops = &ops;
    reads = reads_create(rig.loop, &store.base);
}

static void finish(void)
{
    reads_destroy(reads);
    store.holds = false;
    answer_all();
    rig_finish(&rig);
}

TestSuite(reads, .init = init, .fini = finish);

Test(reads, what_is_being_read_is_read_once_for_all)
{
    struct answer a, b;
    ask(&a, 'a', 1, true);
    ask(&b, 'b', 1, true);
    cr_assert_eq(store.gets, 1);
    answer_all();
    cr_assert(a.count == 1 && b.count == 1 && a.byte == 1 && b.byte == 1);
}

Test(reads, what_one_has_a_companion_gets_and_then_it_is_forgotten)
{
    struct answer a, b;
    ask(&b, 'b', 9, true);
    ask(&a, 'a', 1, true);
    answer_all();
    ask(&b, 'b', 1, true);
    cr_assert_eq(b.count, 1, "it is there");
    cr_assert_eq(store.gets, 2);
    ask(&a, 'a', 1, true);
    cr_assert_eq(store.gets, 3, "all had it");
    answer_all();
}

Test(reads, one_alone_gets_what_the_store_has)
{
    struct answer a;
    for (int i = 0; i < 2; i++) {
        ask(&a, 'a', 1, true);
        cr_assert_eq(a.count, 0);
        answer_all();
        cr_assert_eq(a.count, 1);
    }
    cr_assert_eq(store.gets, 2);
}

Test(reads, only_who_asks_for_it_gets_raw_what_is_rotten)
{
    struct answer a, b;
    store.rotten = true;
    ask(&a, 'a', 1, true);
    answer_all();
    cr_assert_eq(a.status, STATUS_OK);
    cr_assert_eq(a.byte, 0x81);
    ask(&a, 'a', 1, false);
    answer_all();
    rig_wait(&rig, a.count);
    cr_assert_eq(a.status, STATUS_CORRUPT);
    ask(&a, 'a', 1, true);
    ask(&b, 'b', 1, false);
    answer_all();
    rig_wait(&rig, a.count && b.count);
    cr_assert(a.status == STATUS_CORRUPT && b.status == STATUS_CORRUPT, "it is known by then");
}

Test(reads, what_is_kept_raw_is_not_given_to_who_does_not_verify)
{
    struct answer a, b;
    ask(&b, 'b', 9, true);
    store.rotten = true;
    ask(&a, 'a', 1, true);
    answer_all();
    store.rotten = false;
    ask(&b, 'b', 1, false);
    cr_assert_eq(b.count, 0);
    answer_all();
    rig_wait(&rig, b.count);
    cr_assert_eq(b.status, STATUS_OK);
    cr_assert_eq(b.byte, 1);
}

/* 'a' reads on while 'b' has just begun: how much it gets. */
static size_t run_ahead(struct answer *a, struct answer *b)
{
    ask(b, 'b', OTHER, true);
    answer_all();
    for (unsigned char i = 0; i < AHEAD; i++)
        ask(&a[i], 'a', i, true);
    answer_all();
    size_t got = 0;
    while (got < AHEAD && a[got].count)
        got++;
    return got;
}

Test(reads, who_is_ahead_waits_until_the_others_come)
{
    static struct answer a[AHEAD], b; /* told until the end */
    cr_assert_eq(run_ahead(a, &b), READS_KEPT);
    ask(&b, 'b', 0, true);
    cr_assert_eq(b.count, 1);
    answer_all();
    cr_assert_eq(a[READS_KEPT].count, 1);
    cr_assert_eq(a[READS_KEPT + 1].count, 0);
}

static bool all_answered(const struct answer *a)
{
    answer_all();
    for (size_t i = 0; i < AHEAD; i++)
        if (!a[i].count)
            return false;
    return true;
}

Test(reads, who_stays_away_is_not_waited_for)
{
    static struct answer a[AHEAD], b; /* told until the end */
    cr_assert_eq(run_ahead(a, &b), READS_KEPT);
    rig_wait(&rig, all_answered(a));
}

Test(reads, who_is_too_slow_is_left_behind_and_not_waited_for_again_soon)
{
    static struct answer a[AHEAD], b; /* told until the end */
    store.holds = true;
    cr_assert_eq(run_ahead(a, &b), READS_KEPT - 1);
    while (!all_answered(a)) {
        ask(&b, 'b', OTHER, true); /* it is there, and does not get on */
        loop_again(rig.loop);
        rig_turn(&rig);
    }
    ask(&b, 'b', OTHER, true);
    for (unsigned char i = 0; i < AHEAD; i++)
        ask(&a[i], 'a', 30 + i, true);
    answer_all();
    cr_assert_eq(a[AHEAD - 1].count, 1);
}

Test(reads, who_asks_for_a_later_one_is_not_waited_for_with_those_before)
{
    static struct answer a[AHEAD], b; /* told until the end */
    cr_assert_eq(run_ahead(a, &b), READS_KEPT);
    ask(&b, 'b', READS_KEPT - 1, true); /* it has joined here */
    cr_assert_eq(b.count, 1);
    answer_all();
    cr_assert_eq(a[AHEAD - 1].count, 1);
}

Test(reads, those_who_wait_are_told_when_it_ends)
{
    static struct answer a[AHEAD], b; /* told until the end */
    ask(&b, 'b', OTHER, true);
    for (unsigned char i = 0; i < AHEAD; i++)
        ask(&a[i], 'a', i, true);
    reads_destroy(reads);
    cr_assert_eq(a[AHEAD - 1].status, STATUS_CANCELLED);
    answer_all();
    cr_assert_eq(a[0].count, 1);
    reads = NULL;
}
