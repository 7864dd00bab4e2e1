/* test_run.c - whole runs, from files to an ONNX file with metrics. */
#include "services/trainer/run.h"

#include "common/base/clock.h"
#include "tests/unit/trainer/fixture.h"

#include "onnx.pb-c.h"

#include <cblas.h>
#include <math.h>
#include <pthread.h>
#include <unistd.h>
#include <yyjson.h>

#define FASHION "/usr/share/datasets/fashion-mnist/"

static struct fixture f;
static struct run run;

static void init(void)
{
    fixture_init(&f);
    run_init(&run);
    run.seed = 1;
    run.learner = learner_find("mlp");
    snprintf(run.dataset, sizeof run.dataset, "clouds");
    openblas_set_num_threads(1); /* so that the time does not depend on who else is working */
}

static void finish(void)
{
    run_finish(&run);
    fixture_finish(&f);
}

TestSuite(run, .init = init, .fini = finish);

static void add_file(const char *name, const char *path)
{
    struct run_file *to = &run.files[run.files_count++];
    snprintf(to->name, sizeof to->name, "%s", name);
    to->path = mem_str(bytes_str(path));
}

/* A table of rows around three centres. */
static void add_table(size_t rows)
{
    struct table t;
    struct buf text = { 0 };
    fixture_clouds(&t, rows, 4, 3, 0.4);
    buf_append_str(&text, "one,two,three,kind,four\n");
    for (size_t i = 0; i < rows; i++) {
        const float *x = t.x + 4 * i;
        buf_printf(&text, "%.6g,%.6g,%.6g,%s,%.6g\n", x[0], x[1], x[2], t.classes[t.y[i]], x[3]);
    }
    fixture_write(&f, "table.csv", buf_bytes(&text));
    add_file("table.csv", f.path);
    snprintf(run.target, sizeof run.target, "kind");
    table_finish(&t);
    buf_finish(&text);
}

static void set_params(const char *json)
{
    buf_append_str(&run.params_json, json);
}

static double metric(const char *name)
{
    yyjson_doc *doc = yyjson_read((const char *)run.metrics.data, run.metrics.len, 0);
    cr_assert_not_null(doc);
    double value = yyjson_get_num(yyjson_obj_get(yyjson_doc_get_root(doc), name));
    yyjson_doc_free(doc);
    return value;
}

static void assert_fails(const char *says)
{
    run_execute(&run);
    cr_assert_eq(run.error.status, STATUS_INVALID, "%s", status_name(run.error.status));
    cr_assert_not_null(strstr(run.error.text, says), "\"%s\" does not say \"%s\"", run.error.text,
                       says);
    cr_assert_eq(run.onnx.len, 0);
}

Test(run, a_table_becomes_a_model)
{
    add_table(300);
    run_execute(&run);
    cr_assert_eq(run.error.status, STATUS_OK, "%s", run.error.text);
    cr_assert_geq(metric("accuracy"), 0.95);
    cr_assert_eq(metric("rows"), 60);
    cr_assert_eq(run.predictions.len, 60 * 3 * sizeof(float));
    cr_assert_gt(run.onnx.len, 0);
    cr_assert_float_eq(run.progress.fraction, 1, 1);
    cr_assert_geq(run.progress.last.number, 1);
}

/* The numbers of the one tensor in that list of a sample. */
static yyjson_val *numbers(yyjson_val *sample, const char *list, const char *name, size_t count)
{
    yyjson_val *tensor = yyjson_arr_get_first(yyjson_obj_get(sample, list));
    cr_assert_str_eq(yyjson_get_str(yyjson_obj_get(tensor, "name")), name);
    cr_assert_eq(yyjson_get_uint(yyjson_arr_get(yyjson_obj_get(tensor, "shape"), 1)), count);
    yyjson_val *data = yyjson_obj_get(tensor, "data");
    cr_assert_eq(yyjson_arr_size(data), count);
    return data;
}

