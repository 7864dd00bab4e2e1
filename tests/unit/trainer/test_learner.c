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

static enum status fit_with(const struct learner *l, const char *json, bool *cancel, void **model)
{
    static const struct learner_events events = { go_on, on_epoch, NULL };
    uint32_t rows[ROWS];
    void *params = mem_zalloc(l->params_size);
    l->defaults(params, &t);
    const struct param_set set = { l->params, l->params_count, params };
    cr_assert_eq(params_parse(bytes_str(json), &set, 1, &err), STATUS_OK, "%s", err.text);
    cr_assert_geq(l->epochs(params), 1);
    cr_assert_gt(l->memory(params, &t, ROWS, 1), 0);
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

static enum status fit(const struct learner *l, bool *cancel, void **model)
{
    return fit_with(l, "{}", cancel, model);
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

/* Images of 8 x 8 whose class is the bright row. */
static void make_images(bool bytes)
{
    struct random r = { .state = 9 };
    fixture_table(&t, ROWS, 64, 3);
    t.image = (struct image_shape){ 1, 8, 8 };
    t.pixels = bytes ? mem_alloc(ROWS * 64) : NULL;
    for (size_t i = 0; i < ROWS * 64; i++) {
        t.y[i / 64] = (uint32_t)(i / 64 % 3);
        unsigned char pixel =
            (unsigned char)(random_u64(&r) % 120 + (i / 8 % 8 == i / 64 % 3) * 100);
        t.x[i] = pixel;
        if (bytes)
            t.pixels[i] = pixel;
    }
    if (bytes) {
        free(t.x);
        t.x = NULL;
    }
}

static void answer_images(const char *name, const char *json, bool bytes, float out[ROWS * 3])
{
    const struct learner *l = learner_find(name);
    float room[64];
    void *model = NULL;
    make_images(bytes);
    cr_assert_eq(fit_with(l, json, NULL, &model), STATUS_OK, "%s: %s", name, err.text);
    for (size_t i = 0; i < ROWS; i++)
        l->predict(model, table_row(&t, i, room), 1, out + 3 * i);
    l->destroy(model);
    table_finish(&t);
}

Test(learner, bytes_are_as_good_as_floats)
{
    static const struct {
        const char *name, *json;
    } learners[] = { { "logistic", "{\"epochs\": 3}" },
                     { "mlp", "{\"epochs\": 3}" },
                     { "cnn", "{\"epochs\": 2, \"filters\": [8], \"hidden\": [8]}" },
                     { "forest", "{\"trees\": 3}" },
                     { "boosted", "{\"rounds\": 3}" },
                     { "auto", "{\"trials\": 2}" } };
    float floats[ROWS * 3], bytes[ROWS * 3];
    for (size_t i = 0; i < sizeof learners / sizeof *learners; i++) {
        answer_images(learners[i].name, learners[i].json, false, floats);
        answer_images(learners[i].name, learners[i].json, true, bytes);
        cr_expect_arr_eq(floats, bytes, sizeof floats, "%s", learners[i].name);
    }
}
