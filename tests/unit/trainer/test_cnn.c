/* test_cnn.c - the convolutional network: gradients against finite differences, small problems,
 * the rules of the training loop, and its file as ONNX Runtime reads it. */
#include "services/trainer/learners/cnn_fit.h"
#include "tests/unit/trainer/fixture.h"

#include <math.h>

#define ROWS 60

static struct table t;
static struct cnn_params p;
static struct error err;
static struct cnn m;
static struct fixture f;
static void *model;
static struct buf kept; /* the checkpoint that was told last */

/* What the training told, and when it is to be cancelled. */
static struct {
    struct epoch epochs[64];
    size_t count, calls, saved;
    double fraction;
    size_t stop_epoch; /* no more after so many epochs; 0: go on */
} told;

static void init(void)
{
    fixture_init(&f);
    cnn_default(&p);
    p = (struct cnn_params){ .filters = { 3, 5 },
                             .filters_count = 2,
                             .hidden = { 7 },
                             .hidden_count = 1,
                             .epochs = 8,
                             .batch = 10,
                             .optimizer = CNN_ADAM,
                             .schedule = CNN_COSINE,
                             .lr = 0.01,
                             .momentum = 0.9 };
    memset(&told, 0, sizeof told);
}

static void finish(void)
{
    learner_cnn.destroy(model);
    model = NULL;
    cnn_finish(&m);
    table_finish(&t);
    buf_finish(&kept);
    fixture_finish(&f);
}

TestSuite(cnn, .init = init, .fini = finish);

/* Noise, with a bright line: across in class 0, upright in class 1, from corner to corner in 2. */
static void images(uint32_t channels, uint32_t height, uint32_t width)
{
    struct random r = { .state = 3 };
    fixture_table(&t, ROWS, (size_t)channels * height * width, 3);
    t.image = (struct image_shape){ channels, height, width };
    for (size_t i = 0; i < t.rows; i++) {
        uint32_t line = 1 + (uint32_t)(random_u64(&r) % (height - 2));
        t.y[i] = (uint32_t)(i % 3);
        float *x = t.x + i * t.features;
        for (uint32_t c = 0; c < channels; c++)
            for (uint32_t y = 0; y < height; y++)
                for (uint32_t k = 0; k < width; k++) {
                    bool bright = t.y[i] == 0 ? y == line : t.y[i] == 1 ? k == line : k == y;
                    *x++ = (float)(100 * (bright && c == line % channels) + 50 +
                                   10 * random_normal(&r));
                }
    }
}

static bool go_on(void *arg, double fraction)
{
    (void)arg;
    cr_assert(fraction >= told.fraction && fraction <= 1 + 1e-9, "%g after %g", fraction,
              told.fraction);
    told.fraction = fraction;
    told.calls++;
    return !told.stop_epoch || told.count < told.stop_epoch;
}

static void on_epoch(void *arg, const struct epoch *e)
{
    (void)arg;
    told.epochs[told.count++] = *e;
}

static void on_checkpoint(void *arg, struct bytes state)
{
    (void)arg;
    told.saved++;
    kept.len = 0;
    buf_append_bytes(&kept, state);
}

static uint32_t rows[ROWS];

static struct lesson lesson(size_t validation, uint32_t threads)
{
    static const struct learner_events events = { go_on, on_epoch, on_checkpoint };
    for (uint32_t i = 0; i < ROWS; i++)
        rows[i] = i;
    return (struct lesson){ .table = &t,
                            .rows = rows,
                            .train = ROWS - validation,
                            .validation = validation,
                            .threads = threads,
                            .seed = 7,
                            .events = &events };
}

static enum status fit(const struct lesson *l)
{
    learner_cnn.destroy(model);
    model = NULL;
    told.count = told.calls = 0;
    told.fraction = 0;
    return learner_cnn.fit(&p, l, &model, &err);
}

static enum status fit_with(size_t validation, uint32_t threads)
{
    const struct lesson l = lesson(validation, threads);
    return fit(&l);
}