Test(run, it_leaves_samples_of_the_rows_held_out)
{
    const size_t rows = 60, classes = 3;
    size_t i, max;
    yyjson_val *sample;
    add_table(300);
    run_execute(&run);
    cr_assert_leq(run.made[0].data.len, MAX_WARMUP_BYTES);
    yyjson_doc *doc = yyjson_read((const char *)run.made[0].data.data, run.made[0].data.len, 0);
    yyjson_val *samples = yyjson_obj_get(yyjson_doc_get_root(doc), "samples");
    const float *computed = (const float *)(const void *)run.predictions.data;
    cr_assert_eq(yyjson_arr_size(samples), 32);
    yyjson_arr_foreach(samples, i, max, sample)
    {
        cr_assert_eq(yyjson_arr_size(yyjson_obj_get(sample, "inputs")), 4); /* raw columns */
        yyjson_val *list = numbers(sample, "outputs", ONNX_PROBABILITIES, classes);
        for (size_t c = 0; c < classes; c++)
            cr_assert_eq((float)yyjson_get_num(yyjson_arr_get(list, c)),
                         computed[i * rows / 32 * classes + c]);
    }
    yyjson_doc_free(doc);
}

Test(run, samples_of_wide_tables_are_fewer)
{
    struct data d = { 0 };
    fixture_table(&d.test, 40, 19999, 1);
    buf_append(&run.predictions, d.test.x, d.test.rows * sizeof(float));
    run_warmup(&run, &d);
    yyjson_doc *doc = yyjson_read((const char *)run.made[0].data.data, run.made[0].data.len, 0);
    cr_assert_eq(yyjson_arr_size(yyjson_obj_get(yyjson_doc_get_root(doc), "samples")), 10);
    yyjson_doc_free(doc);
    table_finish(&d.test);
}

Test(run, its_history_has_a_line_per_epoch)
{
    add_table(60);
    set_params("{\"epochs\":3,\"patience\":0}");
    run_execute(&run);
    struct buf text = { 0 };
    run_history(&run.progress, &text);
    yyjson_doc *doc = yyjson_read((const char *)text.data, text.len, 0);
    yyjson_val *list = yyjson_doc_get_root(doc);
    cr_assert_eq(yyjson_arr_size(list), 3);
    cr_assert_eq(run.progress.epochs, 3);
    for (size_t i = 0; i < 3; i++) {
        yyjson_val *e = yyjson_arr_get(list, i);
        cr_assert_eq(yyjson_get_uint(yyjson_obj_get(e, "epoch")), i + 1);
        cr_assert(yyjson_is_num(yyjson_obj_get(e, "train_loss")));
        cr_assert(yyjson_is_num(yyjson_obj_get(e, "validation_loss")));
        cr_assert(yyjson_is_num(yyjson_obj_get(e, "validation_accuracy")));
    }
    yyjson_doc_free(doc);
    buf_finish(&text);
}

Test(run, the_history_has_a_bound)
{
    add_table(12);
    set_params("{\"epochs\":3000,\"patience\":0,\"hidden\":[]}");
    run_execute(&run);
    cr_assert_eq(run.error.status, STATUS_OK, "%s", run.error.text);
    struct buf text = { 0 };
    run_history(&run.progress, &text);
    cr_assert_leq(text.len, MAX_JSON);
    buf_finish(&text);
    cr_assert_eq(run.progress.last.number, 3000);
}

Test(run, the_same_seed_gives_the_same_file)
{
    struct run again;
    add_table(100);
    run_init(&again);
    again.seed = run.seed;
    again.learner = run.learner;
    snprintf(again.dataset, sizeof again.dataset, "clouds");
    again.files[again.files_count++] = (struct run_file){ .path = mem_str(bytes_str(f.path)) };
    snprintf(again.files[0].name, sizeof again.files[0].name, "table.csv");
    snprintf(again.target, sizeof again.target, "kind");
    run_execute(&run);
    run_execute(&again);
    cr_assert(bytes_equal(buf_bytes(&run.onnx), buf_bytes(&again.onnx)));
    run_finish(&again);
}

Test(run, softmax_regression)
{
    add_table(300);
    set_params("{\"hidden\":[]}");
    run_execute(&run);
    cr_assert_eq(run.error.status, STATUS_OK, "%s", run.error.text);
    cr_assert_geq(metric("accuracy"), 0.95);
}

/* ---- what cannot be run ----------------------------------------------------------------- */

Test(run, a_set_without_files)
{
    assert_fails("0 files");
}

Test(run, a_set_with_two_tables)
{
    add_table(20);
    add_file("second.csv", f.path);
    assert_fails("2 files");
}

Test(run, a_table_without_a_target)
{
    add_table(20);
    run.target[0] = 0;
    assert_fails("\"target\"");
}

Test(run, a_target_that_is_no_column)
{
    add_table(20);
    snprintf(run.target, sizeof run.target, "species");
    assert_fails("species");
}

