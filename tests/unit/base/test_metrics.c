/* test_metrics.c - what Prometheus will read, and counting from many threads. */
#include "common/base/metrics.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const double bounds[] = { 0.5, 1, 2.5, 0 };

static struct metric_family requests = { .name = "test_requests_total",
                                         .help = "requests seen",
                                         .type = METRIC_COUNTER };
static struct metric_family memory = { .name = "test_memory_bytes",
                                       .help = "memory held",
                                       .type = METRIC_GAUGE };
static struct metric_family latency = {
    .name = "test_seconds", .help = "time taken", .type = METRIC_HISTOGRAM, .bounds = bounds
};

static bool printed(const char *line)
{
    struct buf text = { 0 }, wanted = { 0 };
    buf_append_str(&text, "\n");
    metrics_print(&text, NULL, NULL);
    buf_printf(&wanted, "\n%s\n", line);
    bool found = strstr(buf_cstr(&text), buf_cstr(&wanted)) != NULL;
    if (!found)
        fprintf(stderr, "%s is not in:\n%s", line, buf_cstr(&text));
    buf_finish(&text);
    buf_finish(&wanted);
    return found;
}

static struct metric *series(struct metric_family *f, const char *name, const char *value)
{
    return metrics_series(f, (struct metric_label[]){ { name, value } }, 1);
}

Test(metrics, a_family_is_printed_once_it_is_used)
{
    struct buf text = { 0 };
    metrics_print(&text, NULL, NULL);
    cr_assert_null(strstr(buf_cstr(&text), "test_requests_total"));
    buf_finish(&text);
    metric_count(&requests);
    metric_count(&requests);
    cr_assert(printed("# HELP test_requests_total requests seen"));
    cr_assert(printed("# TYPE test_requests_total counter"));
    cr_assert(printed("test_requests_total 2"));
}

Test(metrics, series_are_found_by_their_labels)
{
    struct metric_label labels[] = { { "model", "iris" }, { "version", "2" } };
    struct metric *m = metrics_series(&requests, labels, 2);
    cr_assert_eq(metrics_series(&requests, labels, 2), m);
    cr_assert_neq(metrics_series(&requests, labels, 1), m);
    metric_add(m, 5);
    cr_assert(printed("test_requests_total{model=\"iris\",version=\"2\"} 5"));
    cr_assert(printed("test_requests_total{model=\"iris\"} 0"));
    metrics_drop(&requests, m);
    struct buf text = { 0 };
    metrics_print(&text, NULL, NULL);
    cr_assert_null(strstr(buf_cstr(&text), "version=\"2\""));
    buf_finish(&text);
    metrics_drop(&requests, NULL);
}

Test(metrics, label_values_are_escaped)
{
    metric_add(series(&requests, "path", "a\"b\\c\nd"), 1);
    cr_assert(printed("test_requests_total{path=\"a\\\"b\\\\c\\nd\"} 1"));
}

Test(metrics, gauges_keep_whole_numbers_whole)
{
    struct metric *m = series(&memory, "of", "all");
    metric_set(m, 12345678901.0);
    cr_assert(printed("test_memory_bytes{of=\"all\"} 12345678901"));
    metric_set(m, 0.1);
    cr_assert(printed("test_memory_bytes{of=\"all\"} 0.1"));
    metric_set(m, -3);
    cr_assert(printed("test_memory_bytes{of=\"all\"} -3"));
    metric_set(m, INFINITY);
    cr_assert(printed("test_memory_bytes{of=\"all\"} +Inf"));
    metric_set(m, -INFINITY);
    cr_assert(printed("test_memory_bytes{of=\"all\"} -Inf"));
    metric_set(m, NAN);
    cr_assert(printed("test_memory_bytes{of=\"all\"} NaN"));
}

