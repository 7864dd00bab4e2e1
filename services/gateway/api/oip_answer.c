/* oip_answer.c - Open Inference Protocol v2: the answer of an inference. */
#include "services/gateway/api/oip.h"

/* What one output of an answer consists of. */
struct piece {
    struct bytes name;
    enum datatype type;
    const int64_t *shape;
    size_t rank;
    struct bytes data;
    const struct frame *frame; /* that data is a part of, or NULL */
    bool binary;
};

/* The data go behind the text: a part of the engine's frame, or a copy. */
static void add_part(struct infer_answer *a, const struct piece *p)
{
    struct frame *part = &a->parts[a->parts_count++];
    if (p->frame)
        frame_init_slice(
            part, p->frame,
            (size_t)((const char *)p->data.data - (const char *)frame_bytes(p->frame).data),
            p->data.len);
    else
        frame_init_copy(part, p->data);
}

static enum status write_piece(struct infer_answer *a, const struct piece *p, struct error *err)
{
    struct buf *out = &a->text;
    buf_append_str(out, "{");
    api_put_string(out, "name", p->name);
    buf_printf(out, ",\"datatype\":\"%s\",\"shape\":", datatype_name(p->type));
    shape_text(p->shape, p->rank, out);
    if (p->binary) {
        buf_printf(out, ",\"parameters\":{\"binary_data_size\":%zu}}", p->data.len);
        add_part(a, p);
        return STATUS_OK;
    }
    buf_append_str(out, ",\"data\":");
    enum status st = tensor_to_json(out, p->type, p->shape, p->rank, p->data, false, err);
    buf_append_str(out, "}");
    return st;
}

static enum status write_classes(const struct infer_call *call, const struct outcome *o,
                                 const struct infer_output *want, struct infer_answer *a,
                                 struct error *err)
{
    const struct msg_tensor *t = &o->outputs[want->index];
    struct buf text = { 0 };
    int64_t shape[2];
    size_t rank;
    enum status st = oip_classify(t, o->data[want->index], call->batched, want->classes, &text,
                                  shape, &rank, err);
    if (!st) {
        struct piece p = { t->name, DT_BYTES, shape, rank, buf_bytes(&text), NULL, want->binary };
        st = write_piece(a, &p, err);
    }
    buf_finish(&text);
    return st;
}

static enum status write_output(const struct infer_call *call, const struct outcome *o,
                                const struct infer_output *want, struct infer_answer *a,
                                struct error *err)
{
    const struct msg_tensor *t = &o->outputs[want->index];
    if (want->classes)
        return write_classes(call, o, want, a, err);
    struct piece p = { .name = t->name,
                       .type = datatype_from_wire(t->datatype),
                       .shape = t->shape.at,
                       .rank = t->shape.count,
                       .data = o->data[want->index],
                       .frame = &o->frames[want->index],
                       .binary = want->binary };
    return write_piece(a, &p, err);
}

enum status oip_write(const struct infer_call *call, const struct outcome *o,
                      struct infer_answer *a, struct error *err)
{
    struct buf *out = &a->text;
    enum status st = STATUS_OK;
    size_t count = call->named ? call->wanted_count : o->outputs_count;
    buf_append_str(out, "{");
    api_put_string(out, "model_name", bytes_str(lane_model(call->lane)));
    buf_append_str(out, ",\"model_version\":\"");
    buf_append_uint(out, lane_version(call->lane));
    buf_append_str(out, "\",");
    if (call->id[0]) {
        api_put_string(out, "id", bytes_str(call->id));
        buf_append_str(out, ",");
    }
    buf_append_str(out, "\"outputs\":[");
    for (size_t i = 0; i < count && !st; i++) {
        struct infer_output all = { .index = i, .binary = call->binary || call->raw };
        buf_append_str(out, i ? "," : "");
        st = write_output(call, o, call->named ? &call->wanted[i] : &all, a, err);
    }
    buf_append_str(out, "]}");
    return st;
}
