/* lane.c - the queue of one model version: what it knows, and what it has learnt. */
#include "services/gateway/queue_parts.h"

#include <assert.h>
#include <stdlib.h>

#define SIGNATURE_BYTES 512 /* a usual signature, unpacked */
#define AVERAGED        8   /* jobs that an average remembers, about */

void lane_mark(struct queue *q, struct lane *l)
{
    if (l->is_dirty)
        return;
    l->is_dirty = true;
    l->next_dirty = q->dirty;
    q->dirty = l;
}

static bool make_key(struct lane_key *key, struct bytes model, uint32_t version)
{
    memset(key, 0, sizeof *key);
    key->version = version;
    return !bytes_copy_str(model, key->model, sizeof key->model);
}

struct lane *queue_find_lane(struct queue *q, struct bytes model, uint32_t version)
{
    struct lane_key key;
    struct lane *l = NULL;
    if (make_key(&key, model, version))
        HASH_FIND(hh, q->lanes, &key, sizeof key, l);
    return l;
}

size_t queue_lanes(const struct queue *q)
{
    return HASH_COUNT(q->lanes);
}

uint32_t queue_newest(const struct queue *q, struct bytes model)
{
    uint32_t newest = 0;
    for (const struct lane *l = q->lanes; l; l = l->hh.next)
        if (l->engines_count && l->key.version > newest && bytes_equal_str(model, l->key.model))
            newest = l->key.version;
    return newest;
}

struct lane *queue_lane(struct queue *q, struct bytes model, uint32_t version)
{
    struct lane *l = queue_find_lane(q, model, version);
    if (l)
        return l;
    l = slab_take(&q->lane_memory);
    bool ok = make_key(&l->key, model, version);
    assert(ok); /* names were checked against MAX_NAME on their way in */
    HASH_ADD(hh, q->lanes, key, sizeof l->key, l);
    return l;
}

void lane_expect(const struct lane *l)
{
    for (size_t i = 0; i < LANE_HOT_LINES; i++)
        __builtin_prefetch((const char *)l + i * LINE_BYTES, 1);
}

void lane_expect_job(const struct lane *l)
{
    if (l->ready)
        __builtin_prefetch(l->ready, 1);
}

void lane_expect_result(const struct lane *l, uint32_t rows)
{
    if (rows && rows <= l->counts.batches_count)
        __builtin_prefetch(&l->counts.batches[rows - 1], 1);
}

size_t lane_engines(const struct lane *l)
{
    return l->engines_count;
}

size_t lane_waiting(const struct lane *l)
{
    return l->waiting.count;
}

uint32_t lane_version(const struct lane *l)
{
    return l->key.version;
}

const char *lane_model(const struct lane *l)
{
    return l->key.model;
}

const struct msg_hello *lane_signature(const struct lane *l)
{
    return &l->signature;
}

struct lane_meters *lane_meters(struct lane *l)
{
    return &l->meters;
}

struct lane_counts *lane_counts(struct lane *l)
{
    return &l->counts;
}

uint64_t *lane_rejected(struct lane *l)
{
    return &l->rejected;
}

uint64_t lane_oldest_us(const struct lane *l)
{
    return waiting_oldest_us(&l->waiting);
}

/* r: NULL where nobody waits any more. */
static bool is_older(const struct inference *r, uint64_t before_us)
{
    return r && !r->copy && r->submitted_us < before_us;
}

static uint64_t running_older(const struct engine_link *engines, uint64_t before_us, uint64_t most)
{
    const struct engine_link *e;
    const struct job *j;
    uint64_t count = 0;
    DL_FOREACH(engines, e)
    {
        DL_FOREACH(e->jobs, j)
        {
            for (size_t i = 0; i < j->count && count < most; i++)
                count += is_older(j->items[i].request, before_us);
        }
    }
    return count;
}

uint64_t lane_older(const struct lane *l, uint64_t before_us, uint64_t most)
{
    uint64_t count = running_older(l->ready, before_us, most) +
                     running_older(l->ahead, before_us, most) +
                     running_older(l->busy, before_us, most);
    for (size_t class = 0; class < PRIORITY_CLASSES; class ++) {
        const struct inference *r = l->waiting.list[class];
        for (uint64_t n = 0; r && n < most && r->submitted_us < before_us; n++, r = r->next)
            count += is_older(r, before_us); /* the oldest are first */
    }
    return count;
}

uint32_t lane_max_batch(const struct lane *l)
{
    uint32_t told = l->options.max_batch;
    return told && told < l->max_batch ? told : l->max_batch;
}

uint64_t lane_recent(struct lane *l, uint64_t now_us)
{
    return recent_sum(&l->recent, now_us);
}

