/* metrics.c - GET /metrics: what this gateway has measured, and what the others have counted.
 *
 * Prometheus exposition format 0.0.4.  The counters of registry, workers and trainers come with
 * their reports; each is shown under its own family's name, labelled with role and process, and
 * beside this gateway's own samples of the same family.  Other gateways are asked themselves.
 */
#include "common/base/metrics.h"
#include "services/gateway/api/dispatch.h"
#include "services/gateway/tensor_json.h"

#include <ctype.h>
#include <stdlib.h>

#define REMOTE_HELP "as counted by the other processes"

/* ---- counters of the others -------------------------------------------------------------------- */

struct remote {
    const struct msg_process *process;
    const struct msg_counter *counter;
    bool done; /* shown, or not to be shown */
};

struct remotes {
    struct remote *at; /* by family */
    size_t count;
};

static bool is_name(struct bytes text)
{
    const unsigned char *p = text.data;
    for (size_t i = 0; i < text.len; i++)
        if (!isalpha(p[i]) && p[i] != '_' && p[i] != ':' && (!i || !isdigit(p[i])))
            return false;
    return text.len > 0;
}

/* The length of `name="value"` at the beginning of text, 0: there is none. */
static size_t label_length(struct bytes text)
{
    const char *p = text.data;
    size_t i = 0;
    while (i < text.len && p[i] != '=')
        i++;
    if (!is_name(bytes_of(p, i)) || i + 1 >= text.len || p[i + 1] != '"')
        return 0;
    for (i += 2; i < text.len && p[i] != '"'; i++) {
        if ((unsigned char)p[i] < 0x20)
            return 0;
        i += p[i] == '\\';
    }
    return i < text.len ? i + 1 : 0;
}

/* It becomes part of our text, so it must be what it says. */
static bool are_labels(struct bytes text)
{
    while (text.len) {
        size_t len = label_length(text);
        if (!len || (len < text.len && ((const char *)text.data)[len] != ','))
            return false;
        len += len < text.len;
        text = bytes_of((const char *)text.data + len, text.len - len);
    }
    return true;
}

static int by_family(const void *a, const void *b)
{
    const struct bytes x = ((const struct remote *)a)->counter->name;
    const struct bytes y = ((const struct remote *)b)->counter->name;
    int order = memcmp(x.data, y.data, x.len < y.len ? x.len : y.len);
    return order ? order : (x.len > y.len) - (x.len < y.len);
}

static void collect(struct remotes *all, const struct msg_suite *suite)
{
    size_t room = 0;
    for (size_t p = 0; p < suite->processes_count; p++)
        room += suite->processes[p].counters_count;
    all->at = mem_alloc((room + 1) * sizeof *all->at);
    for (size_t p = 0; p < suite->processes_count; p++) {
        const struct msg_process *process = &suite->processes[p];
        for (size_t i = 0; process->role != ROLE_GATEWAY && i < process->counters_count; i++) {
            const struct msg_counter *k = &process->counters[i];
            if (is_name(k->name) && are_labels(k->labels))
                all->at[all->count++] = (struct remote){ process, k, false };
        }
    }
    qsort(all->at, all->count, sizeof *all->at, by_family);
}

static void put_remote(struct buf *out, const struct remote *r)
{
    const struct msg_counter *k = r->counter;
    buf_append_bytes(out, k->name);
    buf_printf(out, "{role=\"%s\",process=", role_name(r->process->role));
    json_string(out, r->process->id);
    buf_append_str(out, k->labels.len ? "," : "");
    buf_append_bytes(out, k->labels);
    buf_printf(out, "} %llu\n", (unsigned long long)k->value);
}

/* The others' samples of a family that is ours too. */
static void put_same_family(void *arg, const struct metric_family *f, struct buf *out)
{
    struct remotes *all = arg;
    for (size_t i = 0; i < all->count; i++) {
        if (all->at[i].done || !bytes_equal_str(all->at[i].counter->name, f->name))
            continue;
        all->at[i].done = true;
        if (f->type == METRIC_COUNTER)
            put_remote(out, &all->at[i]);
    }
}

