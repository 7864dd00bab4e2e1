/* meters.c - measurements per model version: histograms, and the counts that lanes keep. */
#include "services/gateway/guarded.h"

#include "common/base/clock.h"

#include <stdio.h>

#define SECONDS_FAMILY(variable, metric, text)                                          \
    static struct metric_family variable = { .name = "maas_gateway_" metric "_seconds", \
                                             .help = (text),                            \
                                             .type = METRIC_HISTOGRAM,                  \
                                             .bounds = METRIC_SECONDS }

SECONDS_FAMILY(total, "inference", "time from the whole request to its answer, for answers 200");
SECONDS_FAMILY(wait, "queue", "time that a request waited for an engine");
SECONDS_FAMILY(compute, "compute", "time inside the runtime of the job that answered a request");
SECONDS_FAMILY(transfer, "transfer", "time of that job on its way to the engine and back");

static struct metric_family batch_rows = {
    .name = "maas_gateway_batch_rows",
    .help = "rows in one job",
    .type = METRIC_HISTOGRAM,
    .bounds = METRIC_SIZES,
};

/* ---- as it happens ----------------------------------------------------------------------------- */

/* The series of a family labelled with the lane's model and version. */
static struct metric *series(const struct lane *l, struct metric_family *f)
{
    char version[16];
    snprintf(version, sizeof version, "%u", lane_version(l));
    struct metric_label labels[] = { { "model", lane_model(l) }, { "version", version } };
    return metrics_series(f, labels, 2);
}

static void observe_us(struct lane *l, struct metric_family *f, struct metric **m, uint64_t us)
{
    if (!*m)
        *m = series(l, f);
    metric_observe(f, *m, (double)us / 1e6);
}

void meter_success(struct lane *l, const struct meter_times *t)
{
    struct lane_meters *m = lane_meters(l);
    struct lane_counts *c = lane_counts(l);
    observe_us(l, &total, &m->total, t->total_us);
    observe_us(l, &wait, &m->wait, t->queue_us);
    observe_us(l, &compute, &m->compute, t->compute_us);
    observe_us(l, &transfer, &m->transfer, t->transfer_us);
    c->succeeded++;
    c->succeeded_us += t->total_us;
    c->queue_us += t->queue_us;
    c->compute_us += t->compute_us;
    c->transfer_us += t->transfer_us;
    c->answer_us += t->answer_us;
    c->last_us = t->sent_us;
    if (m->guard)
        guard_count(m->guard, STATUS_OK, t->total_us);
}

void meter_failure(struct lane *l, enum status st, uint64_t total_us)
{
    lane_counts(l)->failed++;
    lane_counts(l)->failed_us += total_us;
    *lane_rejected(l) += guard_rejection(st);
    if (lane_meters(l)->guard)
        guard_count(lane_meters(l)->guard, st, total_us);
}

void meter_gone(struct lane *l, uint64_t total_us)
{
    if (lane_meters(l)->guard)
        guard_count_gone(lane_meters(l)->guard, total_us);
}

void meter_refused(struct lane *l)
{
    if (lane_meters(l)->guard)
        guard_count_refused(lane_meters(l)->guard);
}

void meter_batch(struct lane *l, uint32_t rows)
{
    struct lane_meters *m = lane_meters(l);
    if (!m->rows)
        m->rows = series(l, &batch_rows);
    metric_observe(&batch_rows, m->rows, rows);
}

void meter_forget(struct lane *l)
{
    struct lane_meters *m = lane_meters(l);
    metrics_drop(&total, m->total);
    metrics_drop(&wait, m->wait);
    metrics_drop(&compute, m->compute);
    metrics_drop(&transfer, m->transfer);
    metrics_drop(&batch_rows, m->rows);
    *m = (struct lane_meters){ 0 };
}

/* ---- on demand ----------------------------------------------------------------------------------- */

struct printing {
    struct buf *out;
    const char *family;
    void (*print)(const struct printing *p, struct lane *l);
};

/* A sample of the family; more: further labels, each with its comma, or "". */
static void put(const struct printing *p, const struct lane *l, const char *more, double value)
{
    buf_printf(p->out, "maas_gateway_%s{model=\"%s\",version=\"%u\"%s} %.9g\n", p->family,
               lane_model(l), lane_version(l), more, value);
}

static void print_depth(const struct printing *p, struct lane *l)
{
    put(p, l, "", (double)lane_waiting(l));
}

static void print_oldest(const struct printing *p, struct lane *l)
{
    uint64_t oldest = lane_oldest_us(l);
    put(p, l, "", oldest ? (double)(clock_us() - oldest) / 1e6 : 0);
}

static void print_expected(const struct printing *p, struct lane *l)
{
    put(p, l, "", (double)lane_wait_us(l) / 1e6);
}

static void print_engines(const struct printing *p, struct lane *l)
{
    put(p, l, "", (double)lane_engines(l));
}

static void print_ends(const struct printing *p, struct lane *l)
{
    static const char *const labels[] = {
#define X(name, text) [BATCH_##name] = ",reason=\"" text "\"",
        BATCH_END_LIST(X)
#undef X
    };
    for (size_t i = 0; i < BATCH_ENDS; i++)
        put(p, l, labels[i], (double)lane_counts(l)->ends[i]);
}

static void print_refused(const struct printing *p, struct lane *l)
{
    static const char *const labels[] = {
#define X(name, text) [REFUSED_##name] = ",reason=\"" text "\"",
        REFUSAL_LIST(X)
#undef X
    };
    for (size_t i = 0; i < REFUSALS; i++)
        put(p, l, labels[i], (double)lane_counts(l)->refused[i]);
}

static void print_lane(void *arg, struct lane *l)
{
    const struct printing *p = arg;
    p->print(p, l);
}

void meter_print(struct queue *q, struct buf *out)
{
    static const struct {
        const char *name, *type, *help;
        void (*print)(const struct printing *p, struct lane *l);
    } families[] = {
        { "queue_depth", "gauge", "requests that wait", print_depth },
        { "queue_oldest_seconds", "gauge", "how long the oldest of them has waited", print_oldest },
        { "queue_expected_seconds", "gauge", "how long those that wait will keep the engines busy",
          print_expected },
        { "engines", "gauge", "engines that take jobs", print_engines },
        { "batches_total", "counter", "jobs, by why no more was put into them", print_ends },
        { "refused_total", "counter", "requests that were not queued, by what was full",
          print_refused },
    };
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        struct printing p = { out, families[i].name, families[i].print };
        buf_printf(out, "# HELP maas_gateway_%s %s\n# TYPE maas_gateway_%s %s\n", families[i].name,
                   families[i].help, families[i].name, families[i].type);
        queue_each_lane(q, print_lane, &p);
    }
}
