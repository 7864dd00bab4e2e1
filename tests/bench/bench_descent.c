/* bench_descent.c - what an epoch and a step of gradient descent take, without the rest of a run.
 *
 *     bench_descent epoch THREADS IMAGES LABELS   784-256-128-10, batch 128, momentum: seconds of
 *                                                 the epochs, the first left out
 *     bench_descent steps                         10-50-10, batch 10, momentum: steps per second
 *
 * Prints a JSON line.
 */
#include "common/base/clock.h"
#include "services/trainer/data/table.h"
#include "services/trainer/learners/descent.h"
#include "services/trainer/random.h"

#include <stdio.h>
#include <stdlib.h>

#define EPOCHS     6
#define SMALL_ROWS 1000
#define SMALL_RUNS 400 /* epochs */

static struct {
    uint64_t at[SMALL_RUNS + 1]; /* microseconds of the ends of epochs */
    size_t count;
} ends;

static bool go_on(void *arg, double fraction)
{
    (void)arg;
    (void)fraction;
    return true;
}

static void on_epoch(void *arg, const struct epoch *e)
{
    (void)arg;
    (void)e;
    ends.at[ends.count++] = clock_us();
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Seconds of an epoch: the median of all but the first. */
static double fit(const struct table *t, struct descent_params *p, uint32_t threads)
{
    static const struct learner_events events = { .go_on = go_on, .epoch = on_epoch };
    uint32_t *rows = malloc(t->rows * sizeof *rows);
    uint64_t took[SMALL_RUNS];
    void *model = NULL;
    struct error err;
    for (size_t i = 0; i < t->rows; i++)
        rows[i] = (uint32_t)i;
    const struct lesson lesson = {
        .table = t, .rows = rows, .train = t->rows, .threads = threads, .seed = 1, .events = &events
    };
    if (learner_mlp.fit(p, &lesson, &model, &err)) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    learner_mlp.destroy(model);
    free(rows);
    for (size_t i = 1; i < ends.count; i++)
        took[i - 1] = ends.at[i] - ends.at[i - 1];
    qsort(took, ends.count - 1, sizeof *took, by_size);
    return (double)took[(ends.count - 1) / 2] / 1e6;
}

static int run_epochs(char **argv)
{
    const atomic_bool cancel = false;
    const struct source_file images = { "images", argv[3], &cancel, 0 };
    const struct source_file labels = { "labels", argv[4], &cancel, 0 };
    struct table t;
    struct error err;
    struct descent_params p;
    if (idx_read(&images, &labels, &t, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    learner_mlp.defaults(&p, &t);
    p.epochs = EPOCHS;
    p.patience = 0;
    double seconds = fit(&t, &p, (uint32_t)strtoul(argv[2], NULL, 10));
    printf("{\"what\":\"epoch\",\"threads\":%s,\"rows\":%zu,\"seconds\":%.4f}\n", argv[2], t.rows,
           seconds);
    table_finish(&t);
    return 0;
}

static int run_steps(void)
{
    struct table t = { .rows = SMALL_ROWS, .features = 10, .classes_count = 10 };
    struct random r = { .state = 1 };
    struct descent_params p;
    t.x = malloc(t.rows * t.features * sizeof *t.x);
    t.y = malloc(t.rows * sizeof *t.y);
    for (size_t i = 0; i < t.rows; i++)
        t.y[i] = (uint32_t)(random_u64(&r) % 10);
    for (size_t i = 0; i < t.rows * t.features; i++)
        t.x[i] = (float)random_normal(&r);
    learner_mlp.defaults(&p, &t);
    p.hidden[0] = 50;
    p.batch = 10;
    p.epochs = SMALL_RUNS;
    p.patience = 0;
    double seconds = fit(&t, &p, 1);
    printf("{\"what\":\"steps\",\"per_second\":%.0f}\n", SMALL_ROWS / 10 / seconds);
    free(t.x);
    free(t.y);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "epoch") == 0)
        return run_epochs(argv);
    if (argc == 2 && strcmp(argv[1], "steps") == 0)
        return run_steps();
    fprintf(stderr, "usage: bench_descent epoch THREADS IMAGES LABELS | bench_descent steps\n");
    return 2;
}
