/* test_onnx_scan.c - no model reaches data outside its own bytes, however it hides the wish. */
#include "services/worker/onnx_scan.h"
#include "tests/unit/tsan.h"
#include "tests/unit/worker/onnx_bytes.h"

static const int64_t row[] = { ANY, 2 };

static void expect(struct buf *model, enum status want)
{
    struct error err = { .status = STATUS_OK };
    enum status st = onnx_scan(buf_bytes(model), NULL, NULL, 0, &err);
    cr_expect_eq(st, want, "%s: %s", status_name(st), err.text);
    buf_finish(model);
}

/* A graph with one external initializer. */
static struct buf external_graph(void)
{
    struct buf graph = { 0 };
    put_external(&graph, 5, "w", "/etc/passwd");
    return graph;
}

static struct buf wrap(unsigned field, struct buf inner)
{
    struct buf outer = { 0 };
    put_message(&outer, field, &inner);
    return outer;
}

Test(onnx_scan, whole_models_pass)
{
    struct buf model = onnx_unary("Identity", false, ONNX_FLOAT, row, 2);
    expect(&model, STATUS_OK);
    model = (struct buf){ 0 };
    expect(&model, STATUS_OK); /* the library will say what an empty file lacks */
}

Test(onnx_scan, external_initializer)
{
    struct buf graph = external_graph(), model = onnx_model(&graph);
    expect(&model, STATUS_UNSUPPORTED);
}

Test(onnx_scan, external_data_in_every_place_that_holds_tensors)
{
    struct buf model, sparse = { 0 }, tensors = { 0 }, tensor = { 0 };

    model = wrap(7, wrap(1, wrap(5, wrap(6, external_graph())))); /* branch of an If */
    expect(&model, STATUS_UNSUPPORTED);
    model = wrap(7, wrap(1, wrap(5, wrap(11, external_graph())))); /* list of graphs */
    expect(&model, STATUS_UNSUPPORTED);
    model = wrap(20, wrap(1, external_graph())); /* training: initialization */
    expect(&model, STATUS_UNSUPPORTED);
    model = wrap(20, wrap(2, external_graph())); /* training: algorithm */
    expect(&model, STATUS_UNSUPPORTED);
    model = wrap(25, wrap(7, wrap(5, wrap(6, external_graph())))); /* node of a function */
    expect(&model, STATUS_UNSUPPORTED);
    put_external(&tensor, 5, "w", "x");
    model = wrap(25, wrap(11, tensor)); /* default attribute of a function */
    expect(&model, STATUS_UNSUPPORTED);
    tensor = (struct buf){ 0 };
    put_external(&tensor, 5, "w", "x");
    model = wrap(7, wrap(1, wrap(5, tensor))); /* Constant */
    expect(&model, STATUS_UNSUPPORTED);
    put_external(&tensors, 10, "w", "x");
    model = wrap(7, wrap(1, wrap(5, tensors)));
    expect(&model, STATUS_UNSUPPORTED);
    put_external(&sparse, 1, "w", "x");
    model = wrap(7, wrap(15, sparse));
    expect(&model, STATUS_UNSUPPORTED);
    sparse = (struct buf){ 0 };
    put_external(&sparse, 2, "w", "x"); /* the indices */
    model = wrap(7, wrap(1, wrap(5, wrap(22, sparse))));
    expect(&model, STATUS_UNSUPPORTED);
    sparse = (struct buf){ 0 };
    put_external(&sparse, 1, "w", "x");
    model = wrap(7, wrap(1, wrap(5, wrap(23, sparse))));
    expect(&model, STATUS_UNSUPPORTED);
}

Test(onnx_scan, a_second_graph_is_merged_by_readers_and_walked)
{
    struct buf graph = { 0 }, more = external_graph();
    struct buf model = onnx_model(&graph);
    put_message(&model, 7, &more);
    expect(&model, STATUS_UNSUPPORTED);
}

Test(onnx_scan, the_location_alone_is_enough)
{
    struct buf tensor = { 0 }, model;
    put_number(&tensor, 14, 0); /* in this file */
    model = wrap(7, wrap(5, tensor));
    expect(&model, STATUS_OK);
    tensor = (struct buf){ 0 };
    put_number(&tensor, 14, 1);
    model = wrap(7, wrap(5, tensor));
    expect(&model, STATUS_UNSUPPORTED);
    tensor = (struct buf){ 0 };
    put_bytes(&tensor, 14, "\1", 1); /* packed: some readers take it */
    model = wrap(7, wrap(5, tensor));
    expect(&model, STATUS_UNSUPPORTED);
}

Test(onnx_scan, what_is_no_protobuf_is_refused)
{
    static const char *const bad[] = {
        "this is no ONNX file",
        "\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",         /* a length beyond the end */
        "\x3a\x05\x0a",                                         /* cut off */
        "\x3b\x3c",                                             /* a group */
        "\x01\x01",                                             /* field 0 */
        "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", /* a number without end */
        "\x0d\x01",                                             /* half of a fixed32 */
        "\x3a\x02\x0a\x7f",                                     /* beyond its graph's end */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf model = { 0 };
        buf_append_str(&model, bad[i]);
        expect(&model, STATUS_INVALID);
    }
}

