/* trees.c - see trees.h. */
#include "services/trainer/learners/trees.h"

#include "common/base/clock.h"
#include "services/trainer/learners/seal.h"
#include "services/trainer/learners/team.h"

#include <math.h>
#include <stdlib.h>

#define CELLS_OF_THREAD   100000 /* for fewer another thread costs more than it saves */
#define BATCH_NODES       512    /* that XGBoost grows at a time, level by level */
#define BATCH_DEPTH       9      /* of a tree that has so many in a level */
/* Histograms that are kept, so that a sibling's is found by a subtraction.  Of several outputs they
 * are large, and it costs more to fetch them from memory than to count again. */
#define CACHED_NODES      65536
#define CACHED_NODES_WIDE 64
#define LEAST_NODES       4
#define SUM_ROWS          256 /* that are asked at a time */
#define MAGIC             "maastre1"
#define VERSION           1u /* of checkpoints, and of how trees are grown: raise it with either */

/* ---- memory and threads ------------------------------------------------------------------------- */

/* Histograms are the largest part of the memory, and a quarter of what the rows take as float32. */
static uint64_t histogram_bytes(const struct tree_lesson *t)
{
    uint64_t share = (uint64_t)t->lesson->train * t->lesson->table->features;
    share = share > TREE_HISTOGRAMS_FEW ? share : TREE_HISTOGRAMS_FEW;
    return share > TREE_HISTOGRAMS_MAX ? TREE_HISTOGRAMS_MAX : share;
}

/* Of one node. */
static uint64_t histogram_of(const struct tree_lesson *t)
{
    return (uint64_t)t->features * t->bins * TREE_BIN_BYTES * t->together;
}

/* Nodes that are grown at a time, where it goes level by level. */
static uint64_t nodes_of_level(const struct tree_lesson *t)
{
    return t->max_depth < BATCH_DEPTH ? 1u << t->max_depth : BATCH_NODES;
}

static bool has_own_matrices(const struct tree_lesson *t)
{
    return t->features < t->lesson->table->features;
}

/* The bins lie in memory twice, by rows and by columns.  A tree's own are of the rows that were
 * drawn: 0.63 of all when as many are drawn as there are. */
static uint64_t matrix_bytes(const struct tree_lesson *t)
{
    uint64_t cells = (uint64_t)t->lesson->train * t->features * (t->bins > 256 ? 4 : 2);
    return has_own_matrices(t) ? cells * 2 / 3 : cells;
}

/* What is to be learnt as XGBoost has it, beside ours: derivatives twice, and the rows twice, as they
 * are shared out to nodes. */
static uint64_t derivatives(const struct tree_lesson *t)
{
    uint64_t rows = t->lesson->train;
    return rows * t->together * 3 * 2 * sizeof(float) + rows * 2 * sizeof(uint64_t);
}

/* Trees that do not know of each other are grown by a thread each, as many as have room: threads
 * that share a tree meet for each output of each node. */
static void share_threads(struct tree_lesson *t)
{
    uint64_t useful = 1 + (uint64_t)t->lesson->train * t->lesson->table->features / CELLS_OF_THREAD;
    uint64_t threads = t->lesson->threads ? t->lesson->threads : 1, most = 1;
    uint64_t bytes = LEAST_NODES * histogram_of(t) + derivatives(t);
    if (t->independent && has_own_matrices(t)) /* in place of one for all */
        most = 2 * histogram_bytes(t) / (bytes + matrix_bytes(t));
    else if (t->independent)
        most = histogram_bytes(t) / bytes;
    most = most < TEAM_MOST ? most : TEAM_MOST;
    most = most < t->trees ? most : t->trees;
    most = most < threads ? most : threads;
    t->at_once = most ? (uint32_t)most : 1;
    threads /= t->at_once;
    t->threads = (uint32_t)(threads < useful ? threads : useful);
}

