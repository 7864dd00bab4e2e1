/* kept.c - see kept.h. */
#include "services/gateway/kept.h"

size_t kept_bytes(const struct outcome *o, size_t copy_max)
{
    size_t bytes = 0;
    for (size_t i = 0; i < o->outputs_count; i++)
        bytes += o->data[i].len <= copy_max ? o->data[i].len : frame_bytes(&o->frames[i]).len;
    return bytes;
}

static void keep_data(struct kept *k, const struct outcome *o, size_t i)
{
    const char *whole = frame_bytes(&o->frames[i]).data;
    size_t offset = (size_t)((const char *)o->data[i].data - whole);
    frame_init_share(&k->frames[i], &o->frames[i]);
    k->data[i] = bytes_of((const char *)frame_bytes(&k->frames[i]).data + offset, o->data[i].len);
}

void kept_init(struct kept *k, const struct outcome *o, const struct msg_hello *signature,
               size_t copy_max)
{
    k->outcome = *o;
    k->outcome.outputs = k->outputs;
    k->outcome.data = k->data;
    k->outcome.frames = k->frames;
    k->names = (struct buf){ 0 };
    for (size_t i = 0; i < o->outputs_count; i++)
        buf_append_bytes(&k->names, signature->outputs[i].name);
    const char *name = (const char *)k->names.data;
    for (size_t i = 0; i < o->outputs_count; i++) {
        const struct msg_tensor *t = &o->outputs[i];
        for (size_t d = 0; d < t->shape.count; d++)
            k->shapes[i][d] = t->shape.at[d];
        k->outputs[i] = *t;
        k->outputs[i].name = bytes_of(name, signature->outputs[i].name.len);
        name += signature->outputs[i].name.len;
        k->outputs[i].shape.at = k->shapes[i];
        if (o->data[i].len > copy_max) {
            keep_data(k, o, i);
        } else {
            frame_init_copy(&k->frames[i], o->data[i]);
            k->data[i] = frame_bytes(&k->frames[i]);
        }
    }
}

void kept_finish(struct kept *k)
{
    buf_finish(&k->names);
    for (size_t i = 0; i < k->outcome.outputs_count; i++)
        frame_finish(&k->frames[i]);
}