static void put_other_families(struct buf *out, const struct remotes *all)
{
    struct bytes family = { NULL, 0 };
    for (size_t i = 0; i < all->count; i++) {
        const struct remote *r = &all->at[i];
        if (r->done)
            continue;
        if (!bytes_equal(r->counter->name, family)) {
            family = r->counter->name;
            buf_printf(out, "# HELP %.*s " REMOTE_HELP "\n# TYPE %.*s counter\n", (int)family.len,
                       (const char *)family.data, (int)family.len, (const char *)family.data);
        }
        put_remote(out, r);
    }
}

/* ---- what is not counted but looked up --------------------------------------------------------- */

static void put_head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_one(struct buf *out, const char *name, const char *type, const char *help,
                    uint64_t value)
{
    put_head(out, name, type, help);
    buf_printf(out, "%s %llu\n", name, (unsigned long long)value);
}

static uint64_t engines_of(const struct msg_process *p)
{
    return p->engines_count;
}

static uint64_t on_demand_of(const struct msg_process *p)
{
    return p->on_demand;
}

static uint64_t memory_of(const struct msg_process *p)
{
    return p->memory_bytes;
}

static uint64_t budget_of(const struct msg_process *p)
{
    return p->memory_budget_bytes;
}

static const struct worker_gauge {
    const char *name, *help;
    uint64_t (*value)(const struct msg_process *p);
} worker_gauges[] = {
    { "maas_worker_engines", "engines of a worker, in any state", engines_of },
    { "maas_worker_on_demand", "deployed versions that it starts when they are asked for",
      on_demand_of },
    { "maas_worker_memory_bytes", "what the engines of a worker have", memory_of },
    { "maas_worker_memory_budget_bytes", "what the engines of a worker may have together",
      budget_of },
};

static void put_workers(struct buf *out, const struct msg_suite *suite,
                        const struct worker_gauge *gauge)
{
    put_head(out, gauge->name, "gauge", gauge->help);
    for (size_t i = 0; i < suite->processes_count; i++) {
        const struct msg_process *p = &suite->processes[i];
        if (p->role != ROLE_WORKER)
            continue;
        buf_printf(out, "%s{process=", gauge->name);
        json_string(out, p->id);
        buf_printf(out, "} %llu\n", (unsigned long long)gauge->value(p));
    }
}

static void metrics(struct call *c)
{
    struct gateway *g = c->gateway;
    struct remotes others = { 0 };
    struct buf out = { 0 };
    collect(&others, suite_view_get(g->suite));
    metrics_print(&out, put_same_family, &others);
    put_other_families(&out, &others);
    free(others.at);
    put_one(&out, "maas_gateway_jobs_total", "counter", "jobs sent to engines", g->queue.jobs_sent);
    put_one(&out, "maas_gateway_job_rows_total", "counter", "rows sent to engines",
            g->queue.rows_sent);
    put_one(&out, "maas_gateway_requeued_total", "counter", "requests given to another engine",
            g->queue.requeued);
    put_one(&out, "maas_gateway_poisoned_total", "counter",
            "requests that crashed their model twice", g->queue.poisoned);
    put_one(&out, "maas_gateway_connections", "gauge", "open HTTP connections",
            http_connections(g->http));
    put_one(&out, "maas_gateway_open_requests", "gauge", "requests that are not answered yet",
            api_open());
    put_one(&out, "maas_gateway_keeps_awake", "gauge", "1 while no core may sleep", g->awake.held);
    for (size_t i = 0; i < sizeof worker_gauges / sizeof *worker_gauges; i++)
        put_workers(&out, suite_view_get(g->suite), &worker_gauges[i]);
    meter_print(&g->queue, &out);
    shadow_print(g->shadows, &out);
    api_text(c->http, "text/plain; version=0.0.4", &out);
}

const struct route metrics_routes[] = { { "GET", "/metrics", metrics, NULL }, { 0 } };