Test(onnx_scan, depth_is_bounded)
{
    struct buf graph = external_graph();
    for (int i = 0; i < 60; i++)
        graph = wrap(1, wrap(5, wrap(6, graph)));
    struct buf model = wrap(7, graph);
    expect(&model, STATUS_INVALID);
}

/* Every prefix and every single changed byte of a model: an answer, and no read outside (ASan). */
Test(onnx_scan, damaged_models_do_no_harm)
{
    struct buf model = onnx_unary("Identity", false, ONNX_FLOAT, row, 2);
    for (size_t i = 0; i < model.len; i++) {
        struct error err;
        unsigned char *cut = mem_alloc(i + 1);
        memcpy(cut, model.data, i);
        enum status st = onnx_scan(bytes_of(cut, i), NULL, NULL, 0, &err);
        cr_expect(st == STATUS_OK || st == STATUS_INVALID);
        free(cut);
        unsigned char was = model.data[i];
        for (unsigned b = 0; b < 256; b++) {
            model.data[i] = (unsigned char)b;
            st = onnx_scan(buf_bytes(&model), NULL, NULL, 0, &err);
            cr_expect(st == STATUS_OK || st == STATUS_INVALID || st == STATUS_UNSUPPORTED);
        }
        model.data[i] = was;
    }
    buf_finish(&model);
}

/* ---- files of the version ---- */

static const char *const names[] = { "weights.bin", "more" };
static const size_t sizes[] = { 100, 10 };

static enum status scan_with(struct buf *model, struct error *err)
{
    enum status st = onnx_scan(buf_bytes(model), names, sizes, 2, err);
    buf_finish(model);
    return st;
}

static void put_entry(struct buf *tensor, const char *key, const char *value)
{
    struct buf entry = { 0 };
    put_text(&entry, 1, key);
    put_text(&entry, 2, value);
    put_message(tensor, 13, &entry);
}

/* keys and values, until NULL; the tensor is an initializer of the main graph. */
static enum status place(const char *const *entries, struct error *err)
{
    struct buf tensor = { 0 }, graph = { 0 };
    put_number(&tensor, 2, ONNX_UINT8);
    for (; *entries; entries += 2)
        put_entry(&tensor, entries[0], entries[1]);
    put_number(&tensor, 14, 1);
    put_message(&graph, 5, &tensor);
    struct buf model = onnx_model(&graph);
    return scan_with(&model, err);
}

#define PLACE(...) place((const char *const[]){ __VA_ARGS__, NULL }, &err)

Test(onnx_scan, initializers_in_files_of_the_version)
{
    struct error err;
    cr_expect_eq(PLACE("location", "weights.bin"), STATUS_OK, "%s", err.text);
    cr_expect_eq(PLACE("location", "more", "offset", "0", "length", "10"), STATUS_OK);
    cr_expect_eq(PLACE("location", "weights.bin", "offset", "99", "length", "1", "checksum", "x"),
                 STATUS_OK);
    cr_expect_eq(PLACE("location", "other"), STATUS_UNSUPPORTED);
    cr_expect_eq(PLACE("location", "./more"), STATUS_UNSUPPORTED);
    cr_expect_eq(PLACE("location", "/etc/passwd"), STATUS_UNSUPPORTED);
    cr_expect_eq(PLACE("offset", "5"), STATUS_UNSUPPORTED, "no location");
    cr_expect_eq(PLACE("location", "more", "offset", "11"), STATUS_INVALID);
    cr_expect_eq(PLACE("location", "more", "offset", "5", "length", "6"), STATUS_INVALID);
    cr_expect_eq(PLACE("location", "more", "length", "18446744073709551615"), STATUS_INVALID);
    cr_expect_eq(PLACE("location", "more", "offset", "-1"), STATUS_INVALID);
    cr_expect_eq(PLACE("location", "more", "offset", ""), STATUS_INVALID);
    cr_expect_eq(PLACE("location", "more", "location", "weights.bin"), STATUS_INVALID, "twice");
    cr_expect_eq(PLACE("location", "more", "basepath", "/etc"), STATUS_INVALID, "unknown");
}

Test(onnx_scan, other_tensors_stay_in_the_model)
{
    struct buf graph = { 0 }, model;
    struct error err;
    put_external(&graph, 5, "w", "more");
    model = wrap(7, wrap(1, wrap(5, wrap(6, graph)))); /* branch of an If */
    cr_expect_eq(scan_with(&model, &err), STATUS_UNSUPPORTED);
    graph = (struct buf){ 0 };
    put_external(&graph, 5, "w", "more");
    model = wrap(25, wrap(7, wrap(5, graph))); /* attribute in a function */
    cr_expect_eq(scan_with(&model, &err), STATUS_UNSUPPORTED);
}