/* Nodes whose histograms a tree may have at a time. */
static uint64_t room_of_tree(const struct tree_lesson *t)
{
    uint64_t nodes = histogram_bytes(t) / t->at_once / histogram_of(t);
    bool few = t->independent && t->together > 1;
    return few || nodes < LEAST_NODES ? LEAST_NODES : nodes;
}

/* The trees that are there already: a node for four rows, about, where they may be deep. */
static uint64_t ensemble_bytes(const struct tree_lesson *t)
{
    uint64_t nodes = 1 + t->lesson->train / 4;
    if (t->max_depth < 31 && nodes > 2u << t->max_depth)
        nodes = 2u << t->max_depth;
    nodes *= t->trees;
    nodes = nodes < ENSEMBLE_NODES_MAX ? nodes : ENSEMBLE_NODES_MAX;
    return nodes * (sizeof(struct tree_node) + t->together * sizeof(float) / 2);
}

/* Each thread of a tree sums up by itself. */
uint64_t tree_lesson_memory(const struct tree_lesson *t)
{
    struct tree_lesson plan = *t;
    share_threads(&plan);
    uint64_t rows = t->lesson->train + t->lesson->validation;
    uint64_t level = nodes_of_level(t), nodes = room_of_tree(&plan);
    uint64_t histograms = (level < nodes ? level : nodes) * histogram_of(t);
    uint64_t matrices = has_own_matrices(t) ? plan.at_once : 1;
    return matrices * matrix_bytes(t) + rows * t->outputs * 2 * sizeof(float) + ensemble_bytes(t) +
           plan.at_once * (derivatives(t) + (plan.threads > 1 ? 2 : 1) * histograms);
}

/* ---- limits ------------------------------------------------------------------------------------- */

static enum status check_size(const struct tree_lesson *t, struct error *err)
{
    uint64_t gradients = (uint64_t)t->lesson->train * t->outputs;
    uint64_t histogram = histogram_of(t);
    if (t->trees > TREES_MAX)
        return error_set(err, STATUS_TOO_LARGE, "%u trees are more than the %u that a model has",
                         t->trees, TREES_MAX);
    if (gradients > TREE_GRADIENTS_MAX)
        return error_set(err, STATUS_TOO_LARGE,
                         "%zu rows x %zu outputs are more than the %u that trees are grown for",
                         t->lesson->train, t->outputs, TREE_GRADIENTS_MAX);
    if (histogram > TREE_HISTOGRAMS_MAX / 4)
        return error_set(err, STATUS_TOO_LARGE,
                         "%zu features x %u bins x %zu outputs are too many: a node would have "
                         "more than %u bytes of histograms",
                         t->features, t->bins, t->together, TREE_HISTOGRAMS_MAX / 4);
    return STATUS_OK;
}

/* ---- the lesson --------------------------------------------------------------------------------- */

/* Of the rows only which they are and what is to be learnt of them: that is enough to tell lessons
 * apart. */
static void print_lesson(struct tree_lesson *t, const struct learner *learner, const void *params)
{
    const struct lesson *l = t->lesson;
    const struct table *table = l->table;
    const uint64_t numbers[] = { l->seed,  t->threads,    t->at_once,      t->outputs,
                                 l->train, l->validation, table->features, t->features };
    struct digest_stream s;
    digest_start(&s);
    seal_params(&s, learner, params);
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
                             const void *params, const struct lesson *lesson, struct error *err)
{
    t->lesson = lesson;
    share_threads(t);
    enum status st = check_size(t, err);
    if (st)
        return st;
    t->max_leaves = ENSEMBLE_NODES_MAX / 2 / t->trees;
    print_lesson(t, learner, params);
    return STATUS_OK;
}

/* Level by level where there is room for it, else node by node, the best one first. */
static void say_order(const struct tree_lesson *t, struct xgb_settings *s)
{
    uint64_t nodes = room_of_tree(t);
    uint64_t most = t->together > 1 ? CACHED_NODES_WIDE : CACHED_NODES;
    bool levels = nodes >= nodes_of_level(t);
    xgb_say(s, "grow_policy", levels ? "depthwise" : "lossguide");
    xgb_say(s, "max_cached_hist_node", "%u", (unsigned)(nodes < most ? nodes : most));
}