/* The model's file. */
static void export(struct buf *out)
{
    struct onnx_graph *graph = onnx_graph_create();
    onnx_graph_input(graph, ONNX_INPUT, ONNX_FLOAT, t.features);
    onnx_graph_output(graph, ONNX_PROBABILITIES, ONNX_FLOAT, t.classes_count);
    learner_cnn.export(model, graph, ONNX_INPUT, ONNX_PROBABILITIES);
    onnx_graph_write(graph, &(struct onnx_about){ .name = "cnn", .description = "" }, out);
    onnx_graph_destroy(graph);
}

static size_t hits(void)
{
    float out[ROWS * 3];
    size_t right = 0;
    learner_cnn.predict(model, t.x, ROWS, out);
    for (size_t i = 0; i < ROWS; i++) {
        cr_assert_float_eq(out[3 * i] + out[3 * i + 1] + out[3 * i + 2], 1, 1e-5);
        right += out[3 * i + t.y[i]] > 0.5f;
    }
    return right;
}

/* ---- gradients ------------------------------------------------------------------------------ */

#define STEP      2e-3 /* of a weight; float32 leaves about 1e-4 of noise in the slope */
#define TOLERANCE 5e-3
#define IMAGES    12

static double loss_of(struct cnn_pass *pass, const struct cnn_block *b)
{
    struct cnn_score score = { 0 };
    cnn_pass_load(pass);
    cnn_pass_forward(pass, b, &score);
    return score.loss / (double)b->count;
}

static double loss_with(struct cnn_pass *pass, const struct cnn_block *b, size_t i, double by)
{
    float keep = m.theta[i];
    m.theta[i] = (float)(keep + by);
    double loss = loss_of(pass, b);
    m.theta[i] = keep;
    return loss;
}

/* Where the slopes to both sides differ, a ReLU or a largest of four changes in between: those are
 * left out, but they must be few. */
static void check_gradient(const struct cnn_noise *noise, const float *class_weights)
{
    struct lesson l = lesson(0, 1);
    size_t checked = 0, kinks = 0;
    cr_assert_eq(cnn_shape(&m, &t, &p, &err), STATUS_OK, "%s", err.text);
    cnn_init(&m, 4);
    cr_assert(cnn_standardise(&m, &l));
    struct cnn_pass *pass = cnn_pass_create(&m, IMAGES + 2, true); /* two are not there */
    const struct cnn_block b = {
        .t = &t, .rows = rows, .count = IMAGES, .noise = noise, .class_weights = class_weights
    };
    double here = loss_of(pass, &b);
    cnn_pass_backward(pass, &b, IMAGES);
    for (size_t i = 0; i < m.weights; i++) {
        double gradient = cnn_pass_gradient(pass)[i];
        double up = (loss_with(pass, &b, i, STEP) - here) / STEP;
        double down = (here - loss_with(pass, &b, i, -STEP)) / STEP;
        double slope = (up + down) / 2;
        if (fabs(up - down) > TOLERANCE + 0.02 * fabs(slope)) {
            kinks++;
            continue;
        }
        checked++;
        cr_expect_float_eq(gradient, slope, TOLERANCE + 0.02 * fabs(slope),
                           "theta[%zu]: %g, but by differences %g", i, gradient, slope);
    }
    cnn_pass_destroy(pass);
    cr_assert_gt(checked, 3 * kinks, "%zu kinks in %zu", kinks, m.weights);
}

Test(cnn, gradients_of_grey_images)
{
    images(1, 6, 6);
    check_gradient(NULL, NULL);
}

Test(cnn, gradients_of_coloured_images_of_odd_size)
{
    const float weights[] = { 0.5f, 1, 1.5f };
    images(3, 7, 9);
    check_gradient(NULL, weights);
}

Test(cnn, gradients_with_all_that_is_done_at_random)
{
    const struct cnn_noise noise = { .key = 11, .shift = 1, .flip = true, .dropout = 0.4f };
    images(2, 8, 6);
    p.hidden[1] = 6;
    p.hidden_count = 2;
    check_gradient(&noise, NULL);
}

Test(cnn, gradients_of_a_wide_layer)
{
    images(1, 4, 4);
    p.filters[0] = 17; /* one more than the machine's vectors have */
    p.filters_count = 1;
    p.hidden_count = 0;
    check_gradient(NULL, NULL);
}

/* ---- augmentation --------------------------------------------------------------------------- */