Test(run, a_table_that_is_too_small)
{
    fixture_write(&f, "table.csv", bytes_str("a,kind\n1,x\n2,y\n"));
    add_file("table.csv", f.path);
    snprintf(run.target, sizeof run.target, "kind");
    assert_fails("too few");
}

Test(run, bad_parameters)
{
    add_table(20);
    set_params("{\"epochs\":0}");
    assert_fails("\"epochs\"");
}

Test(run, an_incomplete_set_of_images)
{
    static const char *const names[] = { "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte",
                                         "t10k-images-idx3-ubyte.gz" };
    for (size_t i = 0; i < 3; i++)
        add_file(names[i], "/dev/null");
    assert_fails("t10k-labels-idx1-ubyte");
}

static void *execute(void *arg)
{
    run_execute(arg);
    return NULL;
}

Test(run, can_be_cancelled)
{
    pthread_t thread;
    add_table(3000);
    set_params("{\"epochs\":100000,\"patience\":0,\"hidden\":[64]}");
    cr_assert_eq(pthread_create(&thread, NULL, execute, &run), 0);
    bool going = false;
    while (!going) {
        uv_mutex_lock(&run.lock);
        going = run.progress.fraction > 0;
        uv_mutex_unlock(&run.lock);
    }
    atomic_store(&run.cancel, true);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(run.error.status, STATUS_CANCELLED);
    cr_assert_eq(run.onnx.len, 0);
}

/* One batch of this network takes a minute. */
Test(run, is_cancelled_within_a_batch)
{
    pthread_t thread;
    add_table(12000);
    set_params("{\"batch\":8192,\"patience\":0,\"hidden\":[4096,4096]}");
    cr_assert_eq(pthread_create(&thread, NULL, execute, &run), 0);
    bool going = false;
    while (!going) {
        uv_mutex_lock(&run.lock);
        going = run.progress.fraction > 0;
        uv_mutex_unlock(&run.lock);
    }
    uint64_t begin = clock_ms();
    atomic_store(&run.cancel, true);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(run.error.status, STATUS_CANCELLED);
    cr_assert_leq(clock_ms() - begin, 2000); /* one second, on a machine that others use too */
    cr_assert_lt(run.progress.fraction, 0.01);
}

/* 132,000 held-out rows of 4096 classes: 2 GiB of probabilities. */
Test(run, a_table_with_too_many_rows_of_too_many_classes)
{
    struct buf text = { 0 };
    buf_append_str(&text, "a,kind\n");
    for (unsigned i = 0; i < 660000; i++)
        buf_printf(&text, "%u,%u\n", i % 3, i % 4096);
    fixture_write(&f, "table.csv", buf_bytes(&text));
    buf_finish(&text);
    add_file("table.csv", f.path);
    snprintf(run.target, sizeof run.target, "kind");
    set_params("{\"task\":\"classification\"}");
    run_execute(&run);
    cr_assert_eq(run.error.status, STATUS_TOO_LARGE, "%s", run.error.text);
}

/* ---- images ----------------------------------------------------------------------------- */

static void put_u32(struct buf *b, uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8) {
        unsigned char byte = (unsigned char)(value >> shift);
        buf_append(b, &byte, 1);
    }
}

/* Images of 4 x 4 pixels whose row `label` is bright. */
static void add_images(const char *images_name, const char *labels_name, uint32_t count,
                       uint32_t classes)
{
    struct buf images = { 0 }, labels = { 0 };
    struct random r = { .state = count };
    put_u32(&images, 0x803);
    put_u32(&images, count);
    put_u32(&images, 4);
    put_u32(&images, 4);
    put_u32(&labels, 0x801);
    put_u32(&labels, count);
    for (uint32_t i = 0; i < count; i++) {
        unsigned char label = (unsigned char)(i % classes);
        for (uint32_t k = 0; k < 16; k++) {
            unsigned char dark = (unsigned char)(random_u64(&r) % 100);
            unsigned char pixel = k / 4 == label ? (unsigned char)(255 - dark) : dark;
            buf_append(&images, &pixel, 1);
        }
        buf_append(&labels, &label, 1);
    }
    fixture_write_gz(&f, images_name, buf_bytes(&images), 0);
    add_file(images_name, f.path);
    fixture_write(&f, labels_name, buf_bytes(&labels));
    add_file(labels_name, f.path);
    buf_finish(&images);
    buf_finish(&labels);
}

Test(run, images_become_a_model)
{
    add_images("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte", 600, 4);
    add_images("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte", 100, 4);
    run_execute(&run);
    cr_assert_eq(run.error.status, STATUS_OK, "%s", run.error.text);
    cr_assert_eq(metric("rows"), 100);
    cr_assert_geq(metric("accuracy"), 0.95);
}

