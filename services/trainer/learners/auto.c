/* auto.c - the learner "auto": finds learners and parameters, and is what it found.
 *
 * Bounded by trials, the same seed finds the same model, byte by byte, in one piece or after a
 * checkpoint.  Bounded by seconds it does not: how many trials there are depends on the machine.
 */
#include "services/trainer/learners/auto.h"

#include "services/trainer/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#define FIELD(name)  offsetof(struct auto_params, name)
#define SCOPE_SIZE   16
#define HISTORY_MAX  400 /* lines, where time is the bound */
#define LEADERS      50  /* lines of the leaderboard */
#define FIT_FRACTION 0.9 /* of the run's progress, when the members are fitted */

static const struct param rows[] = {
    { "budget_s", PARAM_REAL, FIELD(budget_s), 0.1, 1e6, 0, NULL },
    { "trials", PARAM_U32, FIELD(trials), 0, AUTO_TRIALS_MAX, 0, NULL },
    { "folds", PARAM_U32, FIELD(folds), 0, AUTO_FOLDS_MAX, 0, NULL },
    { "blend", PARAM_U32, FIELD(blend), 1, AUTO_MEMBERS_MAX, 0, NULL },
};

/* What was found. */
struct found {
    const struct learner *learners[AUTO_MEMBERS_MAX];
    void *models[AUTO_MEMBERS_MAX];
    float weights[AUTO_MEMBERS_MAX];
    size_t count;
    size_t width;
    struct buf report;
};

static void defaults(void *params, const struct table *t)
{
    (void)t;
    *(struct auto_params *)params = (struct auto_params){ .budget_s = 30, .blend = 4 };
}

static uint32_t epochs(const void *params)
{
    const struct auto_params *p = params;
    return p->trials ? p->trials : HISTORY_MAX;
}

/* Answers of the best trials, of one that goes on, and of a blend. */
static uint64_t memory(const void *params, const struct table *t, size_t count, uint32_t threads)
{
    (void)params;
    return (AUTO_KEPT + 4) * (uint64_t)count * table_width(t) * sizeof(float) +
           auto_space_memory(t, count, threads);
}

static void destroy(void *model)
{
    struct found *f = model;
    if (!f)
        return;
    for (size_t i = 0; i < f->count; i++)
        f->learners[i]->destroy(f->models[i]);
    buf_finish(&f->report);
    free(f);
}

/* ---- the leaderboard ------------------------------------------------------------------------------ */

static int better_first(const void *a, const void *b)
{
    const struct auto_trial *x = *(const struct auto_trial *const *)a;
    const struct auto_trial *y = *(const struct auto_trial *const *)b;
    if (x->folds != y->folds)
        return x->folds > y->folds ? -1 : 1;
    if (x->score > y->score || x->score < y->score)
        return x->score > y->score ? -1 : 1;
    return (x > y) - (x < y);
}

static void put_trial(const struct auto_search *s, const struct auto_trial *t, yyjson_mut_doc *doc,
                      yyjson_mut_val *list)
{
    yyjson_mut_val *line = yyjson_mut_arr_add_obj(doc, list);
    bool values = s->lesson->table->outputs > 0;
    yyjson_mut_obj_add_str(doc, line, "learner", t->learner->name);
    yyjson_mut_obj_add_val(doc, line, "params", yyjson_mut_rawcpy(doc, t->params));
    yyjson_mut_obj_add_uint(doc, line, "trial", (uint64_t)(t - s->trials) + 1);
    yyjson_mut_obj_add_uint(doc, line, "folds", t->folds);
    if (t->folds) {
        yyjson_mut_obj_add_real(doc, line, values ? "r2" : "accuracy",
                                round(t->metric * 1e6) / 1e6);
        yyjson_mut_obj_add_real(doc, line, "loss", round(t->loss * 1e6) / 1e6);
    }
}

/* No seconds: the same search gives the same text. */
static void write_report(const struct auto_search *s, const struct auto_trial *const *members,
                         struct found *f)
{
    const struct auto_trial **sorted = mem_alloc(s->trials_count * sizeof *sorted);
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    yyjson_mut_obj_add_uint(doc, root, "trials", s->trials_count);
    yyjson_mut_obj_add_uint(doc, root, "folds", s->folds_used);
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "members");
    for (size_t i = 0; i < f->count; i++) {
        put_trial(s, members[i], doc, list);
        yyjson_mut_obj_add_real(doc, yyjson_mut_arr_get_last(list), "weight",
                                (double)f->weights[i]);
    }
    list = yyjson_mut_obj_add_arr(doc, root, "leaderboard");
    for (size_t i = 0; i < s->trials_count; i++)
        sorted[i] = &s->trials[i];
    qsort(sorted, s->trials_count, sizeof *sorted, better_first);
    for (size_t i = 0; i < s->trials_count && i < LEADERS; i++)
        put_trial(s, sorted[i], doc, list);
    json_append(doc, &f->report);
    free(sorted);
}

