/* rig.h - a small lesson for any learner, and whether its file answers what it does. */
#ifndef TESTS_UNIT_TRAINER_RIG_H
#define TESTS_UNIT_TRAINER_RIG_H

#include "services/trainer/learner.h"
#include "tests/unit/trainer/fixture.h"

#include <math.h>

#define ROWS  240
#define TRAIN 180

static struct fixture f;
static struct table t;
static struct error err;
static uint32_t order[ROWS];
static struct buf state; /* the last checkpoint */
static uint32_t epochs_heard, cancel_after, asked, cancel_asked;
static struct epoch last;

static inline void init(void)
{
    fixture_init(&f);
    for (uint32_t i = 0; i < ROWS; i++)
        order[i] = i;
    epochs_heard = 0;
    cancel_after = cancel_asked = UINT32_MAX;
    asked = 0;
}

static inline void finish(void)
{
    buf_finish(&state);
    table_finish(&t);
    fixture_finish(&f);
}

/* ---- lessons ------------------------------------------------------------------------------------ */

static inline bool go_on(void *arg, double fraction)
{
    (void)arg;
    cr_assert(fraction >= 0 && fraction <= 1);
    return epochs_heard < cancel_after && asked++ < cancel_asked;
}

static inline void on_epoch(void *arg, const struct epoch *e)
{
    (void)arg;
    last = *e;
    epochs_heard++;
}

static inline void on_checkpoint(void *arg, struct bytes now)
{
    (void)arg;
    state.len = 0;
    buf_append_bytes(&state, now);
}

static inline enum status fit(const struct learner *l, const char *json, struct bytes resume,
                              void **model)
{
    static const struct learner_events events = { go_on, on_epoch, on_checkpoint };
    void *params = mem_zalloc(l->params_size);
    struct param_set set = { l->params, l->params_count, params };
    l->defaults(params, &t);
    cr_assert_eq(params_parse(bytes_str(json), &set, 1, &err), STATUS_OK, "%s", err.text);
    const struct lesson lesson = { .table = &t,
                                   .rows = order,
                                   .train = TRAIN,
                                   .validation = ROWS - TRAIN,
                                   .threads = 2,
                                   .seed = 7,
                                   .resume = resume,
                                   .events = &events };
    *model = NULL;
    enum status st = l->fit(params, &lesson, model, &err);
    free(params);
    return st;
}

static inline void *must_fit(const char *learner, const char *json)
{
    void *model;
    cr_assert_eq(fit(learner_find(learner), json, bytes_of(NULL, 0), &model), STATUS_OK, "%s",
                 err.text);
    return model;
}

static inline void write_file(const struct learner *l, const void *model, struct buf *file)
{
    const char *output = t.outputs ? ONNX_VALUES : ONNX_PROBABILITIES;
    struct onnx_graph *graph = onnx_graph_create();
    onnx_graph_input(graph, ONNX_INPUT, ONNX_FLOAT, t.features);
    onnx_graph_output(graph, output, ONNX_FLOAT, table_width(&t));
    l->export(model, graph, ONNX_INPUT, output);
    onnx_graph_write(graph, &(struct onnx_about){ .name = "m", .description = "" }, file);
    onnx_graph_destroy(graph);
}

/* Far rows, rows at the thresholds' own values, and missing ones. */
static inline void assert_answers(const struct learner *l, const void *model, bool missing)
{
    size_t size = ROWS * table_width(&t) * sizeof(float);
    float *out = mem_alloc(size), *x = mem_alloc(ROWS * t.features * sizeof *x);
    struct buf file = { 0 };
    char command[512];
    for (size_t i = 0; i < ROWS * t.features; i++)
        x[i] = missing && i % 11 == 0 ? NAN : i % 13 == 0 ? t.x[i] * 50 : t.x[i];
    l->predict(model, x, ROWS, out);
    write_file(l, model, &file);
    fixture_write(&f, "model.onnx", buf_bytes(&file));
    fixture_write(&f, "inputs", bytes_of(x, ROWS * t.features * sizeof *x));
    fixture_write(&f, "answers", bytes_of(out, size));
    snprintf(command, sizeof command,
             "cd %s && python3 -W ignore \"$OLDPWD\"/tests/unit/trainer/compare_onnx.py model.onnx "
             "inputs answers >messages 2>&1 || { cat messages >&2; false; }",
             f.dir);
    cr_expect_eq(system(command), 0, "%s: see compare_onnx.py", l->name);
    buf_finish(&file);
    free(out);
    free(x);
}

static inline void assert_same_answers(const char *name, const char *params)
{
    void *model = must_fit(name, params);
    assert_answers(learner_find(name), model, true);
    learner_find(name)->destroy(model);
}

/* Two outputs; the first has a step, and missing values say something, too. */
static inline void make_values(size_t outputs)
{
    struct random r = { .state = 3 };
    fixture_table(&t, ROWS, 4, 0);
    t.outputs = outputs;
    t.values = mem_alloc(ROWS * outputs * sizeof *t.values);
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t k = 0; k < 4; k++)
            t.x[i * 4 + k] = (float)random_normal(&r);
        float *x = t.x + i * 4;
        double y = x[0] > 0.3f ? 900 : 400;
        if (i % 7 == 0) {
            x[1] = NAN;
            y += 300;
        }
        t.values[i * outputs] = (float)(y + random_normal(&r));
        if (outputs > 1)
            t.values[i * outputs + 1] = 0.01f * x[2];
    }
}

static inline void must_give_the_same(const char *name, const char *params, bool stop)
{
    const struct learner *l = learner_find(name);
    struct buf one = { 0 }, two = { 0 };
    void *model = must_fit(name, params);
    write_file(l, model, &one);
    l->destroy(model);
    /* Each fit makes a checkpoint after its first round, and is then cancelled. */
    state.len = 0;
    for (int i = 0; i < 4 && stop; i++) {
        cancel_after = epochs_heard + 1;
        struct buf from = state;
        state = (struct buf){ 0 };
        cr_assert_eq(fit(l, params, buf_bytes(&from), &model), STATUS_CANCELLED, "%s", err.text);
        cr_assert_null(model);
        cr_assert_gt(state.len, 0);
        cr_assert_eq(last.number, (uint32_t)i + 1);
        buf_finish(&from);
    }
    cancel_after = UINT32_MAX;
    struct buf from = state;
    state = (struct buf){ 0 };
    cr_assert_eq(fit(l, params, buf_bytes(&from), &model), STATUS_OK, "%s", err.text);
    buf_finish(&from);
    write_file(l, model, &two);
    l->destroy(model);
    cr_expect(bytes_equal(buf_bytes(&one), buf_bytes(&two)), "%s: another model", name);
    buf_finish(&one);
    buf_finish(&two);
}

#endif
