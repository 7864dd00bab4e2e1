/* shadow.c - see shadow.h. */
#include "services/gateway/kept.h"
#include "services/gateway/shadow_pairs.h"

#include "common/base/clock.h"

#include <stdlib.h>
#include <utlist.h>

struct shadows {
    struct queue *queue;
    struct loop *loop;
    uint32_t timeout_ms;
    struct shadow_pair *pairs;
    size_t bytes;     /* that open copies keep alive */
    size_t comparing; /* on pool threads */
    bool destroyed;
};

/* The answer to a request, and the request that is to be answered once more. */
struct copy {
    struct copy *next, *prev; /* of its pair, while the queue has it */
    struct shadows *shadows;
    struct shadow_pair *pair;
    struct inference *inference; /* while the queue has it */
    size_t bytes;
    struct kept answer;
};

/* One whose outputs are compared on a pool thread. */
struct comparing {
    struct copy *copy;
    struct kept outputs;
    struct comparison result[MAX_TENSORS];
};

static void copy_destroy(struct copy *c)
{
    c->pair->open_count--;
    c->shadows->bytes -= c->bytes;
    kept_finish(&c->answer);
    free(c);
}

static void drop(struct copy *c, enum drop why)
{
    c->pair->dropped[why]++;
    copy_destroy(c);
}

/* ---- the shadow's outputs ---------------------------------------------------------------------- */

static struct compare_side side_of(const struct outcome *o)
{
    return (struct compare_side){ o->outputs, o->data, o->outputs_count };
}

static void compare(const struct copy *c, const struct outcome *o, struct comparison *out)
{
    struct compare_side answer = side_of(&c->answer.outcome), shadow = side_of(o);
    compare_outputs(&answer, &shadow, out);
}

static void shadows_free(struct shadows *s)
{
    pairs_finish(&s->pairs);
    free(s);
}

static void compare_late(void *arg) /* any thread */
{
    struct comparing *k = arg;
    compare(k->copy, &k->outputs.outcome, k->result);
}

static void on_compared(void *arg)
{
    struct comparing *k = arg;
    struct shadows *s = k->copy->shadows;
    pair_record(k->copy->pair, k->result);
    copy_destroy(k->copy);
    kept_finish(&k->outputs);
    free(k);
    s->comparing--;
    if (s->destroyed && !s->comparing)
        shadows_free(s);
}

static void compare_later(struct copy *c, const struct inference *r, const struct outcome *o)
{
    struct shadows *s = c->shadows;
    size_t bytes = kept_bytes(o, SHADOW_COPY_BYTES) + sizeof(struct comparing);
    if (bytes > SHADOW_BYTES_MAX - s->bytes) {
        drop(c, DROP_BYTES);
        return;
    }
    s->bytes += bytes;
    c->bytes += bytes;
    struct comparing *k = mem_alloc(sizeof *k);
    k->copy = c;
    kept_init(&k->outputs, o, lane_signature(r->lane), SHADOW_COPY_BYTES);
    s->comparing++;
    loop_work(s->loop, compare_late, on_compared, k);
}

static void count_failure(struct copy *c, enum status st)
{
    if (st == STATUS_TIMEOUT) {
        drop(c, DROP_DEADLINE);
    } else if (st == STATUS_UNAVAILABLE) {
        drop(c, DROP_ENGINES);
    } else {
        c->pair->failed++;
        copy_destroy(c);
    }
}

static size_t output_bytes(const struct outcome *o)
{
    size_t bytes = 0;
    for (size_t i = 0; i < o->outputs_count; i++)
        bytes += o->data[i].len;
    return bytes;
}

static void on_outputs(struct inference *r, const struct outcome *o)
{
    struct copy *c = r->user;
    struct comparison result[MAX_TENSORS];
    DL_DELETE(c->pair->open, c);
    c->inference = NULL;
    if (o->status) {
        count_failure(c, o->status);
    } else if (output_bytes(o) > SHADOW_INLINE_BYTES) {
        compare_later(c, r, o);
    } else {
        compare(c, o, result);
        pair_record(c->pair, result);
        copy_destroy(c);
    }
}

