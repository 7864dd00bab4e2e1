/* codec.c - one encoder and one decoder for every message, driven by tables.
 *
 * Decoding goes in three steps: a scan that walks the bytes without allocating and
 * bounds depth, counts and nodes; msgpack's own unpacking into a zone that is kept;
 * and the walk from the object tree into the struct, by the field's tag.
 */
#include "common/msg/codec.h"

#include "common/msg/scan.h"
#include "common/msg/tables.h"

#include <assert.h>
#include <msgpack.h>
#include <stdlib.h>

#define ZONE_CHUNK 8192 /* bytes; the zone grows by such pieces, unless told otherwise */

#define FIELD(S, kind, field, number, max, text) \
    { .name = #field,                            \
      .doc = (text),                             \
      .type = T_##kind,                          \
      .tag = (number),                           \
      .limit = (max),                            \
      .offset = offsetof(struct msg_##S, field) },
#define LIST(S, element, field, number, max, text)             \
    { .name = #field,                                          \
      .doc = (text),                                           \
      .type = T_list,                                          \
      .tag = (number),                                         \
      .limit = (max),                                          \
      .offset = offsetof(struct msg_##S, field),               \
      .count_offset = offsetof(struct msg_##S, field##_count), \
      .nested = &schema_##element },
#define X(struct_name, FIELDS)                                                              \
    static const struct schema_field fields_##struct_name[] = { FIELDS(FIELD, LIST,         \
                                                                       struct_name){ 0 } }; \
    const struct schema_struct schema_##struct_name = {                                     \
        #struct_name, sizeof(struct msg_##struct_name), fields_##struct_name,               \
        sizeof fields_##struct_name / sizeof(struct schema_field) - 1                       \
    };
STRUCT_LIST(X)
#undef X

static const struct schema_struct *const bodies[MSG_KIND_COUNT] = {
#define X(kind, number, body, doc) [number] = &schema_##body,
    MESSAGE_LIST(X)
#undef X
};

/* ---- encode ----------------------------------------------------------------------------- */

static int write_buf(void *data, const char *bytes, size_t len)
{
    buf_append(data, bytes, len);
    return 0;
}

static const void *at(const void *body, size_t offset)
{
    return (const char *)body + offset;
}

/* A field that is zero is not sent. */
static bool is_zero(const struct schema_field *f, const void *body)
{
    const void *p = at(body, f->offset);
    switch (f->type) {
    case T_u32:
        return *(const uint32_t *)p == 0;
    case T_u64:
    case T_i64:
        return *(const uint64_t *)p == 0;
    case T_f64:
        return *(const double *)p == 0;
    case T_boolean:
        return !*(const bool *)p;
    case T_str:
    case T_bin:
        return ((const struct bytes *)p)->len == 0;
    case T_i64s:
        return ((const struct i64s *)p)->count == 0;
    case T_list:
        return *(const size_t *)at(body, f->count_offset) == 0;
    }
    return true;
}

static void pack_struct(msgpack_packer *pk, const struct schema_struct *s, const void *body);

static void pack_value(msgpack_packer *pk, const struct schema_field *f, const void *body)
{
    const void *p = at(body, f->offset);
    switch (f->type) {
    case T_u32:
        msgpack_pack_uint32(pk, *(const uint32_t *)p);
        return;
    case T_u64:
        msgpack_pack_uint64(pk, *(const uint64_t *)p);
        return;
    case T_i64:
        msgpack_pack_int64(pk, *(const int64_t *)p);
        return;
    case T_f64:
        msgpack_pack_double(pk, *(const double *)p);
        return;
    case T_boolean:
        msgpack_pack_true(pk);
        return;
    case T_str:
        msgpack_pack_str_with_body(pk, ((const struct bytes *)p)->data,
                                   ((const struct bytes *)p)->len);
        return;
    case T_bin:
        msgpack_pack_bin_with_body(pk, ((const struct bytes *)p)->data,
                                   ((const struct bytes *)p)->len);
        return;
    case T_i64s: {
        const struct i64s *list = p;
        msgpack_pack_array(pk, list->count);
        for (size_t i = 0; i < list->count; i++)
            msgpack_pack_int64(pk, list->at[i]);
        return;
    }
    case T_list: {
        size_t count = *(const size_t *)at(body, f->count_offset);
        const char *first = *(char *const *)p;
        msgpack_pack_array(pk, count);
        for (size_t i = 0; i < count; i++)
            pack_struct(pk, f->nested, first + i * f->nested->size);
        return;
    }
    }
}

static void pack_struct(msgpack_packer *pk, const struct schema_struct *s, const void *body)
{
    size_t present = 0;
    for (size_t i = 0; i < s->count; i++)
        present += !is_zero(&s->fields[i], body);
    msgpack_pack_map(pk, present);
    for (size_t i = 0; i < s->count; i++) {
        if (is_zero(&s->fields[i], body))
            continue;
        msgpack_pack_unsigned_int(pk, s->fields[i].tag);
        pack_value(pk, &s->fields[i], body);
    }
}

void msg_pack(struct buf *out, const struct schema_struct *s, const void *body)
{
    msgpack_packer pk;
    msgpack_packer_init(&pk, out, write_buf);
    pack_struct(&pk, s, body);
}

void msg_encode(struct buf *out, enum msg_kind kind, uint64_t id, const void *body)
{
    msgpack_packer pk;
    assert((unsigned)kind < MSG_KIND_COUNT && bodies[kind]);
    msgpack_packer_init(&pk, out, write_buf);
    msgpack_pack_array(&pk, 3);
    msgpack_pack_unsigned_int(&pk, kind);
    msgpack_pack_uint64(&pk, id);
    if (body)
        pack_struct(&pk, bodies[kind], body);
    else
        msgpack_pack_map(&pk, 0);
}

/* ---- decode ----------------------------------------------------------------------------- */

struct decode {
    msgpack_zone *zone;
    struct error *err;
};

static enum status wrong(struct decode *d, const struct schema_struct *s,
                         const struct schema_field *f, const char *what)
{
    return error_set(d->err, STATUS_INVALID, "%s.%s %s", s->name, f->name, what);
}

static enum status read_struct(struct decode *d, const struct schema_struct *s,
                               const msgpack_object *o, void *body);

static enum status read_list(struct decode *d, const struct schema_struct *s,
                             const struct schema_field *f, const msgpack_object *o, void *body)
{
    if (o->type != MSGPACK_OBJECT_ARRAY)
        return wrong(d, s, f, "is not a list");
    size_t count = o->via.array.size;
    if (count > f->limit)
        return error_set(d->err, STATUS_INVALID, "%s.%s has %zu elements; at most %zu are allowed",
                         s->name, f->name, count, f->limit);
    char *first = count ? msgpack_zone_malloc(d->zone, count * f->nested->size) : NULL;
    if (count && !first)
        return wrong(d, s, f, "does not fit into memory");
    enum status st = STATUS_OK;
    for (size_t i = 0; i < count && !st; i++)
        st = read_struct(d, f->nested, &o->via.array.ptr[i], first + i * f->nested->size);
    *(char **)((char *)body + f->offset) = first;
    *(size_t *)((char *)body + f->count_offset) = count;
    return st;
}

static bool read_int(const msgpack_object *o, int64_t *out)
{
    if (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        *out = o->via.i64;
    else if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER && o->via.u64 <= INT64_MAX)
        *out = (int64_t)o->via.u64;
    else
        return false;
    return true;
}

static enum status read_i64s(struct decode *d, const struct schema_struct *s,
                             const struct schema_field *f, const msgpack_object *o,
                             struct i64s *out)
{
    if (o->type != MSGPACK_OBJECT_ARRAY)
        return wrong(d, s, f, "is not a list");
    size_t count = o->via.array.size;
    if (count > f->limit)
        return error_set(d->err, STATUS_INVALID, "%s.%s has %zu elements; at most %zu are allowed",
                         s->name, f->name, count, f->limit);
    int64_t *list = count ? msgpack_zone_malloc(d->zone, count * sizeof *list) : NULL;
    if (count && !list)
        return wrong(d, s, f, "does not fit into memory");
    for (size_t i = 0; i < count; i++)
        if (!read_int(&o->via.array.ptr[i], &list[i]))
            return wrong(d, s, f, "has an element that is not a 64-bit integer");
    *out = (struct i64s){ list, count };
    return STATUS_OK;
}

static enum status read_bytes(struct decode *d, const struct schema_struct *s,
                              const struct schema_field *f, const msgpack_object *o,
                              struct bytes *out)
{
    if (f->type == T_str && o->type == MSGPACK_OBJECT_STR)
        *out = bytes_of(o->via.str.ptr, o->via.str.size);
    else if (f->type == T_bin && o->type == MSGPACK_OBJECT_BIN)
        *out = bytes_of(o->via.bin.ptr, o->via.bin.size);
    else
        return wrong(d, s, f, f->type == T_str ? "is not a string" : "is not binary");
    if (out->len > f->limit)
        return error_set(d->err, STATUS_INVALID, "%s.%s has %zu bytes; at most %zu are allowed",
                         s->name, f->name, out->len, f->limit);
    if (f->type == T_str && out->len && memchr(out->data, 0, out->len))
        return wrong(d, s, f, "holds a NUL");
    return STATUS_OK;
}

static enum status read_field(struct decode *d, const struct schema_struct *s,
                              const struct schema_field *f, const msgpack_object *o, void *body)
{
    void *p = (char *)body + f->offset;
    switch (f->type) {
    case T_u32:
        if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER || o->via.u64 > UINT32_MAX)
            return wrong(d, s, f, "is not an unsigned 32-bit integer");
        *(uint32_t *)p = (uint32_t)o->via.u64;
        return STATUS_OK;
    case T_u64:
        if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
            return wrong(d, s, f, "is not an unsigned integer");
        *(uint64_t *)p = o->via.u64;
        return STATUS_OK;
    case T_i64:
        return read_int(o, p) ? STATUS_OK : wrong(d, s, f, "is not a 64-bit integer");
    case T_f64:
        if (o->type != MSGPACK_OBJECT_FLOAT64 && o->type != MSGPACK_OBJECT_FLOAT32)
            return wrong(d, s, f, "is not a number");
        *(double *)p = o->via.f64;
        return STATUS_OK;
    case T_boolean:
        if (o->type != MSGPACK_OBJECT_BOOLEAN)
            return wrong(d, s, f, "is not a boolean");
        *(bool *)p = o->via.boolean;
        return STATUS_OK;
    case T_str:
    case T_bin:
        return read_bytes(d, s, f, o, p);
    case T_i64s:
        return read_i64s(d, s, f, o, p);
    case T_list:
        return read_list(d, s, f, o, body);
    }
    return STATUS_INTERNAL;
}

static const struct schema_field *field_by_tag(const struct schema_struct *s, uint64_t tag)
{
    /* Tags are 1, 2, 3 ... in most structs: look where the tag should be first. */
    if (tag >= 1 && tag <= s->count && s->fields[tag - 1].tag == tag)
        return &s->fields[tag - 1];
    for (size_t i = 0; i < s->count; i++)
        if (s->fields[i].tag == tag)
            return &s->fields[i];
    return NULL;
}

static enum status read_struct(struct decode *d, const struct schema_struct *s,
                               const msgpack_object *o, void *body)
{
    uint64_t seen = 0;
    memset(body, 0, s->size);
    if (o->type != MSGPACK_OBJECT_MAP)
        return error_set(d->err, STATUS_INVALID, "%s is not a map", s->name);
    for (uint32_t i = 0; i < o->via.map.size; i++) {
        const msgpack_object_kv *kv = &o->via.map.ptr[i];
        if (kv->key.type != MSGPACK_OBJECT_POSITIVE_INTEGER)
            return error_set(d->err, STATUS_INVALID, "%s has a key that is not a tag", s->name);
        const struct schema_field *f = field_by_tag(s, kv->key.via.u64);
        if (!f)
            continue; /* from a newer peer */
        assert(f->tag < 64);
        if (seen & 1ull << f->tag)
            return wrong(d, s, f, "is there twice");
        seen |= 1ull << f->tag;
        enum status st = read_field(d, s, f, &kv->val, body);
        if (st)
            return st;
    }
    return STATUS_OK;
}

static enum status parse(struct msg_decoder *d, struct bytes frame, msgpack_object *root,
                         struct error *err)
{
    size_t used = 0;
    if (frame.len > MAX_ENVELOPE)
        return error_set(err, STATUS_INVALID, "an envelope of %zu bytes; at most %u are allowed",
                         frame.len, MAX_ENVELOPE);
    if (!msg_scan(frame))
        return error_set(err, STATUS_INVALID,
                         "not a MessagePack value within the limits (%zu bytes)", frame.len);
    if (!d->memory)
        d->memory = msgpack_zone_new(d->chunk ? d->chunk : ZONE_CHUNK);
    else
        msgpack_zone_clear(d->memory);
    if (!d->memory ||
        msgpack_unpack(frame.data, frame.len, &used, d->memory, root) != MSGPACK_UNPACK_SUCCESS)
        return error_set(err, STATUS_INVALID, "MessagePack of %zu bytes cannot be unpacked",
                         frame.len);
    return STATUS_OK;
}

static enum status read_body(struct msg_decoder *d, const struct schema_struct *s,
                             const msgpack_object *o, const void **body, struct error *err)
{
    struct decode context = { d->memory, err };
    void *memory = msgpack_zone_malloc(d->memory, s->size ? s->size : 1);
    if (!memory)
        return error_set(err, STATUS_INVALID, "%s does not fit into memory", s->name);
    *body = memory;
    return read_struct(&context, s, o, memory);
}

enum status msg_decode(struct msg_decoder *d, struct bytes frame, struct msg *out,
                       struct error *err)
{
    msgpack_object root = { .type = MSGPACK_OBJECT_NIL };
    enum status st = parse(d, frame, &root, err);
    if (st)
        return st;
    bool array = root.type == MSGPACK_OBJECT_ARRAY && root.via.array.size >= 3;
    const msgpack_object *part = array ? root.via.array.ptr : NULL;
    if (!array || part[0].type != MSGPACK_OBJECT_POSITIVE_INTEGER ||
        part[1].type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return error_set(err, STATUS_INVALID, "an envelope is the array [kind, id, body]");
    uint64_t kind = part[0].via.u64;
    if (kind >= MSG_KIND_COUNT || !bodies[kind])
        return error_set(err, STATUS_INVALID, "unknown message kind %llu",
                         (unsigned long long)kind);
    out->kind = (enum msg_kind)kind;
    out->id = part[1].via.u64;
    return read_body(d, bodies[kind], &part[2], &out->body, err);
}

enum status msg_unpack(struct msg_decoder *d, const struct schema_struct *s, struct bytes packed,
                       const void **body, struct error *err)
{
    msgpack_object root = { .type = MSGPACK_OBJECT_NIL };
    enum status st = parse(d, packed, &root, err);
    return st ? st : read_body(d, s, &root, body, err);
}

void msg_decoder_finish(struct msg_decoder *d)
{
    if (d->memory)
        msgpack_zone_free(d->memory);
    d->memory = NULL;
}

/* ---- description ------------------------------------------------------------------------ */

static void struct_json(struct buf *out, const struct schema_struct *s)
{
    static const char *const types[] = { "u32", "u64", "i64",  "f64", "boolean",
                                         "str", "bin", "i64s", "list" };
    buf_printf(out, "\"%s\":[", s->name);
    for (size_t i = 0; i < s->count; i++) {
        const struct schema_field *f = &s->fields[i];
        buf_printf(out, "%s{\"name\":\"%s\",\"tag\":%u,\"type\":\"%s\",\"limit\":%zu,",
                   i ? "," : "", f->name, f->tag, types[f->type], f->limit);
        if (f->nested)
            buf_printf(out, "\"of\":\"%s\",", f->nested->name);
        buf_printf(out, "\"doc\":\"%s\"}", f->doc);
    }
    buf_append_str(out, "]");
}

void schema_json(struct buf *out)
{
    const char *comma = "";
    buf_append_str(out, "{\"messages\":{");
#define X(kind, number, body, text)                                                                \
    buf_printf(out, "%s\"%s\":{\"kind\":%d,\"body\":\"%s\",\"doc\":\"%s\"}", comma, #kind, number, \
               #body, text);                                                                       \
    comma = ",";
    MESSAGE_LIST(X)
#undef X
    buf_append_str(out, "},\"structs\":{");
    comma = "";
#define X(struct_name, FIELDS)               \
    buf_append_str(out, comma);              \
    struct_json(out, &schema_##struct_name); \
    comma = ",";
    STRUCT_LIST(X)
#undef X
    buf_append_str(out, "}}\n");
}
