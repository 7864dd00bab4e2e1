/* test_runtime_onnx.c - ONNX Runtime behind the vtable: signatures, every kind of tensor, and
 * its refusals as status and sentence. */
#include "services/worker/runtime.h"
#include "tests/unit/tsan.h"
#include "tests/unit/worker/onnx_bytes.h"

#include <fcntl.h>

static const struct runtime_options options = { .threads = 1 };
static const int64_t row[] = { ANY, 2 };

static void *model;
static struct signature signature;
static struct tensor_out out[MAX_TENSORS];
static size_t out_count;
static struct error err;

static void finish(void)
{
    while (out_count)
        frame_finish(&out[--out_count].data);
    if (model)
        runtime_onnx.unload(model);
    model = NULL;
}

TestSuite(runtime_onnx, .fini = finish);

static enum status load(struct buf *bytes)
{
    char path[32];
    onnx_file(bytes, path);
    enum status st = runtime_onnx.load(path, &options, &model, &signature, &err);
    unlink(path);
    return st;
}

static void load_unary(const char *op, bool twice, int type, const int64_t *dims, size_t rank)
{
    struct buf bytes = onnx_unary(op, twice, type, dims, rank);
    enum status st = load(&bytes);
    cr_assert_eq(st, STATUS_OK, "%s", err.text);
}

static enum status run(enum datatype type, const int64_t *shape, size_t rank, struct bytes data)
{
    struct tensor_in in = { type, shape, rank, data };
    return runtime_onnx.run(model, &in, 1, out, &out_count, &err);
}

/* Identity must give back type, shape and bytes. */
static void expect_same(enum datatype type, const int64_t *shape, size_t rank, struct bytes data)
{
    enum status st = run(type, shape, rank, data);
    cr_assert_eq(st, STATUS_OK, "%s", err.text);
    cr_assert_eq(out_count, 1);
    cr_expect_eq(out[0].type, type);
    cr_expect_eq(out[0].rank, rank);
    cr_expect(rank == 0 || memcmp(out[0].shape, shape, rank * sizeof *shape) == 0);
    cr_expect(bytes_equal(frame_bytes(&out[0].data), data));
    frame_finish(&out[--out_count].data);
}

Test(runtime_onnx, signature_and_batch)
{
    load_unary("Identity", false, ONNX_FLOAT, row, 2);
    cr_expect_eq(signature.inputs_count, 1);
    cr_expect_eq(signature.outputs_count, 1);
    cr_expect(bytes_equal_str(signature.inputs[0].name, "x"));
    cr_expect_eq(signature.inputs[0].datatype, DT_FP32);
    cr_expect_eq(signature.inputs[0].shape.count, 2);
    cr_expect_eq(signature.inputs[0].shape.at[0], -1);
    cr_expect_eq(signature.inputs[0].shape.at[1], 2);
    cr_expect(signature.batchable);
}

Test(runtime_onnx, fixed_rows_are_not_batched)
{
    load_unary("Identity", false, ONNX_FLOAT, (int64_t[]){ 1, 2 }, 2);
    cr_expect_not(signature.batchable);
}

Test(runtime_onnx, runs)
{
    load_unary("Add", true, ONNX_FLOAT, row, 2);
    const float x[] = { 1, 2, 3, 4, 5, 6 };
    enum status st = run(DT_FP32, (int64_t[]){ 3, 2 }, 2, bytes_of(x, sizeof x));
    cr_assert_eq(st, STATUS_OK, "%s", err.text);
    const float *y = frame_bytes(&out[0].data).data;
    for (int i = 0; i < 6; i++)
        cr_expect_float_eq(y[i], 2 * x[i], 0);
}

Test(runtime_onnx, half_floats_bools_and_doubles_go_round)
{
    static const struct {
        int onnx;
        enum datatype type;
    } kinds[] = { { ONNX_FLOAT16, DT_FP16 }, { ONNX_BFLOAT16, DT_BF16 }, { ONNX_BOOL, DT_BOOL },
                  { ONNX_DOUBLE, DT_FP64 },  { ONNX_INT64, DT_INT64 },   { ONNX_UINT8, DT_UINT8 } };
    static const _Alignas(8) unsigned char data[16] = { 1, 0, 1, 1, 0, 0, 1, 1, 1 };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        load_unary("Identity", false, kinds[i].onnx, row, 2);
        expect_same(kinds[i].type, (int64_t[]){ 1, 2 }, 2,
                    bytes_of(data, 2 * datatype_size(kinds[i].type)));
        finish();
    }
}

Test(runtime_onnx, scalars_and_tensors_without_elements)
{
    const float x = 1.5f;
    load_unary("Identity", false, ONNX_FLOAT, NULL, 0);
    cr_expect_not(signature.batchable);
    expect_same(DT_FP32, NULL, 0, bytes_of(&x, sizeof x));
    finish();
    load_unary("Identity", false, ONNX_FLOAT, row, 2);
    expect_same(DT_FP32, (int64_t[]){ 0, 2 }, 2, bytes_of(NULL, 0));
    expect_same(DT_FP32, (int64_t[]){ 0, 2 }, 2, bytes_of(&x, 0));
    finish();
    load_unary("Identity", false, ONNX_STRING, row, 2);
    expect_same(DT_BYTES, (int64_t[]){ 0, 2 }, 2, bytes_of(&x, 0));
}

Test(runtime_onnx, strings_keep_every_byte)
{
    static const char data[] = "\4\0\0\0a\0b\xff\0\0\0\0"; /* with a NUL inside; empty */
    load_unary("Identity", false, ONNX_STRING, row, 2);
    expect_same(DT_BYTES, (int64_t[]){ 1, 2 }, 2, bytes_of(data, sizeof data - 1));
}