void tree_settings(const struct tree_lesson *t, uint64_t seed, struct xgb_settings *s)
{
    xgb_say(s, "tree_method", "hist");
    xgb_say(s, "max_bin", "%u", t->bins);
    xgb_say(s, "nthread", "%u", t->threads);
    xgb_say(s, "seed", "%u", (unsigned)(seed >> 33));
    xgb_say(s, "objective", "reg:squarederror"); /* not asked: there are gradients */
    xgb_say(s, "base_score", "0");
    xgb_say(s, "eta", "1");
    if (t->together > 1)
        xgb_say(s, "multi_strategy", "multi_output_tree");
    xgb_say(s, "max_leaves", "%u", t->max_leaves);
    say_order(t, s);
}

/* ---- what is to be learnt ------------------------------------------------------------------------ */

/* Mean and deviation of each output over the rows that are learnt from. */
static void standardise(const struct lesson *lesson, struct ensemble *e)
{
    const struct table *t = lesson->table;
    for (size_t k = 0; k < t->outputs; k++) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < lesson->train; i++)
            sum += (double)t->values[lesson->rows[i] * t->outputs + k];
        double mean = sum / (double)lesson->train;
        for (size_t i = 0; i < lesson->train; i++) {
            double d = (double)t->values[lesson->rows[i] * t->outputs + k] - mean;
            squares += d * d;
        }
        double deviation = sqrt(squares / (double)lesson->train);
        e->mean[k] = (float)mean;
        e->scale[k] = deviation > 0 ? (float)deviation : 1;
    }
}

static float *targets_of(const struct growth *g, const uint32_t *rows, size_t count)
{
    const struct table *t = g->t.lesson->table;
    size_t n = table_width(t);
    float *out = mem_zalloc((count * n + 1) * sizeof *out);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < t->outputs; k++)
            out[i * n + k] = (t->values[rows[i] * n + k] - g->e->mean[k]) / g->e->scale[k];
    for (size_t i = 0; i < count && !t->outputs; i++)
        out[i * n + t->y[rows[i]]] = 1;
    return out;
}

double tree_weight(const struct lesson *lesson, uint32_t row)
{
    const struct table *t = lesson->table;
    return lesson->class_weights && !t->outputs ? (double)lesson->class_weights[t->y[row]] : 1;
}

/* ---- growth -------------------------------------------------------------------------------------- */

static void watch(const struct growth *g, struct tree_watched *w, const uint32_t *rows,
                  size_t count)
{
    w->rows = rows;
    w->count = count;
    w->targets = targets_of(g, rows, count);
    w->sums = mem_zalloc((count * g->e->sums + 1) * sizeof *w->sums);
}

enum status growth_start(struct growth *g, struct error *err)
{
    const struct lesson *l = g->t.lesson;
    size_t cells = l->train * g->e->sums;
    const struct xgb_rows rows = { .lesson = l,
                                   .ask = true,
                                   .rows = l->rows,
                                   .count = l->train,
                                   .bins = g->t.bins,
                                   .threads = g->t.at_once * g->t.threads };
    if (l->table->outputs)
        standardise(l, g->e);
    watch(g, &g->train, l->rows, l->train);
    watch(g, &g->validation, l->rows + l->train, l->validation);
    g->gradients = mem_zalloc(cells * sizeof *g->gradients);
    g->hessians = mem_alloc(cells * sizeof *g->hessians);
    if (has_own_matrices(&g->t))
        return growth_go_on(g, err);
    enum status st = xgb_matrix_create(&rows, &g->matrix, err);
    /* Labels say how many numbers a leaf has, and no more. */
    return st ? st : xgb_matrix_labels(g->matrix, g->gradients, l->train, g->t.together, err);
}

