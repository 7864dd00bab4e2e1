/* onnx_scan.c - a walk over the protobuf encoding of an ONNX file.
 *
 * The table says which fields of which message hold messages that can hold a tensor; all
 * others are stepped over.  Every occurrence of a field is visited, for a reader would merge
 * them.
 */
#include "services/worker/onnx_scan.h"

#define DEPTH_MAX 100 /* protobuf's readers refuse deeper ones too */

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LEN = 2, WIRE_32 = 5 }; /* 3 and 4: groups */

enum shape { MODEL, TRAINING, FUNCTION, GRAPH, NODE, ATTRIBUTE, SPARSE, TENSOR };

#define TENSOR_EXTERNAL_DATA 13 /* where the data is: a list of keys and values */
#define TENSOR_DATA_LOCATION 14 /* 0: in this file */

static const struct {
    enum shape in;
    unsigned field;
    enum shape holds;
} nested[] = {
    { MODEL, 7, GRAPH },         { MODEL, 20, TRAINING },   { MODEL, 25, FUNCTION },
    { TRAINING, 1, GRAPH },      { TRAINING, 2, GRAPH },    { FUNCTION, 7, NODE },
    { FUNCTION, 11, ATTRIBUTE }, { GRAPH, 1, NODE },        { GRAPH, 5, TENSOR },
    { GRAPH, 15, SPARSE },       { NODE, 5, ATTRIBUTE },    { ATTRIBUTE, 5, TENSOR },
    { ATTRIBUTE, 6, GRAPH },     { ATTRIBUTE, 10, TENSOR }, { ATTRIBUTE, 11, GRAPH },
    { ATTRIBUTE, 22, SPARSE },   { ATTRIBUTE, 23, SPARSE }, { SPARSE, 1, TENSOR },
    { SPARSE, 2, TENSOR },
};

struct walk {
    const unsigned char *begin; /* of the file, for messages to people */
    struct error *err;
};

static enum status malformed(const struct walk *w, const unsigned char *at)
{
    return error_set(w->err, STATUS_INVALID,
                     "this is no ONNX file: protobuf parsing failed at byte %zu",
                     (size_t)(at - w->begin));
}

/* Moves *at behind the number.  false: it does not end in time. */
static bool read_varint(const unsigned char **at, const unsigned char *end, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
        unsigned char byte = *(*at)++;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

/* Takes one field's value: a number, or the span of its bytes. */
static bool read_value(const unsigned char **at, const unsigned char *end, unsigned wire,
                       uint64_t *number, struct bytes *span)
{
    uint64_t len;
    *number = 0;
    *span = bytes_of(*at, 0);
    switch (wire) {
    case WIRE_VARINT:
        return read_varint(at, end, number);
    case WIRE_64:
        len = 8;
        break;
    case WIRE_32:
        len = 4;
        break;
    case WIRE_LEN:
        if (!read_varint(at, end, &len))
            return false;
        break;
    default:
        return false; /* ONNX has no groups */
    }
    if (len > (uint64_t)(end - *at))
        return false;
    *span = bytes_of(*at, (size_t)len);
    *at += len;
    return true;
}

static bool find_nested(enum shape in, uint64_t field, enum shape *holds)
{
    for (size_t i = 0; i < sizeof nested / sizeof *nested; i++)
        if (nested[i].in == in && nested[i].field == field) {
            *holds = nested[i].holds;
            return true;
        }
    return false;
}

static enum status walk_message(const struct walk *w, enum shape is, struct bytes message,
                                unsigned depth)
{
    const unsigned char *at = message.data, *end = at + message.len;
    if (depth > DEPTH_MAX)
        return malformed(w, at);
    while (at < end) {
        const unsigned char *field_at = at;
        uint64_t tag, number;
        struct bytes span;
        enum shape holds;
        if (!read_varint(&at, end, &tag) || tag >> 3 == 0 || tag > UINT32_MAX ||
            !read_value(&at, end, tag & 7, &number, &span))
            return malformed(w, field_at);
        uint64_t field = tag >> 3;
        if (is == TENSOR && (field == TENSOR_EXTERNAL_DATA ||
                             (field == TENSOR_DATA_LOCATION && (number || span.len))))
            return error_set(w->err, STATUS_UNSUPPORTED,
                             "a tensor of the model keeps its data in another file; save the model "
                             "as one file, without external data");
        if ((tag & 7) != WIRE_LEN || !find_nested(is, field, &holds))
            continue;
        enum status st = walk_message(w, holds, span, depth + 1);
        if (st)
            return st;
    }
    return STATUS_OK;
}

enum status onnx_scan(struct bytes file, struct error *err)
{
    struct walk w = { file.data, err };
    return walk_message(&w, MODEL, file, 0);
}