/* ---- fitting -------------------------------------------------------------------------------------- */

/* The members' fits, one after the other, as the last part of the run. */
struct last_fits {
    const struct lesson *lesson;
    size_t done, count;
};

static bool go_on(void *arg, double fraction)
{
    const struct last_fits *f = arg;
    double part = ((double)f->done + fraction) / (double)f->count;
    return f->lesson->events->go_on(f->lesson->arg, FIT_FRACTION + (1 - FIT_FRACTION) * part);
}

static void ignore_epoch(void *arg, const struct epoch *e)
{
    (void)arg;
    (void)e;
}

static enum status fit_members(const struct auto_search *s, const struct auto_trial *const *members,
                               size_t count, struct found *f, struct error *err)
{
    static const struct learner_events events = { go_on, ignore_epoch, NULL };
    struct last_fits last = { .lesson = s->lesson, .count = count };
    struct lesson lesson = *s->lesson;
    enum status st = STATUS_OK;
    lesson.train = s->rows;
    lesson.validation = 0;
    lesson.resume = bytes_of(NULL, 0); /* it is the search's */
    lesson.events = &events;
    lesson.arg = &last;
    for (; last.done < count && !st; last.done++) {
        const struct auto_trial *t = members[last.done];
        void *params = auto_params_of(t, lesson.table);
        st = t->learner->fit(params, &lesson, &f->models[f->count], err);
        free(params);
        if (!st)
            f->learners[f->count++] = t->learner;
    }
    return st;
}

static enum status fit(const void *params, const struct lesson *lesson, void **model,
                       struct error *err)
{
    struct auto_search s = { .params = params, .lesson = lesson };
    const struct auto_trial *members[AUTO_MEMBERS_MAX];
    double score;
    struct found *f = mem_zalloc(sizeof *f);
    f->width = table_width(lesson->table);
    enum status st = auto_search_run(&s, err);
    if (!st) {
        const struct auto_trial *plain = auto_plain(&s);
        size_t count = plain ? 1 : auto_blend(&s, s.params->blend, members, f->weights, &score);
        if (plain) {
            members[0] = plain;
            f->weights[0] = 1;
        }
        st = fit_members(&s, members, count, f, err);
    }
    if (!st)
        write_report(&s, members, f);
    auto_search_finish(&s);
    if (st)
        destroy(f);
    else
        *model = f;
    return st;
}

/* ---- answers -------------------------------------------------------------------------------------- */

static void predict(const void *model, const float *x, size_t count, float *out)
{
    const struct found *f = model;
    size_t cells = count * f->width;
    if (f->count == 1) {
        f->learners[0]->predict(f->models[0], x, count, out);
        return;
    }
    float *one = mem_alloc(cells * sizeof *one);
    memset(out, 0, cells * sizeof *out);
    for (size_t m = 0; m < f->count; m++) {
        f->learners[m]->predict(f->models[m], x, count, one);
        for (size_t i = 0; i < cells; i++)
            out[i] += f->weights[m] * one[i];
    }
    free(one);
}

/* Each member's names begin with its number; the weighted sum of their answers is the answer. */
static void export(const void *model, struct onnx_graph *g, const char *input, const char *output)
{
    const struct found *f = model;
    const char *sum = NULL;
    char scope[SCOPE_SIZE], name[SCOPE_SIZE];
    if (f->count == 1) {
        f->learners[0]->export(f->models[0], g, input, output);
        return;
    }
    for (size_t m = 0; m < f->count; m++) {
        snprintf(scope, sizeof scope, "member%zu/", m);
        onnx_graph_scope(g, scope);
        f->learners[m]->export(f->models[m], g, input, "answer");
        const char *weight = onnx_graph_tensor(g, "weight_of_member", &f->weights[m], 0, 1);
        const char *part = onnx_graph_node(g, "Mul", "weighted", "answer", weight, NULL);
        onnx_graph_scope(g, "");
        snprintf(name, sizeof name, "sum%zu", m);
        sum = !sum ? part
                   : onnx_graph_node(g, "Add", m + 1 == f->count ? output : name, sum, part, NULL);
    }
}

static void report(const void *model, struct buf *json)
{
    buf_append_bytes(json, buf_bytes(&((const struct found *)model)->report));
}

const struct learner learner_auto = {
    .name = "auto",
    .tasks = LEARNS_CLASSES | LEARNS_VALUES,
    .params = rows,
    .params_count = sizeof rows / sizeof *rows,
    .params_size = sizeof(struct auto_params),
    .epochs = epochs,
    .memory = memory,
    .defaults = defaults,
    .fit = fit,
    .predict = predict,
    .export = export,
    .report = report,
    .destroy = destroy,
};
