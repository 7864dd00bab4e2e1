/* test_prep.c - preprocessing: what is learnt from the training rows, what is left out, and that ONNX
 * Runtime makes the same of raw columns (compare_prep.py). */
#include "common/msg/limits.h"
#include "services/trainer/data/load.h"
#include "services/trainer/learner.h"
#include "tests/unit/trainer/fixture.h"

#include <math.h>
#include <yyjson.h>

static struct fixture f;
static struct data d;
static struct data_params params;
static struct split_shares shares;
static struct error err;

static void init(void)
{
    fixture_init(&f);
    params = data_defaults;
    shares = (struct split_shares){ .test = 0.2, .validation = 0.1 };
}

static void finish(void)
{
    data_finish(&d);
    fixture_finish(&f);
}

TestSuite(prep, .init = init, .fini = finish);

static enum status load_file(const char *target)
{
    const struct source_file file = { "t.csv", fixture_path(&f, "t.csv"), NULL, 0 };
    const struct data_request request = { .files = &file,
                                          .files_count = 1,
                                          .target = target,
                                          .params = &params,
                                          .shares = shares,
                                          .seed = 3 };
    data_finish(&d);
    return data_load(&request, &d, &err);
}

static enum status load(const char *text, const char *target)
{
    fixture_write(&f, "t.csv", bytes_str(text));
    return load_file(target);
}

/* Two columns of numbers, one of words, one of booleans; a tenth is missing.  The word says y. */
static void write_mixed(size_t rows)
{
    static const char *const words[] = { "red", "Grün", "blue", "rare, \"one\"" };
    static const char *const booleans[] = { "true", "False", "yes" };
    struct random r = { .state = 9 };
    struct buf text = { 0 };
    buf_append_str(&text, "id,num,probabilities,colour,flag,constant,when,note,y\n");
    for (size_t i = 0; i < rows; i++) {
        size_t w = random_u64(&r) % 30;
        w = w ? w % 3 : 3;
        buf_printf(&text, "%zu,", 1000 + i * 7);
        if (random_uniform(&r) > 0.1)
            buf_printf(&text, "%.4f", 100 + 20 * random_normal(&r));
        buf_printf(&text, ",%d,", (int)(random_u64(&r) % 50));
        if (random_uniform(&r) > 0.1)
            buf_printf(&text, w == 3 ? "\"rare, \"\"one\"\"\"" : "%s", words[w]);
        buf_append_str(&text, ",");
        if (random_uniform(&r) > 0.1)
            buf_append_str(&text, booleans[random_u64(&r) % 3]);
        buf_printf(&text, ",7,2024-01-%02zu,note %zu,%s\n", i % 28 + 1, i,
                   random_uniform(&r) < (w == 1 ? 0.9 : 0.2) ? "pos" : "neg");
    }
    fixture_write(&f, "t.csv", buf_bytes(&text));
    buf_finish(&text);
}

static enum prep_drop drop_of(const char *name)
{
    return d.prep->drops[dataframe_column(&d.frame, name) - d.frame.columns];
}

Test(prep, says_what_is_left_out)
{
    write_mixed(200);
    cr_assert_eq(load_file("y"), STATUS_OK, "%s", err.text);
    cr_assert_eq(drop_of("id"), DROP_IDENTIFIER);
    cr_assert_eq(drop_of("note"), DROP_IDENTIFIER);
    cr_assert_eq(drop_of("constant"), DROP_CONSTANT);
    cr_assert_eq(drop_of("when"), DROP_DATE);
    cr_assert_eq(drop_of("num"), DROP_NOT);
    cr_assert_eq(d.prep->numbers_count, 2);
    cr_assert_eq(d.prep->indicators, 1);
    cr_assert_eq(d.train.features, 2 + 1 + (4 + 1 + 1) + 2);
    snprintf(params.prep.keep, sizeof params.prep.keep, "x,id");
    snprintf(params.prep.drop, sizeof params.prep.drop, "num");
    cr_assert_eq(load_file("y"), STATUS_OK, "%s", err.text);
    cr_assert_eq(drop_of("id"), DROP_NOT);
    cr_assert_eq(drop_of("num"), DROP_ASKED);
}