void growth_finish(struct growth *g)
{
    xgb_matrix_destroy(g->matrix);
    free(g->train.targets);
    free(g->train.sums);
    free(g->validation.targets);
    free(g->validation.sums);
    free(g->gradients);
    free(g->hessians);
}

enum status growth_go_on(const struct growth *g, struct error *err)
{
    const struct lesson *l = g->t.lesson;
    return l->events->go_on(l->arg, g->fraction) ? STATUS_OK
                                                 : error_set(err, STATUS_CANCELLED, "cancelled");
}

static enum status add_sums_of(struct growth *g, size_t from, struct tree_watched *w,
                               struct error *err)
{
    const struct table *t = g->t.lesson->table;
    float *room = t->x ? NULL : mem_alloc(SUM_ROWS * t->features * sizeof *room);
    enum status st = STATUS_OK;
    for (size_t at = 0; at < w->count && !st; at += SUM_ROWS) {
        size_t n = w->count - at < SUM_ROWS ? w->count - at : SUM_ROWS;
        float *sums = w->sums + at * g->e->sums;
        if (room)
            table_rows(t, w->rows + at, n, room);
        ensemble_add_sums(g->e, from, room ? room : t->x, room ? NULL : w->rows + at, n, sums);
        st = growth_go_on(g, err);
    }
    free(room);
    return st;
}

static enum status add_sums(struct growth *g, size_t from, struct error *err)
{
    enum status st = add_sums_of(g, from, &g->train, err);
    return st ? st : add_sums_of(g, from, &g->validation, err);
}

enum status growth_grow(const struct growth *g, const struct xgb_settings *settings,
                        const struct ground *on, struct xgb_booster **out, struct error *err)
{
    enum status st = xgb_booster_create(settings, on->matrix, out, err);
    if (st)
        return st;
    st = xgb_grow(*out, on->matrix, on->gradients, on->hessians, on->count, g->t.together, err);
    if (!st)
        return STATUS_OK;
    xgb_booster_destroy(*out);
    *out = NULL;
    return st;
}

/* From the numbers of a matrix's features to the table's. */
static enum status name_features(const struct growth *g, size_t from, const uint32_t *features,
                                 struct error *err)
{
    for (size_t i = from; i < g->e->nodes_count; i++) {
        struct tree_node *n = &g->e->nodes[i];
        if (n->left && n->feature >= g->t.features)
            return error_set(err, STATUS_INVALID, "XGBoost asks for a feature that it did not get");
        n->feature = n->left ? features[n->feature] : 0;
    }
    return STATUS_OK;
}

enum status growth_take(struct growth *g, struct xgb_booster *booster, const struct ground *on,
                        size_t first, float factor, struct error *err)
{
    struct bytes json;
    size_t nodes = g->e->nodes_count;
    enum status st = xgb_json(booster, &json, err);
    if (!st)
        st = ensemble_add_json(g->e, json, first, factor, err);
    return st || !on->features ? st : name_features(g, nodes, on->features, err);
}

enum status growth_tree(struct growth *g, const struct xgb_settings *settings, size_t first,
                        float factor, struct error *err)
{
    struct xgb_booster *booster = NULL;
    size_t begin = first * g->train.count;
    const struct ground on = { .matrix = g->matrix,
                               .count = g->train.count,
                               .gradients = g->gradients + begin,
                               .hessians = g->hessians + begin };
    enum status st = growth_go_on(g, err);
    if (!st)
        st = growth_grow(g, settings, &on, &booster, err);
    if (!st)
        st = growth_take(g, booster, &on, first, factor, err);
    xgb_booster_destroy(booster);
    return st;
}

enum status growth_end_round(struct growth *g, size_t from, struct error *err)
{
    enum status st = add_sums(g, from, err);
    g->rounds += !st;
    return st;
}

