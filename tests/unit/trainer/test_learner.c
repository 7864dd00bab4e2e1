/* test_learner.c - what every learner has to do, whatever it is. */
#include "services/trainer/learner.h"
#include "tests/unit/trainer/fixture.h"

#define ROWS 60

static struct table t;
static struct error err;

static bool go_on(void *arg, double fraction)
{
    (void)fraction;
    return !arg || !*(bool *)arg;
}

static void on_epoch(void *arg, const struct epoch *e)
{
    (void)arg;
    cr_assert_geq(e->number, 1);
}

static enum status fit(const struct learner *l, bool *cancel, void **model)
{
    static const struct learner_events events = { go_on, on_epoch, NULL };
    uint32_t rows[ROWS];
    void *params = mem_zalloc(l->params_size);
    l->defaults(params, &t);
    cr_assert_geq(l->epochs(params), 1);
    for (uint32_t i = 0; i < ROWS; i++)
        rows[i] = i;
    const struct lesson lesson = { .table = &t,
                                   .rows = rows,
                                   .train = ROWS - 10,
                                   .validation = 10,
                                   .seed = 1,
                                   .events = &events,
                                   .arg = cancel };
    enum status st = l->fit(params, &lesson, model, &err);
    free(params);
    return st;
}

Test(learner, is_found_by_its_name)
{
    struct buf names = { 0 };
    cr_assert_eq(learner_find("mlp"), &learner_mlp);
    cr_assert_null(learner_find("magic"));
    cr_assert_null(learner_find(""));
    learner_names(&names);
    cr_assert_not_null(
        strstr(buf_cstr(&names), "linear, logistic, mlp, cnn, tree, forest, boosted, auto"));
    buf_finish(&names);
}

Test(learner, fits_predicts_and_exports)
{
    const struct learner *l = learner_find("mlp");
    float out[ROWS * 3];
    void *model = NULL;
    size_t right = 0;
    fixture_clouds(&t, ROWS, 4, 3, 0.3);
    cr_assert_eq(fit(l, NULL, &model), STATUS_OK, "%s", err.text);
    l->predict(model, t.x, ROWS, out);
    for (size_t i = 0; i < ROWS; i++)
        right += out[3 * i + t.y[i]] > 0.5f;
    cr_assert_geq(right, ROWS - 3);
    struct buf file = { 0 };
    struct onnx_graph *graph = onnx_graph_create();
    onnx_graph_input(graph, ONNX_INPUT, ONNX_FLOAT, 4);
    onnx_graph_output(graph, ONNX_PROBABILITIES, ONNX_FLOAT, 3);
    l->export(model, graph, ONNX_INPUT, ONNX_PROBABILITIES);
    onnx_graph_write(graph, &(struct onnx_about){ .name = "m", .description = "" }, &file);
    cr_assert_gt(file.len, 0);
    onnx_graph_destroy(graph);
    buf_finish(&file);
    l->destroy(model);
    l->destroy(NULL);
    table_finish(&t);
}

Test(learner, leaves_nothing_behind_when_it_is_cancelled)
{
    bool cancel = true;
    void *model = NULL;
    fixture_clouds(&t, ROWS, 4, 3, 0.3);
    cr_assert_eq(fit(learner_find("mlp"), &cancel, &model), STATUS_CANCELLED);
    cr_assert_null(model);
    table_finish(&t);
}
