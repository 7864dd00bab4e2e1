/* onnx_scan.c - a walk over the protobuf encoding of an ONNX file.
 *
 * The table says which fields of which message hold messages that can hold a tensor; all
 * others are stepped over.  Every occurrence of a field is visited, for a reader would merge
 * them.
 */
#include "services/worker/onnx_scan.h"

#define DEPTH_MAX 100 /* protobuf's readers refuse deeper ones too */

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_LEN = 2, WIRE_32 = 5 }; /* 3 and 4: groups */

/* MAIN is the model's graph, INITIALIZER a tensor of it whose data may be in a file of the version;
 * GRAPH and TENSOR are all others. */
enum shape { MODEL, TRAINING, FUNCTION, MAIN, GRAPH, NODE, ATTRIBUTE, SPARSE, TENSOR, INITIALIZER };

#define TENSOR_EXTERNAL_DATA 13 /* where the data is: a list of keys and values */
#define TENSOR_DATA_LOCATION 14 /* 0: in this file */

static const struct {
    enum shape in;
    unsigned field;
    enum shape holds;
} nested[] = {
    { MAIN, 1, NODE },           { MAIN, 5, INITIALIZER },  { MAIN, 15, SPARSE },
    { MODEL, 7, MAIN },          { MODEL, 20, TRAINING },   { MODEL, 25, FUNCTION },
    { TRAINING, 1, GRAPH },      { TRAINING, 2, GRAPH },    { FUNCTION, 7, NODE },
    { FUNCTION, 11, ATTRIBUTE }, { GRAPH, 1, NODE },        { GRAPH, 5, TENSOR },
    { GRAPH, 15, SPARSE },       { NODE, 5, ATTRIBUTE },    { ATTRIBUTE, 5, TENSOR },
    { ATTRIBUTE, 6, GRAPH },     { ATTRIBUTE, 10, TENSOR }, { ATTRIBUTE, 11, GRAPH },
    { ATTRIBUTE, 22, SPARSE },   { ATTRIBUTE, 23, SPARSE }, { SPARSE, 1, TENSOR },
    { SPARSE, 2, TENSOR },
};

struct walk {
    const unsigned char *begin; /* of the file, for messages to people */
    const char *const *names;   /* of the other files */
    const size_t *sizes;
    size_t count;
    struct error *err;
};

/* Where an initializer says that its data is. */
struct place {
    struct bytes location;
    bool external, has_location, has_offset, has_length;
    uint64_t offset, length;
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

/* ---- external data ------------------------------------------------------------------------ */

static enum status elsewhere(const struct walk *w)
{
    return error_set(w->err, STATUS_UNSUPPORTED,
                     "a tensor of the model keeps its data in a file that is none of the version; "
                     "upload that file with it, or save the model as one file");
}

static bool read_decimal(struct bytes text, uint64_t *out)
{
    const char *p = text.data;
    *out = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (p[i] < '0' || p[i] > '9' || *out > (UINT64_MAX - 9) / 10)
            return false;
        *out = *out * 10 + (uint64_t)(p[i] - '0');
    }
    return text.len > 0;
}

/* A StringStringEntryProto: key (1) and value (2), each once. */
static bool read_entry(struct bytes entry, struct bytes *key, struct bytes *value)
{
    const unsigned char *at = entry.data, *end = at + entry.len;
    bool has[3] = { false };
    *key = *value = bytes_of(NULL, 0);
    while (at < end) {
        uint64_t tag, number;
        struct bytes span;
        if (!read_varint(&at, end, &tag) || !read_value(&at, end, tag & 7, &number, &span) ||
            (tag & 7) != WIRE_LEN || tag >> 3 < 1 || tag >> 3 > 2 || has[tag >> 3])
            return false;
        has[tag >> 3] = true;
        *(tag >> 3 == 1 ? key : value) = span;
    }
    return has[1] && has[2];
}

/* Each key once, and no key that we do not know: a reader may understand more by it. */
static bool note_entry(struct place *place, struct bytes key, struct bytes value)
{
    bool *has = bytes_equal_str(key, "location") ? &place->has_location
                : bytes_equal_str(key, "offset") ? &place->has_offset
                : bytes_equal_str(key, "length") ? &place->has_length
                                                 : NULL;
    if (!has)
        return bytes_equal_str(key, "checksum");
    if (*has)
        return false;
    *has = true;
    if (has == &place->has_location) {
        place->location = value;
        return true;
    }
    return read_decimal(value, has == &place->has_offset ? &place->offset : &place->length);
}

static enum status check_place(const struct walk *w, const struct place *place)
{
    if (!place->external)
        return STATUS_OK;
    for (size_t i = 0; i < w->count; i++) {
        uint64_t size = w->sizes[i];
        if (!place->has_location || !bytes_equal_str(place->location, w->names[i]))
            continue;
        if (place->offset > size || place->length > size - place->offset)
            return error_set(w->err, STATUS_INVALID,
                             "a tensor's data ends behind the end of the file '%s'", w->names[i]);
        return STATUS_OK;
    }
    return elsewhere(w);
}

/* A field of a tensor that says where its data is. */
static enum status note_field(const struct walk *w, enum shape is, uint64_t field, uint64_t number,
                              struct bytes span, struct place *place)
{
    struct bytes key, value;
    if (field == TENSOR_DATA_LOCATION && !number && !span.len)
        return STATUS_OK;
    if (is == TENSOR)
        return elsewhere(w);
    place->external = true;
    if (field == TENSOR_EXTERNAL_DATA &&
        (!read_entry(span, &key, &value) || !note_entry(place, key, value)))
        return error_set(w->err, STATUS_INVALID,
                         "a tensor of the model says in an unknown way where its data is");
    return STATUS_OK;
}

/* ---- the walk ----------------------------------------------------------------------------- */

static enum status walk_message(const struct walk *w, enum shape is, struct bytes message,
                                unsigned depth)
{
    const unsigned char *at = message.data, *end = at + message.len;
    struct place place = { 0 };
    if (depth > DEPTH_MAX)
        return malformed(w, at);
    while (at < end) {
        const unsigned char *field_at = at;
        uint64_t tag, number;
        struct bytes span;
        enum shape holds;
        enum status st = STATUS_OK;
        if (!read_varint(&at, end, &tag) || tag >> 3 == 0 || tag > UINT32_MAX ||
            !read_value(&at, end, tag & 7, &number, &span))
            return malformed(w, field_at);
        uint64_t field = tag >> 3;
        if ((is == TENSOR || is == INITIALIZER) &&
            (field == TENSOR_EXTERNAL_DATA || field == TENSOR_DATA_LOCATION))
            st = note_field(w, is, field, number, span, &place);
        else if ((tag & 7) == WIRE_LEN && find_nested(is, field, &holds))
            st = walk_message(w, holds, span, depth + 1);
        if (st)
            return st;
    }
    return check_place(w, &place);
}

enum status onnx_scan(struct bytes file, const char *const *names, const size_t *sizes,
                      size_t count, struct error *err)
{
    struct walk w = { file.data, names, sizes, count, err };
    return walk_message(&w, MODEL, file, 0);
}