/* However long or odd its name, and whatever else is left out. */
Test(prep, the_column_of_groups_is_left_out)
{
    struct buf text = { 0 };
    memset(params.group, 'g', COLUMN_NAME_MAX);
    memcpy(params.group + 3, ",\xc3\xa9", 3);
    memset(params.prep.drop, 'x', sizeof params.prep.drop - 1);
    buf_printf(&text, "\"%s\",a,y\n", params.group);
    for (int i = 0; i < 80; i++)
        buf_printf(&text, "%d,%d.5,%c\n", i % 8, i * 37 % 11, 'p' + i % 2);
    fixture_write(&f, "t.csv", buf_bytes(&text));
    buf_finish(&text);
    cr_assert_eq(load_file("y"), STATUS_OK, "%s", err.text);
    cr_assert_eq(drop_of(params.group), DROP_ASKED);
    cr_assert_eq(d.train.features, 1);
}

/* Engines take no input of that name: said before anything is learnt. */
Test(prep, a_name_that_is_too_long_for_an_input)
{
    char name[MAX_NAME + 2] = { 0 };
    struct buf text = { 0 };
    memset(name, 'n', MAX_NAME + 1);
    for (int longer = 1; longer >= 0; longer--) {
        text.len = 0;
        buf_printf(&text, "%s,a,y\n", name + 1 - longer);
        for (int i = 0; i < 40; i++)
            buf_printf(&text, "%d.5,%d.5,%c\n", i * 7 % 13, i * 37 % 11, 'p' + i % 2);
        fixture_write(&f, "t.csv", buf_bytes(&text));
        enum status st = load_file("y");
        cr_expect_eq(st, longer ? STATUS_INVALID : STATUS_OK, "%s", err.text);
    }
    cr_expect_not_null(strstr(err.text, "129 bytes; names have at most 128"), "%s", err.text);
    params.prep.input = INPUT_MATRIX; /* has a name of its own */
    cr_expect_eq(load_file("y"), STATUS_OK, "%s", err.text);
    buf_finish(&text);
}

Test(prep, can_be_cancelled)
{
    const atomic_bool cancelled = true;
    struct prep *other = NULL;
    write_mixed(200);
    cr_assert_eq(load_file("y"), STATUS_OK, "%s", err.text);
    const struct prep_lesson lesson = { .frame = &d.frame,
                                        .target = &d.train,
                                        .rows = d.split.rows,
                                        .count = d.frame.rows,
                                        .cancelled = &cancelled };
    cr_assert_eq(prep_fit(&lesson, &params.prep, &other, &err), STATUS_CANCELLED);
    cr_assert_null(other);
}

Test(prep, its_json_says_so_too)
{
    write_mixed(200);
    cr_assert_eq(load_file("y"), STATUS_OK, "%s", err.text);
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    data_json(&d, doc, root);
    cr_assert_eq(yyjson_mut_arr_size(yyjson_mut_obj_get(root, "inputs")), 4);
    yyjson_mut_val *dropped = yyjson_mut_obj_get(root, "dropped");
    cr_assert_eq(yyjson_mut_arr_size(dropped), 4);
    yyjson_mut_val *first = yyjson_mut_arr_get_first(dropped);
    cr_assert_str_eq(yyjson_mut_get_str(yyjson_mut_obj_get(first, "column")), "id");
    yyjson_mut_doc_free(doc);
}

static void assert_leak(const char *name)
{
    cr_assert_eq(load_file("y"), STATUS_OK, "%s", err.text);
    cr_assert_eq(drop_of(name), DROP_LEAK);
    cr_assert_eq(drop_of("a"), DROP_NOT);
}