static double loss_under(const struct cnn_noise *noise)
{
    const struct cnn_block b = { .t = &t, .rows = rows, .count = IMAGES, .noise = noise };
    struct cnn_pass *pass = cnn_pass_create(&m, IMAGES, false);
    double loss = loss_of(pass, &b);
    cnn_pass_destroy(pass);
    return loss;
}

/* Each image is what `value` says of its place. */
static void paint(float (*value)(size_t row, long y, long x))
{
    struct lesson l = lesson(0, 1);
    images(1, 8, 8);
    for (size_t i = 0; i < t.rows; i++)
        for (long k = 0; k < 64; k++)
            t.x[i * 64 + (size_t)k] = value(i, k / 8, k % 8);
    cr_assert_eq(cnn_shape(&m, &t, &p, &err), STATUS_OK);
    cnn_init(&m, 4);
    cr_assert(cnn_standardise(&m, &l));
}

static float plain(size_t row, long y, long x)
{
    return (float)(row % 5 + 0 * (size_t)(y + x));
}

static float mirrored(size_t row, long y, long x)
{
    return (float)((long)(row % 5) * y + labs(2 * x - 7));
}

Test(cnn, an_image_is_moved_within_its_own_edges)
{
    const struct cnn_noise shift = { .key = 2, .shift = 3 };
    paint(plain);
    cr_assert_eq(loss_under(&shift), loss_under(NULL));
    cnn_finish(&m);
    table_finish(&t);
    paint(mirrored);
    cr_assert_neq(loss_under(&shift), loss_under(NULL));
}

Test(cnn, a_mirrored_image_that_is_the_same_is_the_same)
{
    const struct cnn_noise flip = { .key = 2, .flip = true }, quiet = { .key = 2 };
    paint(mirrored);
    cr_assert_eq(loss_under(&flip), loss_under(NULL));
    for (size_t i = 0; i < t.rows; i++)
        t.x[i * 64] += 20;
    cr_assert_neq(loss_under(&flip), loss_under(NULL));
    cr_assert_eq(loss_under(&quiet), loss_under(NULL));
}

/* ---- learning ------------------------------------------------------------------------------- */

static void enlarge(void)
{
    p.filters[0] = p.filters[1] = 8;
    p.hidden[0] = 16;
    p.epochs = 40;
}

Test(cnn, learns_lines)
{
    images(1, 10, 10);
    enlarge();
    cr_assert_eq(fit_with(0, 1), STATUS_OK, "%s", err.text);
    cr_assert_eq(told.count, 40);
    cr_assert_geq(hits(), ROWS - 2);
    cr_assert_lt(told.epochs[39].train_loss, 0.2 * told.epochs[0].train_loss);
}

Test(cnn, learns_with_each_optimizer_and_everything_at_once)
{
    images(3, 9, 11);
    enlarge();
    for (p.optimizer = CNN_MOMENTUM; p.optimizer <= CNN_ADAMW; p.optimizer++) {
        p.lr = p.optimizer == CNN_MOMENTUM ? 0.03 : 0.01;
        p.schedule = p.optimizer % 2 ? CNN_CONSTANT : CNN_COSINE;
        p.weight_decay = 1e-4;
        p.dropout = 0.1;
        p.flip = true;
        cr_assert_eq(fit_with(12, 2), STATUS_OK, "%s", err.text);
        cr_assert_geq(hits(), ROWS - 6, "%u: %zu", p.optimizer, hits());
    }
}

Test(cnn, the_last_batch_may_be_short_and_a_batch_larger_than_all)
{
    images(1, 8, 8);
    p.batch = 7;
    p.epochs = 2;
    cr_assert_eq(fit_with(3, 2), STATUS_OK, "%s", err.text);
    cr_assert_float_eq(told.fraction, 1, 1e-9);
    p.batch = 1000;
    cr_assert_eq(fit_with(3, 64), STATUS_OK, "%s", err.text);
}

/* Images so large that a batch has no room at once: the step is that of the whole batch, however
 * many threads take part. */