/* ---- copies ------------------------------------------------------------------------------------ */

static bool fits(const struct msg_tensor *input, const struct msg_tensor *want)
{
    bool same = input->datatype == want->datatype && input->shape.count == want->shape.count;
    for (size_t i = 0; same && i < want->shape.count; i++)
        same = want->shape.at[i] < 0 || want->shape.at[i] == input->shape.at[i];
    return same;
}

/* The input of r that the shadow wants under this name; NULL: there is none that fits. */
static const struct frame *find_input(const struct inference *r, const struct msg_tensor *want,
                                      const struct i64s **shape)
{
    for (size_t i = 0; i < r->inputs_count; i++) {
        *shape = &r->inputs[i].shape;
        if (bytes_equal(r->inputs[i].name, want->name))
            return fits(&r->inputs[i], want) ? &r->data[i] : NULL;
    }
    return NULL;
}

/* The inputs of r for another version; what that does not want is left out.  NULL: it wants others. */
static struct inference *copy_inputs(struct queue *q, const struct inference *r, struct lane *to)
{
    const struct msg_hello *signature = lane_signature(to);
    struct inference *out = inference_create(q);
    for (size_t i = 0; i < signature->inputs_count; i++) {
        const struct i64s *shape = NULL;
        const struct frame *data = find_input(r, &signature->inputs[i], &shape);
        if (!data) {
            inference_drop(q, out);
            return NULL;
        }
        memcpy(out->shapes[i], shape->at, shape->count * sizeof *shape->at);
        out->inputs[i] = signature->inputs[i];
        out->inputs[i].shape = (struct i64s){ out->shapes[i], shape->count };
        frame_init_share(&out->data[i], data);
        out->inputs_count++;
    }
    lane_count_rows(to, out);
    return out;
}

/* What its memory is until the copy is over; more where it is a part of something. */
static size_t input_bytes(const struct inference *r, size_t body_bytes)
{
    size_t bytes = 0;
    for (size_t i = 0; i < r->inputs_count; i++)
        bytes += frame_bytes(&r->data[i]).len;
    return bytes > body_bytes ? bytes : body_bytes;
}

struct answered {
    const struct inference *request;
    const struct outcome *outcome;
    size_t bytes; /* that a copy keeps alive */
    uint64_t now_us;
};

/* DROPS: the copy is with the queue. */
static enum drop queue_copy(struct shadows *s, struct shadow_pair *p, struct lane *to,
                            const struct answered *a)
{
    struct error err;
    if (!to || !lane_engines(to))
        return DROP_ENGINES;
    if (p->open_count >= SHADOW_COPIES_MAX)
        return DROP_COUNT;
    if (a->bytes > SHADOW_BYTES_MAX - s->bytes)
        return DROP_BYTES;
    struct inference *r = copy_inputs(s->queue, a->request, to);
    if (!r)
        return DROP_INPUTS;
    r->priority = PRIORITY_CLASSES;
    r->pinned = r->copy = true;
    r->deadline_ms = a->now_us / 1000 + s->timeout_ms;
    r->done = on_outputs;
    if (queue_submit(s->queue, to, r, a->now_us, &err)) {
        inference_drop(s->queue, r);
        return DROP_QUEUE;
    }
    struct copy *c = mem_alloc(sizeof *c);
    c->shadows = s;
    c->pair = p;
    c->inference = r;
    c->bytes = a->bytes;
    kept_init(&c->answer, a->outcome, lane_signature(a->request->lane), SHADOW_COPY_BYTES);
    r->user = c;
    s->bytes += c->bytes;
    p->open_count++;
    DL_APPEND(p->open, c);
    return DROPS;
}

