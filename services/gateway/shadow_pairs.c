/* shadow_pairs.c - see shadow_pairs.h. */
#include "services/gateway/shadow_pairs.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const double gaps[] = { 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1,
                               10,   100,  1e3,  1e4,  1e6,  1e9,  1e12, 0 };

static struct metric_family difference = {
    .name = "maas_gateway_shadow_difference",
    .help = "mean absolute difference between an output of the answer and the shadow's, per copy",
    .type = METRIC_HISTOGRAM,
    .bounds = gaps,
};
static struct metric_family largest = {
    .name = "maas_gateway_shadow_largest_difference",
    .help = "the largest absolute difference of two numbers ever",
    .type = METRIC_GAUGE,
};

static_assert(SHADOW_PAIRS_MAX * MAX_TENSORS <= METRIC_SERIES_MAX,
              "series would overflow, and their labels be the same");

/* ---- life -------------------------------------------------------------------------------------- */

/* May it be a label as it is?  Not what is no plain text, nor what could be a number as below. */
static bool is_plain(const struct msg_tensor *list, size_t i)
{
    const unsigned char *name = list[i].name.data;
    for (size_t k = 0; k < list[i].name.len; k++)
        if (name[k] < 0x20 || name[k] >= 0x7f || name[0] == '#')
            return false;
    for (size_t k = 0; k < i; k++)
        if (bytes_equal(list[k].name, list[i].name))
            return false;
    return true;
}

/* The name of an output, or "#3" where that would not do. */
static void output_label(const struct msg_tensor *list, size_t i, char out[MAX_NAME + 1])
{
    if (!is_plain(list, i) || bytes_copy_str(list[i].name, out, MAX_NAME + 1))
        snprintf(out, MAX_NAME + 1, "#%zu", i);
}

static void find_series(struct shadow_pair *p, size_t i)
{
    const struct lane *l = p->key.primary;
    char version[16], shadow[16], output[MAX_NAME + 1];
    struct metric_label labels[] = { { "model", lane_model(l) },
                                     { "version", version },
                                     { "shadow", shadow },
                                     { "output", output } };
    snprintf(version, sizeof version, "%u", lane_version(l));
    snprintf(shadow, sizeof shadow, "%u", (uint32_t)p->key.shadow);
    output_label(lane_signature(l)->outputs, i, output);
    p->outputs[i].difference = metrics_series(&difference, labels, 4);
    p->outputs[i].largest = metrics_series(&largest, labels, 4);
}

static void pair_destroy(struct shadow_pair **pairs, struct shadow_pair *p)
{
    HASH_DEL(*pairs, p);
    for (size_t i = 0; i < p->outputs_count; i++) {
        metrics_drop(&difference, p->outputs[i].difference);
        metrics_drop(&largest, p->outputs[i].largest);
    }
    free(p);
}

static bool make_room(struct shadow_pair **pairs)
{
    struct shadow_pair *p = *pairs;
    if (HASH_COUNT(*pairs) < SHADOW_PAIRS_MAX)
        return true;
    while (p && p->open_count)
        p = p->hh.next;
    if (p)
        pair_destroy(pairs, p);
    return p;
}

struct shadow_pair *pair_find(struct shadow_pair **pairs, struct lane *primary, uint32_t shadow)
{
    struct shadow_pair key = { .key = { primary, shadow } }, *p;
    HASH_FIND(hh, *pairs, &key.key, sizeof key.key, p);
    if (p || !make_room(pairs))
        return p;
    size_t count = lane_signature(primary)->outputs_count;
    p = mem_zalloc(sizeof *p + count * sizeof p->outputs[0]);
    p->key = key.key;
    p->outputs_count = count;
    for (size_t i = 0; i < count; i++)
        find_series(p, i);
    HASH_ADD(hh, *pairs, key, sizeof p->key, p);
    return p;
}

bool pairs_forget(struct shadow_pair **pairs, const struct lane *primary)
{
    struct shadow_pair *p, *next;
    for (p = *pairs; p; p = p->hh.next)
        if (p->key.primary == primary && p->open_count)
            return false;
    HASH_ITER(hh, *pairs, p, next)
    {
        if (p->key.primary == primary)
            pair_destroy(pairs, p);
    }
    return true;
}

