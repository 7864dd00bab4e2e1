/* checkpoint.c - a fit that goes on later, or elsewhere, to the very same model.
 *
 *     "MaaSgrad" | version | about (32) | epoch | since | least | numbers | SHA-256 of all that
 *
 * in the byte order of the machine: trainers that share a queue have the same processors, and the
 * magic number is read as a number, so others refuse it.  The order of the rows and what dropout
 * leaves out follow from seed and epoch.
 */
#include "services/trainer/learners/descent_run.h"
#include "services/trainer/learners/seal.h"

#define MAGIC   0x646172675361614dull
#define VERSION 1u

#define ARRAYS_MAX 5

struct header {
    uint64_t magic;
    uint32_t version;
    uint32_t epoch;
    uint32_t since;
    uint32_t unused;
    double least;
    struct digest about;
};

/* The scales stand for the data: other rows have others. */
void checkpoint_describe(struct descent *d, const struct learner *l)
{
    const struct lesson *lesson = d->lesson;
    const struct network *n = &d->net;
    const uint64_t sizes[] = { lesson->train,   lesson->validation, lesson->seed, d->pass.members,
                               n->layers_count, n->features,        n->outputs,   n->count };
    struct digest_stream s;
    digest_start(&s);
    seal_params(&s, l, d->p);
    digest_update(&s, bytes_str(d->pass.k->name));
    digest_update(&s, bytes_of(sizes, sizeof sizes));
    digest_update(
        &s, bytes_of(lesson->rows, (lesson->train + lesson->validation) * sizeof *lesson->rows));
    digest_update(&s, bytes_of(n->mean, n->features * sizeof(float)));
    digest_update(&s, bytes_of(n->scale, n->features * sizeof(float)));
    digest_update(&s, bytes_of(n->target_mean, n->outputs * sizeof(float)));
    digest_update(&s, bytes_of(n->target_scale, n->outputs * sizeof(float)));
    if (d->truth.class_weights)
        digest_update(
            &s, bytes_of(d->truth.class_weights, lesson->table->classes_count * sizeof(float)));
    digest_end(&s, &d->about);
}

/* The arrays that change. */
static size_t numbers(const struct descent *d, struct bytes *out)
{
    size_t size = d->net.count * sizeof(float), count = 0;
    out[count++] = bytes_of(d->net.theta, size);
    out[count++] = bytes_of(d->speed, size);
    out[count++] = bytes_of(d->best.theta, d->best.count * sizeof(float));
    if (d->second)
        out[count++] = bytes_of(d->second, size);
    if (d->lbfgs.vectors) {
        out[count++] = bytes_of(d->lbfgs.vectors, LBFGS_VECTORS * size);
        out[count++] = bytes_of(&d->lbfgs.line, sizeof d->lbfgs.line);
    }
    return count;
}

void checkpoint_write(const struct descent *d, struct buf *out)
{
    struct header h = { .magic = MAGIC,
                        .version = VERSION,
                        .epoch = d->number,
                        .since = d->since,
                        .least = d->least,
                        .about = d->about };
    struct bytes arrays[ARRAYS_MAX];
    size_t count = numbers(d, arrays), begin = out->len;
    buf_append(out, &h, sizeof h);
    for (size_t i = 0; i < count; i++)
        buf_append_bytes(out, arrays[i]);
    seal_put(out, begin);
}

enum status checkpoint_read(struct descent *d, struct bytes state, struct error *err)
{
    struct header h;
    struct bytes arrays[ARRAYS_MAX];
    size_t count = numbers(d, arrays), size = sizeof h;
    for (size_t i = 0; i < count; i++)
        size += arrays[i].len;
    if (state.len < sizeof h + DIGEST_SIZE)
        return error_set(err, STATUS_INVALID, "the checkpoint is cut off");
    const unsigned char *at = state.data;
    memcpy(&h, at, sizeof h);
    if (!seal_take(&state) || h.magic != MAGIC)
        return error_set(err, STATUS_INVALID, "the checkpoint is damaged");
    if (h.version != VERSION || state.len != size || !digest_equal(&h.about, &d->about))
        return error_set(err, STATUS_INVALID, "the checkpoint is of another training");
    at += sizeof h;
    for (size_t i = 0; i < count; i++) {
        memcpy((void *)(uintptr_t)arrays[i].data, at, arrays[i].len);
        at += arrays[i].len;
    }
    d->number = h.epoch;
    d->since = h.since;
    d->least = h.least;
    return STATUS_OK;
}