Test(run, a_test_set_may_lack_a_class)
{
    add_images("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte", 600, 4);
    add_images("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte", 100, 2);
    run_execute(&run);
    cr_assert_eq(run.error.status, STATUS_OK, "%s", run.error.text);
}

Test(run, a_test_set_may_have_no_other_class)
{
    add_images("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte", 600, 2);
    add_images("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte", 100, 4);
    assert_fails("labels");
}

/* Labels that are all 5: there are six classes, but nothing to learn. */
Test(run, images_of_one_class)
{
    static const char labels[] = "\0\0\10\1\0\0\0\3\5\5\5";
    add_images("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte", 3, 2);
    fixture_write(&f, "train-labels-idx1-ubyte", bytes_of(labels, sizeof labels - 1));
    add_images("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte", 3, 2);
    assert_fails("train-labels-idx1-ubyte: there is only one class");
}

Test(run, errors_name_the_file_of_the_data_set)
{
    add_images("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte", 60, 2);
    fixture_write(&f, "0123456789abcdef", bytes_str("garbage"));
    add_file("t10k-images-idx3-ubyte", f.path);
    add_file("t10k-labels-idx1-ubyte", f.path);
    assert_fails("t10k-images-idx3-ubyte: it begins with");
}

Test(run, a_network_that_is_too_large)
{
    add_table(300);
    set_params("{\"hidden\":[16384,16384,16384,16384,16384,16384,16384,16384]}");
    run_execute(&run);
    cr_assert_eq(run.error.status, STATUS_TOO_LARGE);
}

/* ---- memory ----------------------------------------------------------------------------- */

static void assert_no_room(uint64_t bytes, const char *says)
{
    run.memory_bytes = bytes;
    run_execute(&run);
    cr_assert_eq(run.error.status, STATUS_TOO_LARGE, "%s", status_name(run.error.status));
    cr_assert_not_null(strstr(run.error.text, says), "\"%s\" does not say \"%s\"", run.error.text,
                       says);
    cr_assert_not_null(strstr(run.error.text, "--memory-bytes"));
    cr_assert_eq(run.progress.history_count, 0);
}

/* As soon as the first pass over the file has seen so many rows. */
Test(run, a_table_for_which_there_is_no_memory)
{
    add_table(300);
    assert_no_room(300 * 5 * 4 - 1, "table.csv: 300 rows of 5 columns take 0 MiB");
}

/* Words become more features than there are columns. */
Test(run, features_for_which_there_is_no_memory)
{
    struct buf text = { 0 };
    buf_append_str(&text, "word,kind\n");
    for (int i = 0; i < 8000; i++)
        buf_printf(&text, "w%d,%c\n", i % 64, 'a' + i % 2);
    fixture_write(&f, "table.csv", buf_bytes(&text));
    buf_finish(&text);
    add_file("table.csv", f.path);
    snprintf(run.target, sizeof run.target, "kind");
    assert_no_room(1 << 20, "table.csv: 8000 rows of 65 columns take 2 MiB of memory");
}

Test(run, images_for_which_there_is_no_memory)
{
    add_images("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte", 600, 4);
    add_images("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte", 100, 4);
    assert_no_room(600 * 16 - 1, "train-images-idx3-ubyte.gz: 600 rows of 16 columns");
}

Test(run, a_learner_for_which_there_is_no_memory)
{
    add_table(300);
    set_params("{\"hidden\":[1024,1024]}");
    assert_no_room(4 << 20, "300 rows of 4 features take 0 MiB of memory, and 'mlp' about");
}

Test(run, a_damaged_file_of_the_cache_is_removed)
{
    add_table(60);
    run.files[0].has_digest = true;
    digest_of(bytes_str("other bytes"), &run.files[0].digest);
    run_execute(&run);
    cr_assert_eq(run.error.status, STATUS_CORRUPT);
    cr_assert_neq(access(run.files[0].path, F_OK), 0);
}

static const char *string_at(yyjson_val *root, const char *pointer)
{
    const char *text = yyjson_get_str(yyjson_ptr_get(root, pointer));
    return text ? text : "";
}

