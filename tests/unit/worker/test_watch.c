/* test_watch.c - a run is interrupted after its deadline, and never the one behind it. */
#include "common/base/clock.h"
#include "services/worker/watch.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <sched.h>
#include <unistd.h>

#define ROUNDS 2000

static int interrupts; /* on, less off */
static int ever;

static void interrupt(void *model, bool on)
{
    (void)model;
    interrupts += on ? 1 : -1;
    ever += on;
}

static const struct runtime counting = { .interrupt = interrupt };
static const struct model model = { .runtime = &counting };
static struct watch watch;

static void begin(void)
{
    interrupts = ever = 0;
    watch_init(&watch, &model);
}

static void finish(void)
{
    watch_finish(&watch);
}

TestSuite(watch, .init = begin, .fini = finish);

Test(watch, says_what_runs)
{
    cr_expect_eq(watch_look(&watch, 1000).job, 0);
    watch_begin(&watch, 7, 1000, 300);
    struct watch_state s = watch_look(&watch, 1100);
    cr_expect_eq(s.job, 7);
    cr_expect_eq(s.busy_ms, 100);
    cr_expect_eq(s.left_ms, 200);
    cr_expect(!watch_end(&watch));
    cr_expect_eq(watch_look(&watch, 5000).job, 0);
    cr_expect_eq(ever, 0);
}

Test(watch, interrupts_once_after_the_deadline)
{
    watch_begin(&watch, 7, 1000, 300);
    watch_look(&watch, 1299);
    cr_expect_eq(ever, 0);
    cr_expect_eq(watch_look(&watch, 1300).left_ms, UINT64_MAX);
    watch_look(&watch, 1400);
    cr_expect_eq(ever, 1);
    cr_expect_eq(interrupts, 1);
    cr_expect(watch_end(&watch));
    cr_expect_eq(interrupts, 0, "the next run must not be hit");
    watch_begin(&watch, 8, 1500, 300);
    watch_look(&watch, 1501);
    cr_expect(!watch_end(&watch));
    cr_expect_eq(ever, 1);
}

Test(watch, no_deadline_no_end)
{
    watch_begin(&watch, 7, 1000, 0);
    cr_expect_eq(watch_look(&watch, 1000000000).left_ms, UINT64_MAX);
    cr_expect_eq(ever, 0);
}

static void look_on(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++)
        watch_look(&watch, 1000 + (uint64_t)i % 5);
}

Test(watch, two_threads)
{
    uv_thread_t other;
    int interrupted = 0;
    cr_assert_eq(uv_thread_create(&other, look_on, NULL), 0);
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        watch_begin(&watch, i, 1000, 1 + (uint32_t)i % 4);
        interrupted += watch_end(&watch);
    }
    uv_thread_join(&other);
    cr_expect_eq(interrupts, 0);
    cr_expect_eq(interrupted, ever);
}

/* ---- the real runtimes ------------------------------------------------------------------------ */

static void watch_until_over(void *arg)
{
    struct watch *w = arg;
    while (watch_look(w, clock_ms()).job)
        sched_yield();
}

Test(watch, the_fake_runtime_wakes)
{
    static const char artifact[] = "fake\n";
    char path[] = "/tmp/maas-watch-XXXXXX";
    struct model fake = { .runtime = &runtime_fake };
    struct signature signature;
    struct error err;
    struct watch w;
    int fd = mkstemp(path);
    cr_assert_eq(write(fd, artifact, sizeof artifact - 1), (ssize_t)sizeof artifact - 1);
    close(fd);
    const struct runtime_options options = { .threads = 1 };
    cr_assert_eq(runtime_fake.load(path, &options, &fake.context, &signature, &err), STATUS_OK);
    unlink(path);
    watch_init(&w, &fake);
    for (int i = 0; i < 3; i++) {
        const float row[] = { 1, 50000 };
        struct tensor_in in = { DT_FP32, (int64_t[]){ 1, 2 }, 2, bytes_of(row, sizeof row) };
        struct tensor_out out[1];
        size_t count;
        uv_thread_t other;
        watch_begin(&w, 1, clock_ms(), 20);
        cr_assert_eq(uv_thread_create(&other, watch_until_over, &w), 0);
        cr_expect_neq(runtime_fake.run(fake.context, &in, 1, out, &count, &err), STATUS_OK);
        cr_expect(watch_end(&w));
        uv_thread_join(&other);
    }
    watch_finish(&w);
}

Test(watch, tells_of_a_run_that_does_not_heed)
{
    watch_begin(&watch, 7, 1000, 300);
    cr_expect(!watch_look(&watch, 1300).stuck);
    cr_expect(!watch_look(&watch, 1300 + STUCK_MS - 1).stuck);
    cr_expect(watch_look(&watch, 1300 + STUCK_MS).stuck);
    cr_expect(watch_end(&watch));
    watch_begin(&watch, 8, 1300 + STUCK_MS, 0);
    cr_expect(!watch_look(&watch, 1301 + STUCK_MS).stuck);
    cr_expect_eq(interrupts, 0);
}
