/* metrics.c - families in one list, series in a hash per family. */
#include "common/base/metrics.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <uthash.h>

const double METRIC_SECONDS[] = { 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                                  0.025,  0.05,    0.1,    0.25,  0.5,    1,     2.5,
                                  5,      10,      30,     60,    0 };
const double METRIC_SIZES[] = { 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 0 };

struct metric_series {
    UT_hash_handle hh;
    char *labels;
    struct metric metric;
};

#define OVERFLOW_LABELS "overflow=\"true\""

/* Guards the list of families and each one's hash of series. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct metric_family *families;

static void label_text(struct buf *out, const struct metric_label *labels, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_append_str(out, i ? "," : "");
        buf_append_str(out, labels[i].name);
        buf_append_str(out, "=\"");
        for (const char *p = labels[i].value; *p; p++) {
            if (*p == '\\' || *p == '"')
                buf_append(out, "\\", 1);
            if (*p == '\n')
                buf_append_str(out, "\\n");
            else
                buf_append(out, p, 1);
        }
        buf_append_str(out, "\"");
    }
}

static void introduce(struct metric_family *f)
{
    size_t count = 0;
    if (f->known)
        return;
    while (f->type == METRIC_HISTOGRAM && f->bounds[count] != 0)
        count++;
    assert(count <= METRIC_BUCKETS_MAX);
    f->known = true;
    f->next = families;
    families = f;
}

/* Under the lock. */
static struct metric *series_of(struct metric_family *f, const char *labels)
{
    struct metric_series *s;
    HASH_FIND_STR(f->series, labels, s);
    if (s)
        return &s->metric;
    if (HASH_COUNT(f->series) >= METRIC_SERIES_MAX && strcmp(labels, OVERFLOW_LABELS) != 0)
        return series_of(f, OVERFLOW_LABELS);
    introduce(f);
    s = mem_zalloc(f->type == METRIC_HISTOGRAM ? sizeof *s
                                               : offsetof(struct metric_series, metric.buckets));
    s->labels = mem_str(bytes_str(labels));
    s->metric.labels = s->labels;
    HASH_ADD_KEYPTR(hh, f->series, s->labels, strlen(s->labels), s);
    return &s->metric;
}

struct metric *metrics_series(struct metric_family *f, const struct metric_label *labels,
                              size_t count)
{
    struct buf text = { 0 };
    label_text(&text, labels, count);
    pthread_mutex_lock(&lock);
    struct metric *m = series_of(f, buf_cstr(&text));
    pthread_mutex_unlock(&lock);
    buf_finish(&text);
    return m;
}

void metrics_drop(struct metric_family *f, struct metric *m)
{
    struct metric_series *s;
    if (!m || strcmp(m->labels, OVERFLOW_LABELS) == 0)
        return;
    pthread_mutex_lock(&lock);
    HASH_FIND_STR(f->series, m->labels, s);
    if (s) {
        HASH_DEL(f->series, s);
        free(s->labels);
        free(s);
    }
    pthread_mutex_unlock(&lock);
}

void metric_set(struct metric *m, double value)
{
    atomic_store_explicit(&m->value, value, memory_order_relaxed);
}

/* Others only read. */
static void count_one(atomic_ullong *n)
{
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

void metric_observe(const struct metric_family *f, struct metric *m, double value)
{
    size_t i = 0;
    while (f->bounds[i] != 0 && value > f->bounds[i])
        i++;
    if (f->bounds[i] != 0)
        count_one(&m->buckets[i]);
    count_one(&m->count);
    metric_set(m, atomic_load_explicit(&m->value, memory_order_relaxed) + value);
}

void metric_count(struct metric_family *f)
{
    pthread_mutex_lock(&lock);
    metric_add(series_of(f, ""), 1);
    pthread_mutex_unlock(&lock);
}

void metrics_each_counter(metric_each_fn *each, void *arg)
{
    pthread_mutex_lock(&lock);
    for (struct metric_family *f = families; f; f = f->next) {
        if (f->type != METRIC_COUNTER)
            continue;
        for (struct metric_series *s = f->series; s; s = s->hh.next)
            each(arg, f->name, s->labels, atomic_load(&s->metric.count));
    }
    pthread_mutex_unlock(&lock);
}

static void print_sample(struct buf *out, const char *name, const char *suffix, const char *labels)
{
    buf_append_str(out, name);
    buf_append_str(out, suffix);
    if (*labels)
        buf_printf(out, "{%s}", labels);
}

/* Whole numbers stay whole: bytes and times would lose their last digits. */
static void print_number(struct buf *out, double value)
{
    if (isnan(value))
        buf_append_str(out, " NaN\n");
    else if (isinf(value))
        buf_append_str(out, value > 0 ? " +Inf\n" : " -Inf\n");
    else if (value == trunc(value) && fabs(value) < 1e15)
        buf_printf(out, " %.0f\n", value);
    else
        buf_printf(out, " %.9g\n", value);
}

static void print_histogram(struct buf *out, const struct metric_family *f, struct metric *m)
{
    const char *comma = *m->labels ? "," : "";
    unsigned long long sum = 0;
    for (size_t i = 0; f->bounds[i] != 0; i++) {
        sum += atomic_load(&m->buckets[i]);
        buf_printf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", f->name, m->labels, comma, f->bounds[i],
                   sum);
    }
    unsigned long long count = atomic_load(&m->count);
    if (count < sum)
        count = sum; /* an observation is under way on another thread */
    buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", f->name, m->labels, comma, count);
    print_sample(out, f->name, "_sum", m->labels);
    print_number(out, atomic_load(&m->value));
    print_sample(out, f->name, "_count", m->labels);
    buf_printf(out, " %llu\n", count);
}

static void print_series(struct buf *out, const struct metric_family *f, struct metric *m)
{
    if (f->type == METRIC_HISTOGRAM) {
        print_histogram(out, f, m);
        return;
    }
    print_sample(out, f->name, "", m->labels);
    if (f->type == METRIC_COUNTER)
        buf_printf(out, " %llu\n", atomic_load(&m->count));
    else
        print_number(out, atomic_load(&m->value));
}

void metrics_print(struct buf *out, metrics_more_fn *more, void *arg)
{
    static const char *const types[] = { "counter", "gauge", "histogram" };
    pthread_mutex_lock(&lock);
    for (struct metric_family *f = families; f; f = f->next) {
        if (!f->series)
            continue;
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, types[f->type]);
        for (struct metric_series *s = f->series; s; s = s->hh.next)
            print_series(out, f, &s->metric);
        if (more)
            more(arg, f, out);
    }
    pthread_mutex_unlock(&lock);
}