void pairs_finish(struct shadow_pair **pairs)
{
    struct shadow_pair *p, *next;
    HASH_ITER(hh, *pairs, p, next)
    pair_destroy(pairs, p);
}

/* ---- counting ---------------------------------------------------------------------------------- */

void pair_record(struct shadow_pair *p, const struct comparison *outputs)
{
    p->compared++;
    for (size_t i = 0; i < p->outputs_count; i++) {
        const struct comparison *c = &outputs[i];
        struct shadow_output *o = &p->outputs[i];
        o->mismatched += !c->matched;
        o->not_finite += c->not_finite;
        o->rows += c->rows;
        o->agreeing += c->agreeing;
        if (!c->values)
            continue;
        metric_observe(&difference, o->difference, c->mean);
        o->most = fmax(o->most, c->largest);
        metric_set(o->largest, o->most);
    }
}

/* ---- as text ----------------------------------------------------------------------------------- */

static void put_head(struct buf *out, const char *family, const char *help)
{
    buf_printf(out,
               "# HELP maas_gateway_shadow_%s %s\n"
               "# TYPE maas_gateway_shadow_%s counter\n",
               family, help, family);
}

/* A sample of the pair; more: further labels, each with its comma, or "". */
static void put(struct buf *out, const char *family, const struct shadow_pair *p, const char *more,
                uint64_t value)
{
    const struct lane *l = p->key.primary;
    buf_printf(out, "maas_gateway_shadow_%s{model=\"%s\",version=\"%u\",shadow=\"%u\"%s} %llu\n",
               family, lane_model(l), lane_version(l), (uint32_t)p->key.shadow, more,
               (unsigned long long)value);
}

static uint64_t count_at(const void *of, size_t offset)
{
    return *(const uint64_t *)((const char *)of + offset);
}

static void print_counts(const struct shadow_pair *pairs, struct buf *out)
{
    static const struct {
        const char *name, *help;
        size_t offset;
    } families[] = {
        { "copies_total", "copies that were queued", offsetof(struct shadow_pair, copies) },
        { "compared_total", "copies whose outputs came and were compared",
          offsetof(struct shadow_pair, compared) },
        { "failed_total", "copies that the shadow failed, or crashed with",
          offsetof(struct shadow_pair, failed) },
    };
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        put_head(out, families[i].name, families[i].help);
        for (const struct shadow_pair *p = pairs; p; p = p->hh.next)
            put(out, families[i].name, p, "", count_at(p, families[i].offset));
    }
}

static void print_drops(const struct shadow_pair *pairs, struct buf *out)
{
    static const char *const labels[] = {
#define X(name, text) [DROP_##name] = ",reason=\"" text "\"",
        DROP_LIST(X)
#undef X
    };
    put_head(out, "dropped_total", "copies that were not made, or not waited for");
    for (const struct shadow_pair *p = pairs; p; p = p->hh.next)
        for (size_t i = 0; i < DROPS; i++)
            put(out, "dropped_total", p, labels[i], p->dropped[i]);
}

static void print_outputs(const struct shadow_pair *pairs, struct buf *out)
{
    static const struct {
        const char *name, *help;
        size_t offset;
    } families[] = {
        { "rows_total", "rows whose class, or whose values that are no floats, were compared",
          offsetof(struct shadow_output, rows) },
        { "rows_agreeing_total", "those that were equal",
          offsetof(struct shadow_output, agreeing) },
        { "not_finite_total", "pairs of numbers with a NaN or an infinity",
          offsetof(struct shadow_output, not_finite) },
        { "mismatched_total", "outputs that the shadow lacks, or has with another type or shape",
          offsetof(struct shadow_output, mismatched) },
    };
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        put_head(out, families[i].name, families[i].help);
        for (const struct shadow_pair *p = pairs; p; p = p->hh.next)
            for (size_t k = 0; k < p->outputs_count; k++)
                buf_printf(out, "maas_gateway_shadow_%s{%s} %llu\n", families[i].name,
                           p->outputs[k].difference->labels,
                           (unsigned long long)count_at(&p->outputs[k], families[i].offset));
    }
}

void pairs_print(const struct shadow_pair *pairs, struct buf *out)
{
    print_counts(pairs, out);
    print_drops(pairs, out);
    print_outputs(pairs, out);
}
