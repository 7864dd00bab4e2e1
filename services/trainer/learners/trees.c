/* trees.c - see trees.h. */
#include "services/trainer/learners/trees.h"

#include "common/base/clock.h"

#include <math.h>
#include <stdlib.h>
#include <yyjson.h>

#define CELLS_OF_THREAD 100000 /* for fewer another thread costs more than it saves */
#define BIN_BYTES       16     /* of a histogram: two sums */
#define BATCH_NODES     512    /* that XGBoost grows at a time, level by level */
#define MAGIC           "maastre1"

/* ---- limits ------------------------------------------------------------------------------------- */

static enum status check_size(const struct tree_lesson *t, struct error *err)
{
    const struct table *table = t->lesson->table;
    uint64_t gradients = (uint64_t)t->lesson->train * t->outputs;
    uint64_t histogram = (uint64_t)table->features * t->bins * BIN_BYTES;
    if (t->trees > TREES_MAX)
        return error_set(err, STATUS_TOO_LARGE, "%u trees are more than the %u that a model has",
                         t->trees, TREES_MAX);
    if (gradients > TREE_GRADIENTS_MAX)
        return error_set(err, STATUS_TOO_LARGE,
                         "%zu rows x %zu outputs are more than the %u that trees are grown for",
                         t->lesson->train, t->outputs, TREE_GRADIENTS_MAX);
    if (histogram * t->outputs > TREE_HISTOGRAMS_MAX / 4)
        return error_set(err, STATUS_TOO_LARGE,
                         "%zu features x %u bins x %zu outputs are too many: a node would have "
                         "more than %u bytes of histograms",
                         table->features, t->bins, t->outputs, TREE_HISTOGRAMS_MAX / 4);
    return STATUS_OK;
}

static void print_params(const struct learner *learner, const void *params,
                         struct digest_stream *s)
{
    const struct param_set set = { learner->params, learner->params_count,
                                   (void *)(uintptr_t)params };
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    size_t len = 0;
    yyjson_mut_doc_set_root(doc, root);
    yyjson_mut_obj_add_str(doc, root, "learner", learner->name);
    params_put(&set, 1, doc, root);
    char *text = yyjson_mut_write(doc, 0, &len);
    digest_update(s, bytes_of(text, len));
    free(text);
    yyjson_mut_doc_free(doc);
}

/* Of the rows only which they are and what is to be learnt of them: that is enough to tell lessons
 * apart. */
static void print_lesson(struct tree_lesson *t, const struct learner *learner, const void *params)
{
    const struct lesson *l = t->lesson;
    const struct table *table = l->table;
    const uint64_t numbers[] = { l->seed,     t->threads,      l->train,
                                 l->validation, table->features, t->outputs };
    struct digest_stream s;
    digest_start(&s);
    print_params(learner, params, &s);
    digest_update(&s, bytes_of(numbers, sizeof numbers));
    digest_update(&s, bytes_of(l->rows, (l->train + l->validation) * sizeof *l->rows));
    if (table->outputs)
        digest_update(&s, bytes_of(table->values, table->rows * table->outputs * sizeof(float)));
    else
        digest_update(&s, bytes_of(table->y, table->rows * sizeof *table->y));
    if (l->class_weights)
        digest_update(&s, bytes_of(l->class_weights, table->classes_count * sizeof(float)));
    digest_end(&s, &t->print);
}

enum status tree_lesson_init(struct tree_lesson *t, const struct learner *learner,
                             const void *params, const struct lesson *lesson, size_t outputs,
                             uint32_t trees, uint32_t bins, struct error *err)
{
    uint64_t cells = (uint64_t)lesson->train * lesson->table->features;
    uint64_t useful = 1 + cells / CELLS_OF_THREAD;
    *t = (struct tree_lesson){ .lesson = lesson, .outputs = outputs, .trees = trees, .bins = bins };
    t->threads = lesson->threads ? lesson->threads : 1;
    t->threads = t->threads < useful ? t->threads : (uint32_t)useful;
    enum status st = check_size(t, err);
    if (st)
        return st;
    t->max_leaves = ENSEMBLE_NODES_MAX / 2 / trees;
    print_lesson(t, learner, params);
    return STATUS_OK;
}

void tree_settings(const struct tree_lesson *t, size_t together, uint64_t seed,
                   struct xgb_settings *s)
{
    uint64_t histogram =
        (uint64_t)t->lesson->table->features * t->bins * BIN_BYTES * (together ? together : 1);
    uint64_t nodes = TREE_HISTOGRAMS_MAX / histogram;
    bool levels = nodes >= BATCH_NODES;
    xgb_say(s, "tree_method", "hist");
    xgb_say(s, "max_bin", "%u", t->bins);
    xgb_say(s, "nthread", "%u", t->threads);
    xgb_say(s, "seed", "%u", (unsigned)(seed >> 33));
    xgb_say(s, "seed_per_iteration", "1");
    xgb_say(s, "max_leaves", "%u", t->max_leaves);
    xgb_say(s, "grow_policy", levels ? "depthwise" : "lossguide");
    xgb_say(s, "max_cached_hist_node", "%u", (unsigned)(nodes < 65536 ? nodes : 65536));
}