Test(metrics, histograms_are_cumulative)
{
    struct metric *plain = metrics_series(&latency, NULL, 0);
    struct metric *labelled = series(&latency, "model", "m");
    const double values[] = { 0.25, 0.5, 0.75, 1, 2, 100, 1000 };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        metric_observe(&latency, plain, values[i]);
        metric_observe(&latency, labelled, values[i]);
    }
    cr_assert(printed("# TYPE test_seconds histogram"));
    cr_assert(printed("test_seconds_bucket{le=\"0.5\"} 2"));
    cr_assert(printed("test_seconds_bucket{le=\"1\"} 4"));
    cr_assert(printed("test_seconds_bucket{le=\"2.5\"} 5"));
    cr_assert(printed("test_seconds_bucket{le=\"+Inf\"} 7"));
    cr_assert(printed("test_seconds_sum 1104.5"));
    cr_assert(printed("test_seconds_count 7"));
    cr_assert(printed("test_seconds_bucket{model=\"m\",le=\"0.5\"} 2"));
    cr_assert(printed("test_seconds_sum{model=\"m\"} 1104.5"));
}

Test(metrics, the_usual_bounds_ascend_and_end)
{
    const double *const lists[] = { METRIC_SECONDS, METRIC_SIZES };
    for (size_t i = 0; i < 2; i++) {
        size_t n = 0;
        for (; lists[i][n] != 0; n++)
            if (n > 0)
                cr_assert_gt(lists[i][n], lists[i][n - 1]);
        cr_assert_leq(n, METRIC_BUCKETS_MAX);
    }
}

Test(metrics, a_peer_cannot_make_series_without_end)
{
    char value[32];
    struct metric *last = NULL;
    for (int i = 0; i < METRIC_SERIES_MAX + 1000; i++) {
        snprintf(value, sizeof value, "%d", i);
        last = series(&requests, "name", value);
        metric_add(last, 1);
    }
    cr_assert(printed("test_requests_total{overflow=\"true\"} 1000"));
    /* Many share it, so nobody can take it away from the others. */
    metrics_drop(&requests, last);
    metric_add(last, 1);
    cr_assert(printed("test_requests_total{overflow=\"true\"} 1001"));
    metrics_drop(&requests, series(&requests, "name", "5"));
    metrics_drop(&requests, series(&requests, "name", "6"));
    cr_assert_str_eq(series(&requests, "name", "new")->labels, "name=\"new\"");
}

static void sum(void *arg, const char *name, const char *labels, uint64_t value)
{
    (void)labels;
    if (strcmp(name, "test_requests_total") == 0)
        *(uint64_t *)arg += value;
    cr_assert_str_neq(name, "test_memory_bytes");
    cr_assert_str_neq(name, "test_seconds");
}

Test(metrics, each_counter_is_told)
{
    uint64_t total = 0;
    metric_count(&requests);
    metric_add(series(&requests, "a", "1"), 10);
    metric_add(series(&requests, "a", "2"), 100);
    metric_set(metrics_series(&memory, NULL, 0), 7);
    metric_observe(&latency, metrics_series(&latency, NULL, 0), 7);
    metrics_each_counter(sum, &total);
    cr_assert_eq(total, 111);
}

/* A counter is everybody's; a histogram's series has one thread that observes. */
static void *count_many(void *arg)
{
    struct metric *m = series(&requests, "kind", "shared");
    struct metric *own = series(&latency, "thread", arg);
    for (int i = 0; i < 20000; i++) {
        metric_add(m, 1);
        metric_observe(&latency, own, 0.5);
        metric_count(&requests);
        if (i % 1000 == 0) {
            char name[16];
            snprintf(name, sizeof name, "%d", i);
            series(&requests, "thread", name);
        }
    }
    return NULL;
}

Test(metrics, nothing_is_lost_between_threads)
{
    pthread_t thread[4];
    char name[4][8];
    for (int t = 0; t < 4; t++) {
        snprintf(name[t], sizeof name[t], "%d", t);
        pthread_create(&thread[t], NULL, count_many, name[t]);
    }
    for (int i = 0; i < 50; i++) {
        struct buf text = { 0 };
        metrics_print(&text, NULL, NULL);
        buf_finish(&text);
    }
    for (int t = 0; t < 4; t++)
        pthread_join(thread[t], NULL);
    cr_assert(printed("test_requests_total{kind=\"shared\"} 80000"));
    cr_assert(printed("test_requests_total 80000"));
    cr_assert(printed("test_seconds_count{thread=\"3\"} 20000"));
    cr_assert(printed("test_seconds_sum{thread=\"3\"} 10000"));
    cr_assert(printed("test_seconds_bucket{thread=\"0\",le=\"+Inf\"} 20000"));
}