Test(prep, a_column_that_says_the_target_is_left_out)
{
    struct buf words = { 0 }, values = { 0 };
    buf_append_str(&words, "a,leak,y\n");
    buf_append_str(&values, "a,leak,y\n");
    for (int i = 0; i < 60; i++) {
        buf_printf(&words, "%d,%d,%s\n", i * 37 % 11, i % 3 * 5,
                   (const char *[]){ "p", "q", "r" }[i % 3]);
        buf_printf(&values, "%d,%d.25,%d.25\n", i * 37 % 11, i * 7 % 60, i * 7 % 60);
    }
    fixture_write(&f, "t.csv", buf_bytes(&words));
    assert_leak("leak");
    fixture_write(&f, "t.csv", buf_bytes(&values));
    assert_leak("leak");
    buf_finish(&words);
    buf_finish(&values);
}

Test(prep, nothing_to_learn_from)
{
    cr_assert_eq(load("a,y\n1,p\n1,q\n1,p\n1,q\n", "y"), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "'a' (the same in all training rows)"), "%s", err.text);
}

Test(prep, only_training_rows_are_learnt_from)
{
    struct buf text = { 0 };
    buf_append_str(&text, "a,w,t,y\n");
    for (int i = 0; i < 40; i++)
        buf_printf(&text, "%d,%s,%d.5,%c\n", i < 30 ? i % 2 : 1000000, i < 30 ? "old" : "new", i,
                   'p' + (i + i / 7) % 2);
    snprintf(params.order, sizeof params.order, "t");
    shares = (struct split_shares){ .test = 0.25 };
    fixture_write(&f, "t.csv", buf_bytes(&text));
    cr_assert_eq(load_file("y"), STATUS_OK, "%s", err.text);
    cr_assert_eq(d.split.test, 10);
    for (size_t i = 0; i < 10; i++)
        cr_assert_geq(d.split.rows[i], 30);
    cr_assert_float_eq(d.prep->numbers[0].fill, 0.5, 1e-6);
    cr_assert_eq(drop_of("w"), DROP_CONSTANT);
    buf_finish(&text);
}

Test(prep, a_split_may_leave_one_class_alone)
{
    snprintf(params.order, sizeof params.order, "t");
    cr_assert_eq(load("a,t,y\n1,1,p\n2,2,p\n1,3,p\n2,4,p\n3,5,q\n", "y"), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "all of class 'p'"), "%s", err.text);
}

Test(prep, groups_stay_together)
{
    struct buf text = { 0 };
    unsigned char part[20] = { 0 };
    buf_append_str(&text, "who,a,y\n");
    for (int i = 0; i < 200; i++)
        buf_printf(&text, "p%d,%d,%c\n", i % 20, i * 31 % 17, 'p' + i % 2);
    snprintf(params.group, sizeof params.group, "who");
    fixture_write(&f, "t.csv", buf_bytes(&text));
    cr_assert_eq(load_file("y"), STATUS_OK, "%s", err.text);
    cr_assert_eq(drop_of("who"), DROP_ASKED);
    cr_assert_eq(d.split.test, 40);
    for (size_t i = 0; i < 200; i++)
        part[d.split.rows[i] % 20] |= i < d.split.test                   ? 1
                                      : i < d.split.test + d.split.train ? 2
                                                                         : 4;
    for (size_t g = 0; g < 20; g++)
        cr_assert(part[g] == 1 || part[g] == 2 || part[g] == 4);
    buf_finish(&text);
}

Test(prep, splits_by_columns_that_are_not_there_or_not_ordered)
{
    snprintf(params.order, sizeof params.order, "when");
    cr_assert_eq(load("a,w,y\n1,u,p\n2,v,q\n", "y"), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "no column 'when' to split by"), "%s", err.text);
    snprintf(params.order, sizeof params.order, "w");
    cr_assert_eq(load("a,w,y\n1,u,p\n2,v,q\n", "y"), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "neither numbers nor dates"), "%s", err.text);
}

static float fill_with(enum prep_impute impute)
{
    params.prep.impute = impute;
    shares = (struct split_shares){ 0 };
    cr_assert_eq(load("a,y\n1,p\n,q\n1,p\n4,q\n10,p\n", "y"), STATUS_OK, "%s", err.text);
    cr_assert(d.prep->numbers[0].indicator);
    return d.prep->numbers[0].fill;
}