void growth_judge_values(const struct growth *g, struct tree_watched *w, float factor)
{
    size_t count = w->count * g->e->sums;
    double error = 0, sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)w->targets[i] - (double)(w->sums[i] * factor);
        error += d * d;
        sum += (double)w->targets[i];
        squares += (double)w->targets[i] * (double)w->targets[i];
    }
    if (!count)
        return;
    double mean = sum / (double)count, variance = squares / (double)count - mean * mean;
    w->loss = error / (double)count;
    w->accuracy = variance > 0 ? 1 - w->loss / variance : 0;
}

/* ---- checkpoints --------------------------------------------------------------------------------- */

/* A checkpoint: this, what is the learner's own, the trees, a digest of all. */
struct head {
    char magic[sizeof MAGIC - 1];
    uint32_t rounds, version;
    struct digest print;
};

static void give_checkpoint(struct growth *g, const void *extra, size_t extra_len)
{
    const struct lesson *l = g->t.lesson;
    uint64_t begin = clock_ms();
    struct head head = { .rounds = g->rounds, .version = VERSION, .print = g->t.print };
    struct buf state = { 0 };
    if (!l->events->checkpoint || begin < g->next_checkpoint_ms)
        return;
    memcpy(head.magic, MAGIC, sizeof head.magic);
    buf_append(&state, &head, sizeof head);
    buf_append(&state, extra, extra_len);
    ensemble_save(g->e, &state);
    seal_put(&state, 0);
    l->events->checkpoint(l->arg, buf_bytes(&state));
    buf_finish(&state);
    uint64_t now = clock_ms(), wait = (now - begin) * TREE_CHECKPOINT_SHARE;
    g->next_checkpoint_ms = now + (wait > TREE_CHECKPOINT_MS ? wait : TREE_CHECKPOINT_MS);
}

void growth_tell(struct growth *g, const void *extra, size_t extra_len)
{
    const struct lesson *l = g->t.lesson;
    const struct epoch e = { .number = g->rounds,
                             .train_loss = g->train.loss,
                             .validation_loss = g->validation.loss,
                             .validation_accuracy = g->validation.accuracy };
    l->events->epoch(l->arg, &e);
    give_checkpoint(g, extra, extra_len);
}

enum status growth_resume(struct growth *g, void *extra, size_t extra_len, struct error *err)
{
    struct bytes state = g->t.lesson->resume;
    const char *at = state.data;
    struct head head;
    if (!state.len)
        return STATUS_OK;
    if (state.len < sizeof head + extra_len + DIGEST_SIZE)
        return error_set(err, STATUS_INVALID, "the checkpoint is too short");
    memcpy(&head, at, sizeof head);
    if (!seal_take(&state) || memcmp(head.magic, MAGIC, sizeof head.magic) != 0)
        return error_set(err, STATUS_INVALID, "the checkpoint is damaged, or no trees are in it");
    if (head.version != VERSION)
        return error_set(err, STATUS_INVALID, "the checkpoint is of another release");
    if (!digest_equal(&head.print, &g->t.print))
        return error_set(err, STATUS_INVALID,
                         "the checkpoint is of other data or of other parameters");
    at += sizeof head;
    if (extra_len)
        memcpy(extra, at, extra_len);
    g->rounds = head.rounds;
    g->fraction = (double)g->rounds * ((double)g->e->sums / g->t.together) / g->t.trees;
    if (ensemble_load(g->e, bytes_of(at + extra_len, state.len - sizeof head - extra_len)))
        return error_set(err, STATUS_INVALID, "the checkpoint is damaged");
    return add_sums(g, 0, err);
}

/* ---- the interface ------------------------------------------------------------------------------ */

void trees_predict(const void *model, const float *x, size_t count, float *out)
{
    ensemble_predict(model, x, count, out);
}

void trees_export(const void *model, struct onnx_graph *graph, const char *input,
                  const char *output)
{
    ensemble_export(model, graph, input, output);
}

void trees_destroy(void *model)
{
    if (model)
        ensemble_finish(model);
    free(model);
}
