/* test_trees.c - trees, forests and boosted trees: what they learn, and that their files answer
 * what they do. */
#include "services/trainer/learner.h"
#include "services/trainer/learners/ensemble.h"
#include "tests/unit/trainer/fixture.h"

#include <math.h>

#define ROWS  240
#define TRAIN 180

static struct fixture f;
static struct table t;
static struct error err;
static uint32_t order[ROWS];
static struct buf state; /* the last checkpoint */
static uint32_t epochs_heard, cancel_after;
static struct epoch last;

static void init(void)
{
    fixture_init(&f);
    for (uint32_t i = 0; i < ROWS; i++)
        order[i] = i;
    epochs_heard = 0;
    cancel_after = UINT32_MAX;
}

static void finish(void)
{
    buf_finish(&state);
    table_finish(&t);
    fixture_finish(&f);
}

TestSuite(trees, .init = init, .fini = finish);

/* ---- lessons ------------------------------------------------------------------------------------ */

static bool go_on(void *arg, double fraction)
{
    (void)arg;
    cr_assert(fraction >= 0 && fraction <= 1);
    return epochs_heard < cancel_after;
}

static void on_epoch(void *arg, const struct epoch *e)
{
    (void)arg;
    last = *e;
    epochs_heard++;
}

static void on_checkpoint(void *arg, struct bytes now)
{
    (void)arg;
    state.len = 0;
    buf_append_bytes(&state, now);
}

static enum status fit(const struct learner *l, const char *json, struct bytes resume, void **model)
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

static void *must_fit(const char *learner, const char *json)
{
    void *model;
    cr_assert_eq(fit(learner_find(learner), json, bytes_of(NULL, 0), &model), STATUS_OK, "%s",
                 err.text);
    return model;
}

/* Two outputs; the first has a step, and missing values say something, too. */
static void make_values(size_t outputs)
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

/* ---- what is learnt ------------------------------------------------------------------------------ */

static double accuracy(const struct learner *l, const void *model)
{
    size_t right = 0, n = t.classes_count;
    float *out = mem_alloc(ROWS * n * sizeof *out);
    l->predict(model, t.x, ROWS, out);
    for (size_t i = TRAIN; i < ROWS; i++) {
        double sum = 0;
        size_t best = 0;
        for (size_t k = 0; k < n; k++) {
            sum += (double)out[i * n + k];
            best = out[i * n + k] > out[i * n + best] ? k : best;
        }
        cr_assert_float_eq(sum, 1, 1e-5);
        right += best == t.y[i];
    }
    free(out);
    return (double)right / (ROWS - TRAIN);
}

static void assert_learns_classes(const char *name, size_t classes)
{
    const struct learner *l = learner_find(name);
    fixture_clouds(&t, ROWS, 4, classes, 0.35);
    void *model = must_fit(name, "{}");
    cr_expect_geq(accuracy(l, model), 0.9, "%s: %g", name, accuracy(l, model));
    cr_expect_float_eq(last.validation_accuracy, accuracy(l, model), 0.05);
    l->destroy(model);
    table_finish(&t);
}

Test(trees, learn_classes)
{
    assert_learns_classes("tree", 2);
    assert_learns_classes("tree", 4);
    assert_learns_classes("forest", 2);
    assert_learns_classes("forest", 4);
    assert_learns_classes("boosted", 2);
    assert_learns_classes("boosted", 4);
}

static void assert_learns_values(const char *name, size_t outputs)
{
    const struct learner *l = learner_find(name);
    float out[ROWS * 2];
    make_values(outputs);
    void *model = must_fit(name, "{}");
    l->predict(model, t.x, ROWS, out);
    double error = 0;
    for (size_t i = TRAIN; i < ROWS; i++)
        error += fabs((double)(out[i * outputs] - t.values[i * outputs])) / (ROWS - TRAIN);
    cr_expect_lt(error, 80, "%s, %zu outputs: %g", name, outputs, error);
    cr_expect_gt(last.validation_accuracy, outputs == 1 ? 0.8 : 0.6, "%s: R2 %g", name,
                 last.validation_accuracy);
    l->destroy(model);
    table_finish(&t);
}

Test(trees, learn_values)
{
    assert_learns_values("tree", 1);
    assert_learns_values("tree", 2);
    assert_learns_values("forest", 1);
    assert_learns_values("forest", 2);
    assert_learns_values("boosted", 1);
    assert_learns_values("boosted", 2);
}

/* ---- files --------------------------------------------------------------------------------------- */

static void write_file(const struct learner *l, const void *model, struct buf *file)
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
static void assert_same_answers(const char *name, const char *params)
{
    const struct learner *l = learner_find(name);
    void *model = must_fit(name, params);
    size_t size = ROWS * table_width(&t) * sizeof(float);
    float *out = mem_alloc(size), *x = mem_alloc(ROWS * t.features * sizeof *x);
    struct buf file = { 0 };
    char command[512];
    for (size_t i = 0; i < ROWS * t.features; i++)
        x[i] = i % 11 == 0 ? NAN : i % 13 == 0 ? t.x[i] * 50 : t.x[i];
    l->predict(model, x, ROWS, out);
    write_file(l, model, &file);
    fixture_write(&f, "model.onnx", buf_bytes(&file));
    fixture_write(&f, "inputs", bytes_of(x, ROWS * t.features * sizeof *x));
    fixture_write(&f, "answers", bytes_of(out, size));
    snprintf(command, sizeof command,
             "cd %s && python3 -W ignore \"$OLDPWD\"/tests/unit/trainer/compare_onnx.py model.onnx "
             "inputs answers >messages 2>&1 || { cat messages >&2; false; }",
             f.dir);
    cr_expect_eq(system(command), 0, "%s: see compare_onnx.py", name);
    buf_finish(&file);
    free(out);
    free(x);
    l->destroy(model);
}