Test(cnn, a_large_batch_is_computed_in_blocks)
{
    float one[ROWS * 3], two[ROWS * 3];
    images(1, 90, 90);
    p.filters[0] = 32;
    p.filters_count = 1;
    p.hidden_count = 0;
    p.optimizer = CNN_MOMENTUM;
    p.lr = 1e-4;
    p.batch = ROWS;
    p.epochs = 2;
    cr_assert_eq(fit_with(0, 1), STATUS_OK, "%s", err.text);
    cr_assert_geq(told.calls, 2 * 2 * (ROWS / 12));
    learner_cnn.predict(model, t.x, ROWS, one);
    cr_assert_eq(fit_with(0, 2), STATUS_OK, "%s", err.text);
    learner_cnn.predict(model, t.x, ROWS, two);
    for (size_t i = 0; i < ROWS * 3; i++)
        cr_assert_float_eq(one[i], two[i], 1e-4);
}

Test(cnn, stops_early_and_keeps_the_best)
{
    images(1, 8, 8);
    struct random r = { .state = 9 };
    for (size_t i = 0; i < t.rows; i++)
        t.y[i] = (uint32_t)(random_u64(&r) % 3); /* nothing that could be learnt but by heart */
    p.epochs = 60;
    p.patience = 4;
    cr_assert_eq(fit_with(20, 1), STATUS_OK, "%s", err.text);
    cr_assert_lt(told.count, 60);
    size_t best = 0;
    for (size_t i = 1; i < told.count; i++)
        best = told.epochs[i].validation_loss < told.epochs[best].validation_loss ? i : best;
    cr_assert_eq(told.count, best + 1 + p.patience);
    float out[ROWS * 3];
    double loss = 0;
    learner_cnn.predict(model, t.x, ROWS, out);
    for (size_t i = ROWS - 20; i < ROWS; i++)
        loss -= log((double)out[3 * i + t.y[i]]) / 20;
    cr_assert_float_eq(loss, told.epochs[best].validation_loss, 1e-5);
}

/* ---- the same again ------------------------------------------------------------------------- */

static void use_everything(void)
{
    images(3, 8, 10);
    p.dropout = 0.3;
    p.shift = 2;
    p.flip = true;
    p.weight_decay = 0.01;
    p.optimizer = CNN_ADAMW;
}

Test(cnn, the_same_lesson_gives_the_same_file)
{
    struct buf files[3] = { 0 };
    struct lesson l = lesson(10, 2);
    use_everything();
    for (int i = 0; i < 3; i++) {
        l.seed = i < 2 ? 7 : 8;
        cr_assert_eq(fit(&l), STATUS_OK, "%s", err.text);
        export(&files[i]);
    }
    cr_assert(bytes_equal(buf_bytes(&files[0]), buf_bytes(&files[1])));
    cr_assert_not(bytes_equal(buf_bytes(&files[0]), buf_bytes(&files[2])));
    for (int i = 0; i < 3; i++)
        buf_finish(&files[i]);
}

/* Cancelled in each epoch, resumed from what was kept after the one before. */
static void check_resumed(uint32_t optimizer)
{
    struct buf whole = { 0 }, parts = { 0 };
    struct lesson l = lesson(10, 2);
    p.optimizer = optimizer;
    cr_assert_eq(fit(&l), STATUS_OK, "%s", err.text);
    export(&whole);
    told.stop_epoch = 1;
    cr_assert_eq(fit(&l), STATUS_CANCELLED);
    for (size_t epoch = 1; epoch < p.epochs; epoch++) {
        struct buf state = { 0 };
        buf_append_bytes(&state, buf_bytes(&kept));
        l.resume = buf_bytes(&state);
        enum status st = fit(&l);
        cr_assert_eq(told.epochs[0].number, epoch + 1);
        cr_assert_eq(st, epoch + 1 < p.epochs ? STATUS_CANCELLED : STATUS_OK, "%s", err.text);
        buf_finish(&state);
    }
    export(&parts);
    cr_assert(bytes_equal(buf_bytes(&whole), buf_bytes(&parts)));
    buf_finish(&whole);
    buf_finish(&parts);
}

Test(cnn, what_is_resumed_ends_the_same)
{
    use_everything();
    check_resumed(CNN_ADAMW);
}

Test(cnn, what_is_resumed_ends_the_same_with_momentum)
{
    use_everything();
    check_resumed(CNN_MOMENTUM);
}

static void assert_refused(struct lesson *l, const char *why)
{
    cr_assert_eq(fit(l), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, why), "%s", err.text);
    cr_assert_null(model);
}