Test(runtime_onnx, input_that_is_not_aligned)
{
    _Alignas(8) unsigned char memory[1 + 64 * sizeof(float)];
    float x[64];
    for (int i = 0; i < 64; i++)
        x[i] = (float)i;
    memcpy(memory + 1, x, sizeof x);
    load_unary("Add", true, ONNX_FLOAT, row, 2);
    enum status st = run(DT_FP32, (int64_t[]){ 32, 2 }, 2, bytes_of(memory + 1, sizeof x));
    cr_assert_eq(st, STATUS_OK, "%s", err.text);
    const float *y = frame_bytes(&out[0].data).data;
    for (int i = 0; i < 64; i++)
        cr_expect_float_eq(y[i], 2 * x[i], 0);
}

/* A large output is lent to its frame: it must outlive the model. */
Test(runtime_onnx, large_output_outlives_the_model)
{
    const size_t n = 1 << 18;
    float *x = mem_zalloc(n * sizeof *x);
    x[n - 1] = 21;
    load_unary("Add", true, ONNX_FLOAT, row, 2);
    enum status st = run(DT_FP32, (int64_t[]){ n / 2, 2 }, 2, bytes_of(x, n * sizeof *x));
    cr_assert_eq(st, STATUS_OK, "%s", err.text);
    runtime_onnx.unload(model);
    model = NULL;
    const float *y = frame_bytes(&out[0].data).data;
    cr_expect_float_eq(y[n - 1], 42, 0);
    free(x);
}

Test(runtime_onnx, a_run_that_fails_leaves_nothing_and_the_model_lives)
{
    struct buf graph = { 0 }, bytes;
    const float x[] = { 1, 2, 3, 4, 5, 6 };
    put_node(&graph, "MatMul", "x", "x", "y"); /* fits squares only */
    put_value(&graph, 11, "x", ONNX_FLOAT, (int64_t[]){ ANY, ANY }, 2);
    put_value(&graph, 12, "y", ONNX_FLOAT, (int64_t[]){ ANY, ANY }, 2);
    bytes = onnx_model(&graph);
    enum status st = load(&bytes);
    cr_assert_eq(st, STATUS_OK, "%s", err.text);
    st = run(DT_FP32, (int64_t[]){ 3, 2 }, 2, bytes_of(x, sizeof x));
    cr_expect_neq(st, STATUS_OK);
    cr_expect_eq(out_count, 0);
    cr_expect_gt(strlen(err.text), 0);
    st = run(DT_FP32, (int64_t[]){ 2, 2 }, 2, bytes_of(x, 4 * sizeof *x));
    cr_expect_eq(st, STATUS_OK);
}

Test(runtime_onnx, refusals_are_sentences)
{
    struct buf graph = { 0 }, bytes = { 0 };
    buf_append_str(&bytes, "this is no ONNX file");
    cr_expect_eq(load(&bytes), STATUS_INVALID);
    cr_expect_not_null(strstr(err.text, "protobuf parsing failed"));

    put_node(&graph, "NoSuchOperator", "x", NULL, "y");
    put_value(&graph, 11, "x", ONNX_FLOAT, row, 2);
    put_value(&graph, 12, "y", ONNX_FLOAT, row, 2);
    bytes = onnx_model(&graph);
    cr_expect_neq(load(&bytes), STATUS_OK);
    cr_expect_not_null(strstr(err.text, "NoSuchOperator"), "%s", err.text);

    bytes = onnx_unary("Identity", false, ONNX_COMPLEX64, row, 2);
    cr_expect_neq(load(&bytes), STATUS_OK);

    graph = (struct buf){ 0 };
    put_node(&graph, "SequenceConstruct", "x", NULL, "y");
    put_value(&graph, 11, "x", ONNX_FLOAT, row, 2);
    put_sequence(&graph, 12, "y", ONNX_FLOAT);
    bytes = onnx_model(&graph);
    cr_expect_eq(load(&bytes), STATUS_UNSUPPORTED);
    cr_expect_not_null(strstr(err.text, "only tensors"), "%s", err.text);

    cr_expect_neq(runtime_onnx.load("/nowhere", &options, &model, &signature, &err), STATUS_OK);
    cr_expect_null(model);
}

/* The data of another file must not be served, whatever ONNX Runtime would do. */
Test(runtime_onnx, other_files_are_not_read)
{
    struct buf graph = { 0 }, bytes;
    put_node(&graph, "Identity", "w", NULL, "y");
    put_external(&graph, 5, "w", "/etc/passwd");
    put_value(&graph, 12, "y", ONNX_UINT8, (int64_t[]){ 1 }, 1);
    bytes = onnx_model(&graph);
    cr_expect_eq(load(&bytes), STATUS_UNSUPPORTED);
    cr_expect_not_null(strstr(err.text, "none of the version"), "%s", err.text);
    cr_expect_null(model);
}

/* The library's greeting is turned aside, and stderr is there again afterwards. */
Test(runtime_onnx, stderr_stays_readable)
{
    char path[] = "/tmp/maas-stderr-XXXXXX", text[256];
    int file = mkstemp(path), saved = dup(STDERR_FILENO);
    dup2(file, STDERR_FILENO);
    struct buf bytes = onnx_unary("Identity", false, ONNX_FLOAT, row, 2);
    enum status st = load(&bytes);
    fputs("after", stderr);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    ssize_t n = pread(file, text, sizeof text, 0);
    unlink(path);
    close(file);
    close(saved);
    cr_assert_eq(st, STATUS_OK, "%s", err.text);
    cr_expect(n == 5 && memcmp(text, "after", 5) == 0, "%zd bytes", n);
}