Test(prep, missing_numbers_are_filled)
{
    cr_assert_eq(fill_with(IMPUTE_MEAN), 4);
    cr_assert_eq(fill_with(IMPUTE_MEDIAN), 2.5f);
    cr_assert_eq(fill_with(IMPUTE_MOST_FREQUENT), 1);
    params.prep.impute_constant = -1;
    cr_assert_eq(fill_with(IMPUTE_CONSTANT), -1);
}

/* ---- the graph -------------------------------------------------------------------------- */

/* Values of a column as clients send them: what the file has, and in every fifth row a number that
 * training has not seen, or none.  Words of held-out rows were not seen by the fit, either. */
static void put_column(yyjson_mut_doc *doc, yyjson_mut_val *root, size_t column,
                       struct dataframe *to)
{
    char name[64];
    struct column *c = &to->columns[column];
    yyjson_mut_val *values = yyjson_mut_arr(doc);
    (void)prep_input_name(c->name, name, sizeof name);
    for (size_t i = 0; i < to->rows; i++) {
        if (c->number && i % 5 == 0)
            c->number[i] = i % 2 ? NAN : 1e6f;
        if (c->number && isnan(c->number[i]))
            yyjson_mut_arr_add_null(doc, values);
        else if (c->number)
            yyjson_mut_arr_add_real(doc, values, (double)c->number[i]);
        else if (c->code[i] == CODE_MISSING)
            yyjson_mut_arr_add_str(doc, values, i % 2 ? "" : "NA");
        else
            yyjson_mut_arr_add_str(doc, values, c->words[c->code[i]]);
    }
    yyjson_mut_obj_put(root, yyjson_mut_strcpy(doc, name), values);
}

static void write_columns(struct dataframe *of)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    size_t len = 0;
    yyjson_mut_doc_set_root(doc, root);
    for (size_t i = 0; i < of->columns_count; i++)
        if (!of->columns[i].target && !d.prep->drops[i])
            put_column(doc, root, i, of);
    char *text = yyjson_mut_write(doc, 0, &len);
    cr_assert_not_null(text);
    fixture_write(&f, "columns", bytes_of(text, len));
    free(text);
    yyjson_mut_doc_free(doc);
}

static void write_model(const struct learner *learner, void *model)
{
    struct onnx_graph *g = onnx_graph_create();
    struct buf file = { 0 };
    const struct onnx_about about = { .name = "prep", .description = "" };
    const char *features = data_export(&d, g);
    if (learner) {
        onnx_graph_output(g, ONNX_PROBABILITIES, ONNX_FLOAT, d.train.classes_count);
        learner->export(model, g, features, ONNX_PROBABILITIES);
    } else {
        onnx_graph_output(g, "out", ONNX_FLOAT, d.train.features);
        onnx_graph_node(g, "Identity", "out", features, NULL, NULL);
    }
    onnx_graph_write(g, &about, &file);
    onnx_graph_destroy(g);
    fixture_write(&f, "model.onnx", buf_bytes(&file));
    buf_finish(&file);
}

static void compare(const float *expected, size_t count)
{
    char command[512];
    fixture_write(&f, "expected", bytes_of(expected, count * sizeof *expected));
    snprintf(command, sizeof command,
             "cd %s && python3 -W ignore \"$OLDPWD\"/tests/unit/trainer/compare_prep.py model.onnx "
             "columns expected >messages 2>&1 || { cat messages; false; }",
             f.dir);
    cr_assert_eq(system(command), 0, "see compare_prep.py; run from the root of the tree");
}

static void assert_same_features(void)
{
    write_columns(&d.frame);
    float *x = mem_alloc(d.frame.rows * d.train.features * sizeof *x);
    prep_apply(d.prep, &d.frame, NULL, d.frame.rows, x);
    write_model(NULL, NULL);
    compare(x, d.frame.rows * d.train.features);
    free(x);
}

