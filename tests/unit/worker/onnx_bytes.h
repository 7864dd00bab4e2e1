/* onnx_bytes.h - small ONNX models for the tests, written field by field (onnx.proto).
 *
 * A message is a struct buf; put_message moves one into a field of another.
 */
#ifndef TESTS_UNIT_WORKER_ONNX_BYTES_H
#define TESTS_UNIT_WORKER_ONNX_BYTES_H

#include "common/base/bytes.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* TensorProto.DataType */
enum { ONNX_FLOAT = 1, ONNX_INT64 = 7, ONNX_STRING = 8, ONNX_BOOL = 9, ONNX_FLOAT16 = 10 };
enum { ONNX_DOUBLE = 11, ONNX_COMPLEX64 = 14, ONNX_BFLOAT16 = 16, ONNX_UINT8 = 2 };

#define ANY (-1) /* a dimension of any size */

static inline void put_varint(struct buf *b, uint64_t n)
{
    for (; n > 0x7f; n >>= 7)
        buf_append(b, &(unsigned char){ (unsigned char)(n | 0x80) }, 1);
    buf_append(b, &(unsigned char){ (unsigned char)n }, 1);
}

static inline void put_number(struct buf *b, unsigned field, uint64_t n)
{
    put_varint(b, field << 3);
    put_varint(b, n);
}

static inline void put_bytes(struct buf *b, unsigned field, const void *data, size_t len)
{
    put_varint(b, field << 3 | 2);
    put_varint(b, len);
    buf_append(b, data, len);
}

static inline void put_text(struct buf *b, unsigned field, const char *s)
{
    put_bytes(b, field, s, strlen(s));
}

static inline void put_message(struct buf *b, unsigned field, struct buf *message)
{
    put_bytes(b, field, message->data ? message->data : (unsigned char *)"", message->len);
    buf_finish(message);
}

/* ValueInfoProto of a tensor. */
static inline void put_value(struct buf *graph, unsigned field, const char *name, int type,
                             const int64_t *dims, size_t rank)
{
    struct buf shape = { 0 }, tensor = { 0 }, kind = { 0 }, value = { 0 };
    for (size_t i = 0; i < rank; i++) {
        struct buf dim = { 0 };
        if (dims[i] == ANY)
            put_text(&dim, 2, "N");
        else
            put_number(&dim, 1, (uint64_t)dims[i]);
        put_message(&shape, 1, &dim);
    }
    put_number(&tensor, 1, (uint64_t)type);
    put_message(&tensor, 2, &shape);
    put_message(&kind, 1, &tensor);
    put_text(&value, 1, name);
    put_message(&value, 2, &kind);
    put_message(graph, field, &value);
}

/* ValueInfoProto of a sequence of tensors. */
static inline void put_sequence(struct buf *graph, unsigned field, const char *name, int type)
{
    struct buf tensor = { 0 }, element = { 0 }, sequence = { 0 }, kind = { 0 }, value = { 0 };
    put_number(&tensor, 1, (uint64_t)type);
    put_message(&element, 1, &tensor);
    put_message(&sequence, 1, &element);
    put_message(&kind, 4, &sequence);
    put_text(&value, 1, name);
    put_message(&value, 2, &kind);
    put_message(graph, field, &value);
}

/* NodeProto; b may be NULL. */
static inline void put_node(struct buf *graph, const char *op, const char *a, const char *b,
                            const char *out)
{
    struct buf node = { 0 };
    put_text(&node, 1, a);
    if (b)
        put_text(&node, 1, b);
    put_text(&node, 2, out);
    put_text(&node, 4, op);
    put_message(graph, 1, &node);
}

/* TensorProto of one byte whose data is in another file. */
static inline void put_external(struct buf *out, unsigned field, const char *name, const char *file)
{
    struct buf tensor = { 0 }, entry = { 0 };
    put_number(&tensor, 1, 1);
    put_number(&tensor, 2, ONNX_UINT8);
    put_text(&tensor, 8, name);
    put_text(&entry, 1, "location");
    put_text(&entry, 2, file);
    put_message(&tensor, 13, &entry);
    put_number(&tensor, 14, 1);
    put_message(out, field, &tensor);
}

/* ModelProto around the graph, which is used up. */
static inline struct buf onnx_model(struct buf *graph)
{
    struct buf model = { 0 }, opset = { 0 };
    put_text(graph, 2, "g");
    put_number(&opset, 2, 17);
    put_number(&model, 1, 8);
    put_message(&model, 8, &opset);
    put_message(&model, 7, graph);
    return model;
}

/* y = op(x), or op(x, x) for operators of two inputs. */
static inline struct buf onnx_unary(const char *op, bool twice, int type, const int64_t *dims,
                                    size_t rank)
{
    struct buf graph = { 0 };
    put_node(&graph, op, "x", twice ? "x" : NULL, "y");
    put_value(&graph, 11, "x", type, dims, rank);
    put_value(&graph, 12, "y", type, dims, rank);
    return onnx_model(&graph);
}

/* Writes the model to a new file; path has room for 32 bytes. */
static inline void onnx_file(struct buf *model, char path[32])
{
    snprintf(path, 32, "/tmp/maas-model-XXXXXX");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, model->data, model->len), (ssize_t)model->len);
    close(fd);
    buf_finish(model);
}

#endif