Test(trees, their_files_answer_classes)
{
    fixture_clouds(&t, ROWS, 5, 3, 0.6);
    assert_same_answers("forest", "{\"trees\": 30}");
    assert_same_answers("boosted", "{\"rounds\": 30, \"lr\": 0.3}");
}

Test(trees, their_files_answer_two_classes)
{
    fixture_clouds(&t, ROWS, 5, 2, 0.6);
    assert_same_answers("tree", "{}");
    assert_same_answers("boosted", "{\"rounds\": 30, \"rows\": 0.7}");
}

Test(trees, their_files_answer_values)
{
    make_values(2);
    assert_same_answers("forest", "{\"trees\": 30}");
    assert_same_answers("boosted", "{\"rounds\": 50}");
}

/* ---- the same again ------------------------------------------------------------------------------- */

static void must_give_the_same(const char *name, const char *params, bool stop)
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

Test(trees, same_seed_same_bytes)
{
    fixture_clouds(&t, ROWS, 5, 3, 0.6);
    must_give_the_same("tree", "{}", false);
    must_give_the_same("forest", "{\"trees\": 12}", false);
    must_give_the_same("boosted", "{\"rounds\": 12, \"rows\": 0.7, \"columns\": 0.5}", false);
}

Test(trees, go_on_from_a_checkpoint)
{
    fixture_clouds(&t, ROWS, 5, 3, 0.6);
    must_give_the_same("forest", "{\"trees\": 12}", true);
    must_give_the_same("boosted", "{\"rounds\": 12, \"rows\": 0.7, \"columns\": 0.5}", true);
}

Test(trees, go_on_from_a_checkpoint_of_values)
{
    make_values(2);
    must_give_the_same("forest", "{\"trees\": 12}", true);
    must_give_the_same("boosted", "{\"rounds\": 12, \"rows\": 0.7, \"columns\": 0.5}", true);
}

Test(trees, refuse_foreign_and_damaged_checkpoints)
{
    static const char *const names[] = { "forest", "boosted" };
    fixture_clouds(&t, ROWS, 5, 3, 0.6);
    for (int i = 0; i < 2; i++) {
        const struct learner *l = learner_find(names[i]);
        void *model = must_fit(names[i], "{\"bins\": 20}");
        l->destroy(model);
        struct buf kept = state;
        state = (struct buf){ 0 };
        cr_expect_eq(fit(l, "{\"bins\": 21}", buf_bytes(&kept), &model), STATUS_INVALID);
        kept.data[kept.len / 2] ^= 1;
        cr_expect_eq(fit(l, "{\"bins\": 20}", buf_bytes(&kept), &model), STATUS_INVALID);
        cr_expect_eq(fit(l, "{\"bins\": 20}", bytes_of(kept.data, 20), &model), STATUS_INVALID);
        cr_expect_null(model);
        buf_finish(&kept);
    }
}

/* ---- limits and odd data -------------------------------------------------------------------------- */

Test(trees, say_what_is_too_large)
{
    void *model;
    fixture_clouds(&t, ROWS, 5, 3, 0.6);
    cr_expect_eq(fit(learner_find("boosted"), "{\"rounds\": 10000}", bytes_of(NULL, 0), &model),
                 STATUS_TOO_LARGE);
    cr_expect_eq(epochs_heard, 0);
    cr_expect_not_null(strstr(err.text, "30000 trees"), "%s", err.text);
}

Test(trees, weigh_classes)
{
    const struct learner *l = learner_find("forest");
    fixture_clouds(&t, ROWS, 2, 2, 3);
    for (size_t i = 0; i < ROWS; i++) /* nothing can be known: one row in six is of class b */
        t.x[i * 2] = t.x[i * 2 + 1] = 0, t.y[i] = i % 6 == 0;
    float out[2];
    void *model = must_fit("forest", "{}");
    l->predict(model, t.x, 1, out);
    cr_expect_float_eq(out[1], 1.0 / 6, 0.03, "%g", (double)out[1]);
    l->destroy(model);
    const float weights[] = { 0.6f, 3 };
    static const struct learner_events events = { go_on, on_epoch, NULL };
    void *params = mem_zalloc(l->params_size);
    l->defaults(params, &t);
    const struct lesson lesson = { .table = &t,
                                   .rows = order,
                                   .train = ROWS,
                                   .class_weights = weights,
                                   .threads = 1,
                                   .seed = 7,
                                   .events = &events };
    cr_assert_eq(l->fit(params, &lesson, &model, &err), STATUS_OK);
    l->predict(model, t.x, 1, out);
    cr_expect_float_eq(out[1], 0.5, 0.05, "%g", (double)out[1]);
    l->destroy(model);
    free(params);
}

Test(trees, refuse_json_that_is_no_model)
{
    static const char *const texts[] = {
        "",
        "{}",
        "[",
        "{\"learner\":{\"gradient_booster\":{\"model\":{\"trees\":[{}],"
        "\"tree_info\":[0]}}}}",
        "{\"learner\":{\"gradient_booster\":{\"model\":{\"tree_info\":[0],\"trees\":[{"
        "\"tree_param\":{\"num_nodes\":\"3\"},\"left_children\":[1,-1,-1],"
        "\"right_children\":[0,-1,-1],\"split_indices\":[0,0,0],"
        "\"split_conditions\":[1,1,1],\"default_left\":[0,0,0]}]}}}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct ensemble e;
        ensemble_init(&e, 2, 1, ENSEMBLE_SUM);
        cr_expect_eq(ensemble_add_json(&e, bytes_str(texts[i]), 1, 1, &err), STATUS_INVALID, "%s",
                     texts[i]);
        ensemble_finish(&e);
    }
}
