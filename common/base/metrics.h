/* metrics.h - counters, gauges and histograms, and their Prometheus text.
 *
 * A family is a static struct; a series of it (one set of label values) is found
 * once with metrics_series and then kept: adding to it costs one relaxed atomic
 * addition.  Any thread, but a histogram has one that observes; finding and printing take a lock.
 * Text format: Prometheus exposition format 0.0.4.
 */
#ifndef COMMON_BASE_METRICS_H
#define COMMON_BASE_METRICS_H

#include "common/base/bytes.h"

#include <stdatomic.h>

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

#define METRIC_BUCKETS_MAX 24    /* upper bounds of one histogram */
#define METRIC_SERIES_MAX  16384 /* of one family; more share one series labelled "overflow" */

struct metric {
    const char *labels;                        /* read-only: `model="a",version="1"`, owned */
    _Atomic double value;                      /* gauge, histogram sum */
    atomic_ullong count;                       /* counter, histogram count */
    atomic_ullong buckets[METRIC_BUCKETS_MAX]; /* histograms only have memory for these */
};

struct metric_family {
    const char *name;
    const char *help;
    enum metric_type type;
    const double *bounds;         /* histogram: ascending upper bounds, ends with 0 */
    struct metric_series *series; /* private: hash by labels */
    struct metric_family *next;   /* private */
    bool known;                   /* private */
};

struct metric_label {
    const char *name;
    const char *value;
};

/* The series of the family with these labels (count may be 0); made when new.
 * It lives until metrics_drop or the end of the process.  Beyond METRIC_SERIES_MAX all share
 * the one that is labelled "overflow", which cannot be dropped. */
struct metric *metrics_series(struct metric_family *f, const struct metric_label *labels,
                              size_t count);
void metrics_drop(struct metric_family *f, struct metric *m);

static inline void metric_add(struct metric *m, uint64_t n)
{
    atomic_fetch_add_explicit(&m->count, n, memory_order_relaxed);
}

void metric_set(struct metric *m, double value);
/* Histogram of family f.  One thread per series: then nothing here must be atomic as a whole, which
 * would cost more than all the rest. */
void metric_observe(const struct metric_family *f, struct metric *m, double value);

/* Counts one event on a family without labels. */
void metric_count(struct metric_family *f);

/* Calls each for every counter series of this process: for reports to the registry.  It must
 * not find, drop or count by family. */
typedef void metric_each_fn(void *arg, const char *name, const char *labels, uint64_t value);
void metrics_each_counter(metric_each_fn *each, void *arg);

/* Appends the text of every family that has been used.  After the samples of each, more (or NULL)
 * may append samples of the same family from elsewhere: a family's samples stay together. */
typedef void metrics_more_fn(void *arg, const struct metric_family *f, struct buf *out);
void metrics_print(struct buf *out, metrics_more_fn *more, void *arg);

extern const double METRIC_SECONDS[]; /* bounds for times: 100 us to 60 s */
extern const double METRIC_SIZES[];   /* bounds for counts: 1 to 4096, powers of two */

#endif