bool lane_count_rows(const struct lane *l, struct inference *r)
{
    r->rows = 1;
    for (size_t i = 0; i < r->inputs_count && !r->alone; i++) {
        const struct msg_tensor *want = &l->signature.inputs[i];
        r->alone = want->shape.count == 0 || want->shape.at[0] >= 0 ||
                   r->shapes[i][0] != r->shapes[0][0] || r->shapes[i][0] > BATCH_MAX;
    }
    bool batched = !r->alone;
    r->alone |= r->inputs_count && r->inputs[0].shape.count &&
                r->shapes[0][0] == 0; /* it would add nothing to a batch */
    if (!r->alone && r->inputs_count)
        r->rows = (uint32_t)r->shapes[0][0];
    return batched;
}

uint32_t lane_delay_us(const struct lane *l)
{
    return l->options.delay_us;
}

void lane_configure(struct queue *q, struct lane *l, const struct lane_options *options)
{
    l->options = *options;
    if (l->waiting.count)
        lane_mark(q, l);
}

void lane_learn(struct lane *l, uint64_t job_us, uint32_t rows)
{
    bool first = l->job_rows == 0;
    l->job_us = first ? AVERAGED * job_us : l->job_us - l->job_us / AVERAGED + job_us;
    l->job_rows = first ? (uint64_t)AVERAGED * rows : l->job_rows - l->job_rows / AVERAGED + rows;
}

uint64_t lane_work_us(const struct lane *l)
{
    return l->engines_count ? 2 * l->job_us / AVERAGED : 0;
}

bool lane_is_quick(const struct lane *l, uint64_t job_us)
{
    return l->job_rows && l->job_us / AVERAGED <= job_us;
}

uint64_t lane_rows_us(const struct lane *l, uint64_t rows)
{
    if (!l->job_rows || !l->engines_count)
        return 0;
    return (uint64_t)((double)rows * (double)l->job_us / (double)l->job_rows /
                      (double)l->engines_count);
}

uint64_t lane_wait_us(const struct lane *l)
{
    return lane_rows_us(l, l->waiting.rows - l->waiting.copied_rows);
}

static void keep_outputs(struct lane *l)
{
    l->outputs = l->signature.outputs;
    l->outputs_count = l->signature.outputs_count;
    if (!l->outputs_count || l->outputs[0].name.len > SHORT_NAME)
        return;
    l->first_output.datatype = l->outputs[0].datatype;
    l->first_output.name_len = (uint32_t)l->outputs[0].name.len;
    memcpy(l->first_output.name, l->outputs[0].name.data, l->outputs[0].name.len);
}

enum status lane_set_signature(struct lane *l, const struct msg_tensor *inputs, size_t inputs_count,
                               const struct msg_tensor *outputs, size_t outputs_count)
{
    struct msg_hello body = { .inputs = (struct msg_tensor *)(uintptr_t)inputs,
                              .inputs_count = inputs_count,
                              .outputs = (struct msg_tensor *)(uintptr_t)outputs,
                              .outputs_count = outputs_count };
    struct buf packed = { 0 };
    const void *copy;
    msg_pack(&packed, &schema_hello, &body);
    if (l->packed.len) {
        bool same = bytes_equal(buf_bytes(&packed), buf_bytes(&l->packed));
        buf_finish(&packed);
        return same ? STATUS_OK : STATUS_CONFLICT;
    }
    l->packed = packed;
    l->decoder.chunk = SIGNATURE_BYTES;
    if (!msg_unpack(&l->decoder, &schema_hello, buf_bytes(&l->packed), &copy, NULL))
        l->signature = *(const struct msg_hello *)copy;
    keep_outputs(l);
    return STATUS_OK;
}

void lane_hold(struct lane *l)
{
    l->holds++;
}

void lane_release(const struct queue *q, struct lane *l)
{
    if (q->finished)
        return;
    assert(l->holds);
    l->holds--;
}

bool lane_unused(const struct lane *l)
{
    return !l->ready && !l->ahead && !l->busy && !l->waiting.count && !l->is_dirty && !l->holds &&
           !l->meters.guard;
}

bool lane_gone(struct lane *l, bool gone)
{
    bool before = l->gone;
    l->gone = gone;
    return before && gone;
}

void queue_forget(struct queue *q, struct lane *l)
{
    assert(lane_unused(l));
    lane_destroy(q, l);
    slab_give(&q->lane_memory, l);
}

void lane_destroy(struct queue *q, struct lane *l)
{
    HASH_DEL(q->lanes, l);
    heap_remove(&q->wakes, &l->wake);
    buf_finish(&l->packed);
    msg_decoder_finish(&l->decoder);
    free(l->counts.batches);
}