void shadow_copy(struct shadows *s, const struct catalog *catalog, const struct inference *r,
                 const struct outcome *o, size_t body_bytes, uint64_t now_us)
{
    struct bytes name = bytes_str(lane_model(r->lane));
    const struct catalog_model *m = catalog_find(catalog, name);
    struct answered a = { r, o, 0, now_us };
    a.bytes = input_bytes(r, body_bytes) + kept_bytes(o, SHADOW_COPY_BYTES) + sizeof(struct copy) +
              sizeof(struct inference);
    for (size_t i = 0; m && i < m->deployment.shadow.count; i++) {
        uint32_t version = (uint32_t)m->deployment.shadow.at[i];
        struct shadow_pair *p = NULL;
        if (version != lane_version(r->lane)) /* it may stand in for others */
            p = pair_find(&s->pairs, r->lane, version);
        if (!p)
            continue;
        enum drop why = queue_copy(s, p, queue_find_lane(s->queue, name, version), &a);
        if (why == DROPS)
            p->copies++;
        else
            p->dropped[why]++;
    }
}

/* ---- changes ----------------------------------------------------------------------------------- */

static void end_all(struct shadows *s, struct shadow_pair *p, enum drop why)
{
    struct copy *c, *next;
    DL_FOREACH_SAFE(p->open, c, next)
    {
        queue_cancel(s->queue, c->inference);
        DL_DELETE(p->open, c);
        drop(c, why);
    }
}

void shadow_refresh(struct shadows *s, const struct catalog *catalog)
{
    for (struct shadow_pair *p = s->pairs; p; p = p->hh.next) {
        struct bytes name = bytes_str(lane_model(p->key.primary));
        uint32_t version = (uint32_t)p->key.shadow;
        if (!p->open)
            continue;
        const struct catalog_model *m = catalog_find(catalog, name);
        if (!m || !deployment_shadows(&m->deployment, version))
            end_all(s, p, DROP_ENDED);
        else if (!lane_engines(p->open->inference->lane))
            end_all(s, p, DROP_ENGINES);
    }
}

bool shadow_forget(struct shadows *s, const struct lane *primary)
{
    return pairs_forget(&s->pairs, primary);
}

/* ---- what came of it --------------------------------------------------------------------------- */

static void add_output(struct shadow_totals *t, const struct shadow_output *o, double *sum)
{
    uint64_t count = atomic_load_explicit(&o->difference->count, memory_order_relaxed);
    t->rows += o->rows;
    t->agreeing += o->agreeing;
    t->outputs += count;
    *sum += atomic_load_explicit(&o->difference->value, memory_order_relaxed);
    t->mean_difference = t->outputs ? *sum / (double)t->outputs : 0;
}

struct shadow_totals shadow_totals(const struct shadows *s, struct bytes model, uint32_t version)
{
    struct shadow_totals t = { 0 };
    double sum = 0;
    for (const struct shadow_pair *p = s->pairs; p; p = p->hh.next) {
        if (p->key.shadow != version || !bytes_equal_str(model, lane_model(p->key.primary)))
            continue;
        t.copies += p->copies;
        t.open += p->open_count;
        t.compared += p->compared;
        t.failed += p->failed;
        for (size_t i = 0; i < DROPS; i++)
            t.dropped += p->dropped[i];
        for (size_t i = 0; i < p->outputs_count; i++)
            add_output(&t, &p->outputs[i], &sum);
    }
    return t;
}

void shadow_print(const struct shadows *s, struct buf *out)
{
    pairs_print(s->pairs, out);
}

/* ---- life -------------------------------------------------------------------------------------- */

struct shadows *shadows_create(struct queue *q, struct loop *l, uint32_t timeout_ms)
{
    struct shadows *s = mem_zalloc(sizeof *s);
    s->queue = q;
    s->loop = l;
    s->timeout_ms = timeout_ms;
    return s;
}

void shadows_destroy(struct shadows *s)
{
    if (!s)
        return;
    s->destroyed = true;
    if (!s->comparing)
        shadows_free(s);
}
