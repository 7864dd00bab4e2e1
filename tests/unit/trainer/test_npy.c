/* test_npy.c - arrays of NumPy, whole and broken; NumPy itself writes those of the first tests. */
#include "services/trainer/data/load.h"
#include "services/trainer/data/npy.h"
#include "tests/unit/trainer/fixture.h"

#include <criterion/parameterized.h>

static struct fixture f;
static struct npy a;
static struct data d;
static struct data_params params;
static struct error err;

static void init(void)
{
    fixture_init(&f);
    params = data_defaults;
}

static void finish(void)
{
    npy_finish(&a);
    data_finish(&d);
    fixture_finish(&f);
}

TestSuite(npy, .init = init, .fini = finish);

/* Runs Python in the test's folder, with numpy as np. */
static void python(const char *code)
{
    char command[1024];
    snprintf(command, sizeof command, "cd %s && python3 -c 'import numpy as np; %s'", f.dir, code);
    cr_assert_eq(system(command), 0);
}

static enum status read_array(const char *name, const char *member)
{
    const struct source_file file = { name, fixture_path(&f, name), NULL, 0 };
    npy_finish(&a);
    return npy_read(&(struct npy_file){ &file, member }, &a, &err);
}

Test(npy, every_type_of_numbers)
{
    static const char *const types[] = { "f4", "f8", "u1", "i1", "?",  "i2",
                                         "u2", "i4", "u4", "i8", "u8", "f4" };
    python("[np.save(t, (np.arange(6).reshape(2, 3) % 2).astype(t)) for t in "
           "\"f4 f8 u1 i1 ? i2 u2 i4 u4 i8 u8\".split()]");
    for (size_t i = 0; i + 1 < sizeof types / sizeof *types; i++) {
        char name[16];
        snprintf(name, sizeof name, "%s.npy", types[i]);
        cr_assert_eq(read_array(name, NULL), STATUS_OK, "%s", err.text);
        cr_assert_eq(a.rank, 2);
        cr_assert_eq(a.dims[0] * 10 + a.dims[1], 23);
        cr_assert_arr_eq(a.data, ((float[]){ 0, 1, 0, 1, 0, 1 }), 6 * sizeof(float), "%s", name);
        cr_assert_eq(a.whole, i > 1);
    }
}

Test(npy, archives_are_read)
{
    python(
        "x = np.arange(100000, dtype=\"f4\").reshape(-1, 10); np.savez_compressed(\"z.npz\", x=x, "
        "y=x[:, 0]); np.savez(\"s.npz\", x=x)");
    cr_assert_eq(read_array("z.npz", "x.npy"), STATUS_OK, "%s", err.text);
    cr_assert_eq(a.data[99999], 99999.0f);
    cr_assert_eq(read_array("s.npz", "x.npy"), STATUS_OK, "%s", err.text);
    cr_assert_eq(a.data[99999], 99999.0f);
    cr_assert_eq(read_array("s.npz", "y.npy"), STATUS_NOT_FOUND);
    cr_assert_not_null(strstr(err.text, "s.npz, y.npy: it has no array"), "%s", err.text);
}

static enum status load(const char *const *names, size_t count)
{
    struct source_file files[4];
    char paths[4][FIXTURE_PATH];
    for (size_t i = 0; i < count; i++) {
        snprintf(paths[i], sizeof paths[i], "%s", fixture_path(&f, names[i]));
        files[i] = (struct source_file){ names[i], paths[i], NULL, 0 };
    }
    const struct data_request request = { .files = files,
                                          .files_count = count,
                                          .target = "",
                                          .params = &params,
                                          .shares = { .test = 0.2, .validation = 0.1 },
                                          .seed = 3 };
    data_finish(&d);
    return data_load(&request, &d, &err);
}