Test(prep, the_graph_makes_the_same_of_raw_columns)
{
    params.prep.max_categories = 2; /* the others are all the same */
    write_mixed(300);
    cr_assert_eq(load_file("y"), STATUS_OK, "%s", err.text);
    assert_same_features();
}

Test(prep, the_graph_clips)
{
    params.prep.scale = SCALE_CLIP;
    write_mixed(300);
    cr_assert_eq(load_file("y"), STATUS_OK, "%s", err.text);
    assert_same_features();
}

Test(prep, the_graph_of_one_matrix)
{
    params.prep.input = INPUT_MATRIX;
    params.prep.scale = SCALE_MINMAX;
    snprintf(params.prep.drop, sizeof params.prep.drop, "colour,flag");
    write_mixed(300);
    cr_assert_eq(load_file("y"), STATUS_OK, "%s", err.text);
    assert_same_features();
    params.prep.drop[0] = 0;
    cr_assert_eq(load_file("y"), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "'colour' has words"), "%s", err.text);
}

/* An engine takes MAX_TENSORS inputs. */
Test(prep, many_columns_are_one_matrix)
{
    for (int words = 0; words < 2; words++) {
        struct buf csv = { 0 };
        for (int c = 0; c < MAX_TENSORS + 10; c++)
            buf_printf(&csv, "c%d,", c);
        buf_append_str(&csv, "word,y\n");
        for (int row = 0; row < 60; row++) {
            for (int c = 0; c < MAX_TENSORS + 10; c++)
                buf_printf(&csv, "%d.5,", (row * (c + 3)) % 17);
            buf_printf(&csv, "%s,%c\n", words && row % 3 ? "red" : "blue", 'a' + row % 2);
        }
        fixture_write(&f, "t.csv", buf_bytes(&csv));
        buf_finish(&csv);
        enum status st = load_file("y");
        cr_assert_eq(st, words ? STATUS_TOO_LARGE : STATUS_OK, "%s", err.text);
        if (!words)
            cr_assert_eq(d.prep->params.input, INPUT_MATRIX);
        else
            cr_assert_not_null(strstr(err.text, "drop"), "%s", err.text);
    }
}

static bool go_on(void *arg, double fraction)
{
    (void)arg;
    (void)fraction;
    return true;
}

static void on_epoch(void *arg, const struct epoch *e)
{
    (void)arg;
    (void)e;
}

/* Columns whose names are those of the learner's own tensors. */
Test(prep, the_graph_goes_on_with_the_learner)
{
    static const struct learner_events events = { go_on, on_epoch, NULL };
    const struct learner *learner = learner_find("mlp");
    void *p = mem_zalloc(learner->params_size), *model = NULL;
    struct buf text = { 0 };
    buf_append_str(&text, "mean,w0,scale,prep_filled,y\n");
    for (int i = 0; i < 100; i++)
        buf_printf(&text, "%d,%c,%d.5,%d,%c\n", i * 7 % 13, 'u' + i % 3, i * 3 % 11, i % 4,
                   'p' + i % 3 % 2);
    fixture_write(&f, "t.csv", buf_bytes(&text));
    cr_assert_eq(load_file("y"), STATUS_OK, "%s", err.text);
    learner->defaults(p, &d.train);
    const struct lesson lesson = { .table = &d.train,
                                   .rows = d.split.rows + d.split.test,
                                   .train = d.split.train,
                                   .validation = d.split.validation,
                                   .threads = 1,
                                   .events = &events };
    cr_assert_eq(learner->fit(p, &lesson, &model, &err), STATUS_OK, "%s", err.text);
    write_columns(&d.frame);
    prep_apply(d.prep, &d.frame, NULL, d.frame.rows, d.train.x);
    float *out = mem_alloc(d.train.rows * 2 * sizeof *out);
    learner->predict(model, d.train.x, d.train.rows, out);
    write_model(learner, model);
    compare(out, d.train.rows * 2);
    learner->destroy(model);
    free(out);
    free(p);
    buf_finish(&text);
}