Test(run, its_lineage_is_enough_to_train_it_again)
{
    struct buf text = { 0 };
    struct digest digest;
    char hex[DIGEST_HEX_SIZE], line[128];
    add_table(60);
    set_params("{\"epochs\":3}");
    run_execute(&run);
    run_lineage(&run, "t1", &text);
    yyjson_doc *doc = yyjson_read((const char *)text.data, text.len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    cr_assert_str_eq(string_at(root, "/training"), "t1");
    cr_assert_str_eq(string_at(root, "/dataset"), "clouds");
    cr_assert_str_eq(string_at(root, "/target"), "kind");
    cr_assert_str_eq(string_at(root, "/learner"), "mlp");
    cr_assert_eq(yyjson_get_uint(yyjson_obj_get(root, "seed")), 1);
    digest_hex(&run.files[0].digest, hex);
    cr_assert_str_eq(string_at(root, "/files/table.csv"), hex);
    snprintf(line, sizeof line, "%s  table.csv\n", hex);
    digest_of(bytes_str(line), &digest);
    digest_hex(&digest, hex);
    cr_assert_str_eq(string_at(root, "/dataset_digest"), hex);
    cr_assert_eq(yyjson_get_uint(yyjson_ptr_get(root, "/rows/test")), 12);
    cr_assert_eq(yyjson_arr_size(yyjson_ptr_get(root, "/data/inputs")), 4);
    cr_assert_str_eq(string_at(root, "/data/inputs/3/column"), "four");
    cr_assert_str_eq(string_at(root, "/params/scale"), "standard");
    cr_assert_eq(yyjson_get_uint(yyjson_ptr_get(root, "/rows/validation")), 5);
    cr_assert_eq(yyjson_get_uint(yyjson_ptr_get(root, "/rows/train")), 43);
    cr_assert_eq(yyjson_get_uint(yyjson_ptr_get(root, "/params/epochs")), 3);
    cr_assert_eq(yyjson_get_uint(yyjson_ptr_get(root, "/params/hidden/0")), 64);
    cr_assert_eq(yyjson_get_uint(yyjson_ptr_get(root, "/params/batch")), 16);
    cr_assert_eq(yyjson_get_real(yyjson_ptr_get(root, "/params/lr")), 0.05);
    cr_assert_eq(yyjson_get_real(yyjson_ptr_get(root, "/params/test")), 0.2);
    yyjson_doc_free(doc);
    buf_finish(&text);
}

/* A digest of a set does not depend on the order in which its files are listed. */
Test(run, a_set_of_files_has_one_digest)
{
    struct digest one, other;
    add_file("a", "/dev/null");
    add_file("b", "/dev/null");
    run.files[1].digest.byte[0] = 1;
    run_dataset_digest(&run, &one);
    struct run_file first = run.files[0];
    run.files[0] = run.files[1];
    run.files[1] = first;
    run_dataset_digest(&run, &other);
    cr_assert(digest_equal(&one, &other));
    run.files[0].digest.byte[0] = 2;
    run_dataset_digest(&run, &other);
    cr_assert(!digest_equal(&one, &other));
}

static const char *note(const Onnx__ModelProto *model, const char *key)
{
    for (size_t i = 0; i < model->n_metadata_props; i++)
        if (strcmp(model->metadata_props[i]->key, key) == 0)
            return model->metadata_props[i]->value;
    return "";
}

Test(run, the_file_says_where_it_comes_from)
{
    struct digest digest;
    char hex[DIGEST_HEX_SIZE];
    fixture_write(&f, "table.csv",
                  bytes_str("a,kind\n1,\"Grün \"\"x\"\"\"\n2,b\\\n3,b\\\n4,b\\\n5,b\\\n"));
    add_file("table.csv", f.path);
    snprintf(run.target, sizeof run.target, "kind");
    run.seed = UINT64_MAX;
    run_execute(&run);
    cr_assert_eq(run.error.status, STATUS_OK, "%s", run.error.text);
    Onnx__ModelProto *model = onnx__model_proto__unpack(NULL, run.onnx.len, run.onnx.data);
    cr_assert_not_null(model);
    cr_assert_str_eq(note(model, "classes"), "[\"Grün \\\"x\\\"\",\"b\\\\\"]");
    cr_assert_str_eq(note(model, "learner"), "mlp");
    cr_assert_str_eq(note(model, "seed"), "18446744073709551615");
    cr_assert_str_eq(note(model, "dataset"), "clouds");
    run_dataset_digest(&run, &digest);
    digest_hex(&digest, hex);
    cr_assert_str_eq(note(model, "dataset_digest"), hex);
    onnx__model_proto__free_unpacked(model, NULL);
}

Test(run, fashion_mnist)
{
    if (!getenv("MAAS_FULL"))
        cr_skip_test("only with MAAS_FULL=1: it trains on all of Fashion-MNIST");
    struct table test;
    char command[512];
    add_file("train-images-idx3-ubyte.gz", FASHION "train-images-idx3-ubyte.gz");
    add_file("train-labels-idx1-ubyte.gz", FASHION "train-labels-idx1-ubyte.gz");
    add_file("t10k-images-idx3-ubyte.gz", FASHION "t10k-images-idx3-ubyte.gz");
    add_file("t10k-labels-idx1-ubyte.gz", FASHION "t10k-labels-idx1-ubyte.gz");
    run_execute(&run);
    cr_assert_eq(run.error.status, STATUS_OK, "%s", run.error.text);
    cr_log_info("%.1f s, accuracy %.4f, %u epochs", run.seconds, metric("accuracy"),
                run.progress.last.number);
    cr_assert_geq(metric("accuracy"), 0.88);
    cr_assert_leq(run.seconds, 60);
    const struct source_file images = { "images", run.files[2].path, NULL, 0 };
    const struct source_file labels = { "labels", run.files[3].path, NULL, 0 };
    cr_assert_eq(idx_read(&images, &labels, &test, &run.error), STATUS_OK);
    fixture_write(&f, "model.onnx", buf_bytes(&run.onnx));
    uint32_t *rows = mem_alloc(test.rows * sizeof *rows);
    float *x = mem_alloc(test.rows * test.features * sizeof *x);
    for (size_t i = 0; i < test.rows; i++)
        rows[i] = (uint32_t)i;
    table_rows(&test, rows, test.rows, x);
    fixture_write(&f, "inputs", bytes_of(x, test.rows * test.features * sizeof *x));
    fixture_write(&f, "probabilities", buf_bytes(&run.predictions));
    free(rows);
    free(x);
    table_finish(&test);
    snprintf(command, sizeof command,
             "cd %s && python3 -W ignore \"$OLDPWD\"/tests/unit/trainer/compare_onnx.py model.onnx "
             "inputs probabilities 2>messages",
             f.dir);
    cr_assert_eq(system(command), 0);
}

/* A checkpoint that no learner can read is dropped, and the run is as if there had been none. */
Test(run, a_checkpoint_of_something_else_is_no_harm)
{
    add_table(300);
    fixture_write(&f, "state", bytes_str("nonsense"));
    run.resume_path = mem_str(bytes_str(f.path));
    digest_of(bytes_str("nonsense"), &run.resume_digest);
    run_take_history(&run,
                     bytes_str("[{\"epoch\":7,\"train_loss\":0.5,\"validation_loss\":null}]"));
    cr_assert_eq(run.progress.history_count, 1);
    run_execute(&run);
    cr_assert_eq(run.error.status, STATUS_OK, "%s", run.error.text);
    cr_assert(run.refused[0]);
    cr_assert_eq(run.progress.history[0].number, 1);
    cr_assert_eq(access(run.resume_path, F_OK), -1);
}

Test(run, a_run_that_goes_on_makes_the_same_model)
{
    struct buf first = { 0 }, history = { 0 }, again = { 0 };
    add_table(3000);
    set_params("{\"epochs\":30,\"patience\":0,\"hidden\":[8]}");
    run_execute(&run);
    cr_assert_eq(run.error.status, STATUS_OK, "%s", run.error.text);
    cr_assert_gt(run.state.len, 0);
    buf_append_bytes(&first, buf_bytes(&run.onnx));
    run_history(&run.progress, &history);
    fixture_write(&f, "state", buf_bytes(&run.state));
    digest_of(buf_bytes(&run.state), &run.resume_digest);
    run.progress = run.state_progress;
    size_t behind = run.progress.history_count;
    cr_assert(behind && behind < 30);
    while (run.made_count)
        buf_finish(&run.made[--run.made_count].data);
    run.onnx.len = run.predictions.len = run.metrics.len = 0;
    run.resume_path = mem_str(bytes_str(f.path));
    run_execute(&run);
    cr_assert_eq(run.error.status, STATUS_OK, "%s", run.error.text);
    cr_assert_str_eq(run.refused, "");
    run_history(&run.progress, &again);
    cr_assert_str_eq(buf_cstr(&again), buf_cstr(&history));
    cr_assert(bytes_equal(buf_bytes(&run.onnx), buf_bytes(&first)));
    buf_finish(&first);
    buf_finish(&again);
    buf_finish(&history);
}