Test(cnn, refuses_a_checkpoint_that_is_damaged_or_of_another_lesson)
{
    struct lesson l = lesson(10, 2);
    use_everything();
    told.stop_epoch = 1;
    cr_assert_eq(fit(&l), STATUS_CANCELLED);
    told.stop_epoch = 0;
    cr_assert_eq(told.saved, 1);
    l.resume = bytes_of(kept.data, 5);
    assert_refused(&l, "short");
    l.resume = bytes_of(kept.data, kept.len - 4);
    assert_refused(&l, "damaged");
    l.resume = buf_bytes(&kept);
    kept.data[kept.len / 2] ^= 1;
    assert_refused(&l, "damaged");
    kept.data[kept.len / 2] ^= 1;
    l.seed++;
    assert_refused(&l, "another");
    l.seed--;
    p.lr *= 2;
    assert_refused(&l, "another");
    p.lr /= 2;
    t.y[3] = (t.y[3] + 1) % 3;
    assert_refused(&l, "another");
}

Test(cnn, a_loss_that_diverges_is_an_error)
{
    images(1, 8, 8);
    p.optimizer = CNN_MOMENTUM;
    p.lr = 100;
    p.weight_decay = 1; /* each step makes the weights a hundred times as large */
    cr_assert_eq(fit_with(0, 2), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "diverged in epoch"), "%s", err.text);
    cr_assert_null(model);
}

/* ---- limits --------------------------------------------------------------------------------- */

static void assert_shape(enum status expected, const char *why)
{
    err = (struct error){ 0 };
    cr_assert_eq(fit_with(0, 1), expected, "%s", err.text);
    cr_assert_not_null(strstr(err.text, why), "%s", err.text);
}

Test(cnn, says_what_it_cannot_learn_from)
{
    images(1, 3, 40);
    assert_shape(STATUS_INVALID, "3 x 40 pixels are too small");
    t.image = (struct image_shape){ 0 };
    assert_shape(STATUS_INVALID, "images only");
}

Test(cnn, has_limits)
{
    images(1, 64, 64);
    p.filters[0] = 1024;
    p.filters_count = 1;
    p.hidden[0] = 16384;
    assert_shape(STATUS_TOO_LARGE, "weights");
    p.hidden_count = 0;
    p.filters[1] = 1024;
    p.filters_count = 2;
    assert_shape(STATUS_TOO_LARGE, "multiplications");
    p.filters_count = 9;
    assert_shape(STATUS_TOO_LARGE, "at most 8");
    table_finish(&t);
    images(1, 256, 256);
    p.filters_count = 1;
    assert_shape(STATUS_TOO_LARGE, "numbers for each image");
}

/* ---- ONNX Runtime --------------------------------------------------------------------------- */

static void assert_same_answers(void)
{
    char command[512];
    float out[ROWS * 3];
    struct buf file = { 0 };
    export(&file);
    learner_cnn.predict(model, t.x, ROWS, out);
    fixture_write(&f, "model.onnx", buf_bytes(&file));
    fixture_write(&f, "inputs", bytes_of(t.x, t.rows * t.features * sizeof *t.x));
    fixture_write(&f, "probabilities", bytes_of(out, sizeof out));
    buf_finish(&file);
    snprintf(command, sizeof command,
             "cd %s && python3 -W ignore \"$OLDPWD\"/tests/unit/trainer/compare_onnx.py model.onnx "
             "inputs probabilities >messages 2>&1",
             f.dir);
    cr_assert_eq(system(command), 0, "see compare_onnx.py; run from the root of the tree");
}

Test(cnn, onnx_runtime_answers_the_same_of_grey_images)
{
    images(1, 12, 12);
    cr_assert_eq(fit_with(6, 2), STATUS_OK, "%s", err.text);
    assert_same_answers();
}

Test(cnn, onnx_runtime_answers_the_same_of_coloured_images_of_odd_size)
{
    use_everything();
    table_finish(&t);
    images(3, 9, 7);
    p.hidden[1] = 4;
    p.hidden_count = 2;
    cr_assert_eq(fit_with(0, 1), STATUS_OK, "%s", err.text);
    assert_same_answers();
}