/* ---- what is to be learnt ------------------------------------------------------------------------ */

void tree_standardise(const struct lesson *lesson, struct ensemble *e)
{
    const struct table *t = lesson->table;
    for (size_t k = 0; k < t->outputs; k++) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < lesson->train; i++)
            sum += t->values[lesson->rows[i] * t->outputs + k];
        double mean = sum / (double)lesson->train;
        for (size_t i = 0; i < lesson->train; i++) {
            double d = t->values[lesson->rows[i] * t->outputs + k] - mean;
            squares += d * d;
        }
        double deviation = sqrt(squares / (double)lesson->train);
        e->mean[k] = (float)mean;
        e->scale[k] = deviation > 0 ? (float)deviation : 1;
    }
}

float *tree_values(const struct lesson *lesson, const struct ensemble *e, const uint32_t *rows,
                   size_t count)
{
    const struct table *t = lesson->table;
    float *out = mem_alloc((count * t->outputs + 1) * sizeof *out);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < t->outputs; k++)
            out[i * t->outputs + k] =
                (t->values[rows[i] * t->outputs + k] - e->mean[k]) / e->scale[k];
    return out;
}

double tree_weight(const struct lesson *lesson, uint32_t row)
{
    const struct table *t = lesson->table;
    return lesson->class_weights && !t->outputs ? (double)lesson->class_weights[t->y[row]] : 1;
}

void tree_epoch(const struct lesson *lesson, uint32_t number, double train, double validation,
                double accuracy)
{
    const struct epoch e = { .number = number,
                             .train_loss = train,
                             .validation_loss = validation,
                             .validation_accuracy = accuracy };
    lesson->events->epoch(lesson->arg, &e);
}

/* ---- checkpoints --------------------------------------------------------------------------------- */

struct head {
    char magic[sizeof MAGIC - 1];
    uint32_t rounds, zero;
    struct digest print;
};

bool tree_checkpoint_due(struct tree_checkpoints *c, const struct tree_lesson *t)
{
    c->begin_ms = clock_ms();
    return t->lesson->events->checkpoint && c->begin_ms >= c->next_ms;
}

void tree_checkpoint(struct tree_checkpoints *c, const struct tree_lesson *t, uint32_t rounds,
                     const struct buf *payload)
{
    struct head head = { .rounds = rounds, .print = t->print };
    struct digest seal;
    struct buf state = { 0 };
    memcpy(head.magic, MAGIC, sizeof head.magic);
    buf_append(&state, &head, sizeof head);
    buf_append_bytes(&state, buf_bytes(payload));
    digest_of(buf_bytes(&state), &seal);
    buf_append(&state, seal.byte, sizeof seal.byte);
    t->lesson->events->checkpoint(t->lesson->arg, buf_bytes(&state));
    buf_finish(&state);
    uint64_t now = clock_ms(), wait = (now - c->begin_ms) * TREE_CHECKPOINT_SHARE;
    c->next_ms = now + (wait > TREE_CHECKPOINT_MS ? wait : TREE_CHECKPOINT_MS);
}

enum status tree_resume(const struct tree_lesson *t, uint32_t *rounds, struct bytes *payload,
                        struct error *err)
{
    const struct bytes state = t->lesson->resume;
    struct digest seal, is;
    struct head head;
    *rounds = 0;
    *payload = bytes_of(NULL, 0);
    if (!state.len)
        return STATUS_OK;
    if (state.len < sizeof head + sizeof seal)
        return error_set(err, STATUS_INVALID, "the checkpoint is too short");
    const char *end = (const char *)state.data + state.len - sizeof seal;
    memcpy(&head, state.data, sizeof head);
    memcpy(seal.byte, end, sizeof seal);
    digest_of(bytes_of(state.data, state.len - sizeof seal), &is);
    if (!digest_equal(&seal, &is) || memcmp(head.magic, MAGIC, sizeof head.magic) != 0)
        return error_set(err, STATUS_INVALID, "the checkpoint is damaged, or no trees are in it");
    if (!digest_equal(&head.print, &t->print))
        return error_set(err, STATUS_INVALID,
                         "the checkpoint is of other data or of other parameters");
    *rounds = head.rounds;
    *payload = bytes_of((const char *)state.data + sizeof head,
                        state.len - sizeof head - sizeof seal);
    return STATUS_OK;
}
