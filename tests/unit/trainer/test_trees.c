/* test_trees.c - trees, forests and boosted trees: what they learn, and that their files answer
 * what they do. */
#include "services/trainer/learners/ensemble.h"
#include "services/trainer/learners/seal.h"
#include "tests/unit/trainer/rig.h"

TestSuite(trees, .init = init, .fini = finish);

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

Test(trees, same_seed_same_bytes)
{
    fixture_clouds(&t, ROWS, 5, 3, 0.6);
    must_give_the_same("tree", "{}", false);
    must_give_the_same("forest", "{\"trees\": 13}", false); /* no whole number of rounds */
    must_give_the_same("boosted", "{\"rounds\": 12, \"rows\": 0.7, \"columns\": 0.5}", false);
}

Test(trees, go_on_from_a_checkpoint)
{
    fixture_clouds(&t, ROWS, 5, 3, 0.6);
    must_give_the_same("forest", "{\"trees\": 13}", true);
    must_give_the_same("boosted", "{\"rounds\": 12, \"rows\": 0.7, \"columns\": 0.5}", true);
}

/* So many features, bins and classes that each tree has some of the features to itself. */
Test(trees, are_grown_on_features_of_their_own)
{
    static const char params[] = "{\"trees\": 7, \"bins\": 1024}";
    fixture_clouds(&t, ROWS, 40, 4, 0.6);
    must_give_the_same("forest", params, false);
    must_give_the_same("forest", params, true);
    assert_same_answers("forest", params);
    void *model = must_fit("forest", "{\"bins\": 1024}");
    cr_expect_geq(accuracy(&learner_forest, model), 0.95);
    bool seen[40] = { false };
    const struct ensemble *e = model;
    for (size_t i = 0; i < e->nodes_count; i++)
        seen[e->nodes[i].feature] |= e->nodes[i].left != 0;
    for (size_t k = 0; k < 40; k++)
        cr_expect(seen[k], "no tree asks for feature %zu", k);
    learner_forest.destroy(model);
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

Test(trees, refuse_checkpoints_of_another_release)
{
    void *model;
    fixture_clouds(&t, ROWS, 5, 3, 0.6);
    learner_forest.destroy(must_fit("forest", "{\"trees\": 3}"));
    struct buf kept = state;
    state = (struct buf){ 0 };
    kept.data[sizeof "maastre1" - 1 + sizeof(uint32_t)]++; /* after the magic and the rounds */
    kept.len -= DIGEST_SIZE;
    seal_put(&kept, 0);
    cr_expect_eq(fit(&learner_forest, "{\"trees\": 3}", buf_bytes(&kept), &model), STATUS_INVALID);
    cr_expect_not_null(strstr(err.text, "another release"), "%s", err.text);
    buf_finish(&kept);
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
        cr_expect_eq(ensemble_add_json(&e, bytes_str(texts[i]), 0, 1, &err), STATUS_INVALID, "%s",
                     texts[i]);
        ensemble_finish(&e);
    }
}

/* ---- cancel ------------------------------------------------------------------------------------- */

/* Whenever it is asked, also between two trees of a round. */
Test(trees, are_cancelled_within_a_round)
{
    void *model;
    fixture_clouds(&t, ROWS, 5, 4, 0.6);
    learner_boosted.destroy(must_fit("boosted", "{\"rounds\": 1}"));
    uint32_t all = asked;
    cr_assert_geq(all, 4 + 2, "once for each tree, and for the rows afterwards");
    for (uint32_t i = 0; i < all; i++) {
        asked = 0;
        cancel_asked = i;
        cr_assert_eq(fit(&learner_boosted, "{\"rounds\": 1}", bytes_of(NULL, 0), &model),
                     STATUS_CANCELLED);
        cr_assert_null(model);
        cr_assert_eq(epochs_heard, 1, "only the first fit has come to an end of its round");
    }
}

/* ---- what is no number -------------------------------------------------------------------------- */

static void assert_no_number(const struct learner *l)
{
    static const struct learner_events events = { go_on, on_epoch, on_checkpoint };
    const float weights[] = { NAN, 1, 1 };
    const struct lesson lesson = { .table = &t,
                                   .rows = order,
                                   .train = ROWS,
                                   .class_weights = weights,
                                   .threads = 1,
                                   .events = &events };
    void *params = mem_zalloc(l->params_size), *model = NULL;
    l->defaults(params, &t);
    cr_expect_eq(l->fit(params, &lesson, &model, &err), STATUS_INVALID, "%s", l->name);
    cr_expect_not_null(strstr(err.text, "the loss is no number"), "%s", err.text);
    cr_expect_null(model);
    free(params);
}

Test(trees, a_loss_that_is_no_number)
{
    fixture_clouds(&t, ROWS, 5, 3, 0.6);
    assert_no_number(&learner_boosted);
    assert_no_number(&learner_forest);
    assert_no_number(&learner_tree);
}

/* ---- memory ------------------------------------------------------------------------------------- */

/* Of 60,000 images of 28 x 28 in ten classes; the rest is known from measuring. */
Test(trees, say_what_memory_they_need)
{
    struct table images = { .rows = 60000, .features = 784, .classes_count = 10 };
    images.image = (struct image_shape){ 1, 28, 28 };
    static const struct learner *const all[] = { &learner_tree, &learner_forest, &learner_boosted };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const struct learner *l = all[i];
        void *params = mem_zalloc(l->params_size);
        l->defaults(params, &images);
        uint64_t needs = l->memory(params, &images, 60000, 2);
        cr_expect(needs > (60u << 20) && needs < (250u << 20), "%s: %llu", l->name,
                  (unsigned long long)needs);
        free(params);
    }
}