Test(npy, files_become_rows_to_learn_from)
{
    python("x = np.arange(300.).reshape(100, 3); np.save(\"x.npy\", x); np.save(\"y.npy\", "
           "np.arange(100) % 4 * 3); np.save(\"v.npy\", np.stack([x[:, 0], x[:, 1]], 1))");
    cr_assert_eq(load((const char *const[]){ "x.npy", "y.npy" }, 2), STATUS_OK, "%s", err.text);
    cr_assert_eq(d.train.rows, 100);
    cr_assert_eq(d.test.rows, 20);
    cr_assert_eq(d.train.classes_count, 4);
    cr_assert_str_eq(d.train.classes[3], "9");
    cr_assert_eq(d.train.y[3], 3);
    cr_assert_eq(d.test.x[0], (float)d.split.rows[0] * 3);
    python("import os; os.replace(\"v.npy\", \"y.npy\")");
    cr_assert_eq(load((const char *const[]){ "x.npy", "y.npy" }, 2), STATUS_OK, "%s", err.text);
    cr_assert_eq(d.train.outputs, 2);
    cr_assert_eq(d.test.values[1], (float)d.split.rows[0] * 3 + 1);
}

Test(npy, images_in_an_archive_with_a_test_set)
{
    python("x = np.arange(48, dtype=\"u1\").reshape(4, 2, 2, 3); np.savez_compressed(\"m.npz\", "
           "x_train=x, y_train=[0, 1, 0, 1], x_test=x[:1], y_test=np.array([1]))");
    cr_assert_eq(load((const char *const[]){ "m.npz" }, 1), STATUS_OK, "%s", err.text);
    cr_assert_eq(d.train.image.channels, 3);
    cr_assert_eq(d.train.image.height, 2);
    cr_assert_arr_eq(d.train.x, ((float[]){ 0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11 }), 12 * 4);
    cr_assert(d.own_test);
    cr_assert_eq(d.test.rows, 1);
    cr_assert_eq(d.test.y[0], 1);
    cr_assert_eq(d.split.test, 0);
}

struct bad {
    char code[160];
    char says[64];
};

ParameterizedTestParameters(npy, bad_arrays_are_refused)
{
    static struct bad arrays[] = {
        { "x = np.ones((4, 2)); x[2, 1] = np.nan", "x, row 3, column 2: nan is not a number" },
        { "x = np.ones((4, 2)) * 1e300", "x, row 1, column 1: inf is not a number" },
        { "x = np.array([\"a\", \"b\"])", "only numbers in little endian" },
        { "x = np.ones((4, 2), dtype=\">f4\")", "only numbers in little endian" },
        { "x = np.asfortranarray(np.ones((4, 2)))", "columns first" },
        { "x = np.ones((2, 1, 1, 1, 1))", "more than 4 dimensions" },
        { "x = np.ones((0, 2))", "no numbers" },
        { "x = np.ones(4)", "one dimension" },
        { "x = np.ones((3, 2))", "y has 4 rows, x has 3" },
        { "x = np.ones((4, 2)); y = y * 0", "only one class" },
    };
    return cr_make_param_array(struct bad, arrays, sizeof arrays / sizeof *arrays);
}

ParameterizedTest(struct bad *bad, npy, bad_arrays_are_refused, .init = init, .fini = finish)
{
    char code[512];
    snprintf(code, sizeof code,
             "y = np.array([0, 1, 0, 1]); %s; np.save(\"x.npy\", x); np.save(\"y.npy\", y)",
             bad->code);
    python(code);
    enum status st = load((const char *const[]){ "x.npy", "y.npy" }, 2);
    cr_assert(st == STATUS_INVALID || st == STATUS_TOO_LARGE);
    cr_assert_not_null(strstr(err.text, bad->says), "\"%s\" does not say \"%s\"", err.text,
                       bad->says);
}

Test(npy, files_may_be_cut_off_anywhere)
{
    static const char header[] = "\x93NUMPY\1\0\x46\0{'descr': '<f4', 'fortran_order': False, "
                                 "'shape': (2, 1), }          \n";
    char whole[sizeof header - 1 + 8] = { 0 };
    memcpy(whole, header, sizeof header - 1);
    for (size_t len = 0; len < sizeof whole; len++) {
        fixture_write(&f, "x.npy", bytes_of(whole, len));
        cr_assert_eq(read_array("x.npy", NULL), STATUS_INVALID, "%zu bytes", len);
    }
    fixture_write(&f, "x.npy", bytes_of(whole, sizeof whole));
    cr_assert_eq(read_array("x.npy", NULL), STATUS_OK, "%s", err.text);
}
