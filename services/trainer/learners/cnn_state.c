/* cnn_state.c - where a training is, as bytes: what it is a training of, how far it has come,
 * theta, and what the optimiser remembers; a digest at the end.
 *
 * Everything random in an epoch follows from the seed and the epoch's number, so no generator's
 * state is here.  Read by the same build on the same kind of machine: numbers are as in memory.
 */
#include "services/trainer/learners/cnn_fit.h"
#include "services/trainer/learners/seal.h"

#define FORM "cnn 1"

struct progress {
    char form[8];
    struct digest lesson;
    uint64_t epoch, since, steps;
    double least;
};

/* Of all that makes the result what it is, but for the pixels, of which there are too many. */
static struct digest lesson_digest(const struct cnn_fit *f)
{
    const struct lesson *l = f->lesson;
    const struct image_shape *image = &l->table->image;
    const uint64_t whole[] = { l->seed,       f->members,   l->train,      l->validation,
                               f->m->classes, image->width, image->height, image->channels };
    const double real[] = { f->m->mean, f->m->scale };
    struct digest_stream s;
    struct digest d;
    digest_start(&s);
    seal_params(&s, &learner_cnn, f->p);
    digest_update(&s, bytes_of(whole, sizeof whole));
    digest_update(&s, bytes_of(real, sizeof real));
    if (l->class_weights)
        digest_update(&s, bytes_of(l->class_weights, f->m->classes * sizeof *l->class_weights));
    digest_update(&s, bytes_of(l->rows, (l->train + l->validation) * sizeof *l->rows));
    digest_update(&s, bytes_of(l->table->y, l->table->rows * sizeof *l->table->y));
    digest_end(&s, &d);
    return d;
}

/* The lists that are as long as theta. */
static size_t parts_of(const struct cnn_fit *f, float *parts[4])
{
    size_t count = 0;
    parts[count++] = f->m->theta;
    parts[count++] = f->speed;
    parts[count++] = f->best;
    if (f->square)
        parts[count++] = f->square;
    return count;
}

void cnn_state_save(const struct cnn_fit *f, struct buf *out)
{
    struct progress p;
    float *parts[4];
    size_t count = parts_of(f, parts), size = f->m->weights * sizeof(float), begin = out->len;
    memset(&p, 0, sizeof p); /* the gaps, too */
    memcpy(p.form, FORM, sizeof FORM);
    p.lesson = lesson_digest(f);
    p.epoch = f->epoch;
    p.since = f->since;
    p.steps = f->steps;
    p.least = f->least;
    buf_reserve(out, sizeof p + count * size + DIGEST_SIZE);
    buf_append(out, &p, sizeof p);
    for (size_t i = 0; i < count; i++)
        buf_append(out, parts[i], size);
    seal_put(out, begin);
}

enum status cnn_state_load(struct cnn_fit *f, struct bytes state, struct error *err)
{
    struct progress p;
    float *parts[4];
    struct digest lesson = lesson_digest(f);
    size_t count = parts_of(f, parts), size = f->m->weights * sizeof(float);
    const unsigned char *at = state.data;
    if (state.len < sizeof p + DIGEST_SIZE)
        return error_set(err, STATUS_INVALID, "the checkpoint is cut short");
    memcpy(&p, at, sizeof p);
    if (!seal_take(&state))
        return error_set(err, STATUS_INVALID, "the checkpoint is damaged");
    if (memcmp(p.form, FORM, sizeof FORM) != 0 || !digest_equal(&p.lesson, &lesson) ||
        state.len != sizeof p + count * size)
        return error_set(err, STATUS_INVALID, "the checkpoint is of another training");
    for (size_t i = 0; i < count; i++)
        memcpy(parts[i], at + sizeof p + i * size, size);
    f->epoch = (uint32_t)p.epoch;
    f->since = (uint32_t)p.since;
    f->steps = p.steps;
    f->least = p.least;
    return STATUS_OK;
}
