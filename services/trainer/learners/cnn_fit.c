/* cnn_fit.c - the training loop: epochs, validation, early stopping, checkpoints. */
#include "services/trainer/learners/cnn_fit.h"

#include "common/base/clock.h"
#include "services/trainer/random.h"

#include <math.h>
#include <stdlib.h>

#define CHECKPOINT_MS 5000 /* between two of them; the first is after the first epoch */

static enum status diverged(uint32_t number, struct error *err)
{
    return error_set(err, STATUS_INVALID, "the loss diverged in epoch %u; try a smaller lr",
                     number);
}

/* done: epochs, and a part of one. */
static enum status tell(const struct cnn_fit *f, double done, struct error *err)
{
    const struct lesson *lesson = f->lesson;
    if (lesson->events->go_on(lesson->arg, done / f->p->epochs))
        return STATUS_OK;
    return error_set(err, STATUS_CANCELLED, "cancelled");
}

static double rate(const struct cnn_params *p, double done)
{
    return p->schedule == CNN_COSINE ? p->lr * (1 + cos(M_PI * done / p->epochs)) / 2 : p->lr;
}

/* A batch that has no room in all passes goes in blocks. */
static enum status run_batch(struct cnn_fit *f, size_t at, size_t count, struct cnn_score *score,
                             struct error *err)
{
    double train = (double)f->lesson->train;
    f->work.batch = count;
    for (size_t done = 0, n = 0; done < count; done += n) {
        n = count - done < cnn_step_rows(f) ? count - done : cnn_step_rows(f);
        f->work.block.rows = f->order + at + done;
        f->work.block.first = at + done;
        f->work.block.count = n;
        cnn_step_block(f, score);
        if (!isfinite(score->loss))
            return diverged(f->epoch + 1, err);
        if (tell(f, f->epoch + (double)(at + done + n) / train, err))
            return err->status;
    }
    cnn_step_update(f, rate(f->p, f->epoch + (double)at / train));
    return STATUS_OK;
}

static enum status run_epoch(struct cnn_fit *f, struct epoch *e, struct error *err)
{
    const struct lesson *lesson = f->lesson;
    struct random r = { .state = lesson->seed ^ (uint64_t)e->number << 32 };
    struct cnn_noise noise = { .key = random_u64(&r),
                               .shift = f->p->shift,
                               .flip = f->p->flip,
                               .dropout = (float)f->p->dropout };
    struct cnn_score score = { 0 };
    size_t batch = f->p->batch;
    enum status st = STATUS_OK;
    memcpy(f->order, lesson->rows, lesson->train * sizeof *f->order);
    random_shuffle(&r, f->order, lesson->train);
    f->work.block = (struct cnn_block){ .t = lesson->table,
                                        .noise = &noise,
                                        .class_weights = lesson->class_weights };
    for (size_t at = 0; at < lesson->train && !st; at += batch)
        st = run_batch(f, at, lesson->train - at < batch ? lesson->train - at : batch, &score, err);
    e->train_loss = score.loss / (double)lesson->train;
    return st;
}

static enum status validate(struct cnn_fit *f, struct epoch *e, struct error *err)
{
    const struct lesson *lesson = f->lesson;
    const uint32_t *rows = lesson->validation ? lesson->rows + lesson->train : lesson->rows;
    size_t count = lesson->validation ? lesson->validation : lesson->train;
    struct cnn_score score = { 0 };
    f->work.batch = 0;
    f->work.block =
        (struct cnn_block){ .t = lesson->table, .class_weights = lesson->class_weights };
    for (size_t at = 0, n = 0; at < count; at += n) {
        n = count - at < cnn_step_rows(f) ? count - at : cnn_step_rows(f);
        f->work.block.rows = rows + at;
        f->work.block.count = n;
        cnn_step_block(f, &score);
        if (tell(f, e->number, err))
            return err->status;
    }
    f->work.load = true; /* it may be that gradients are to be begun anew */
    e->validation_loss = score.loss / (double)count;
    e->validation_accuracy = (double)score.hits / (double)count;
    return isfinite(score.loss) ? STATUS_OK : diverged(e->number, err);
}

static void keep_best(struct cnn_fit *f, const struct epoch *e)
{
    f->epoch = e->number;
    f->since++;
    if (e->validation_loss < f->least) {
        f->least = e->validation_loss;
        f->since = 0;
        memcpy(f->best, f->m->theta, f->m->weights * sizeof *f->best);
    }
}

static bool ended(const struct cnn_fit *f)
{
    return f->epoch >= f->p->epochs || (f->p->patience && f->since >= f->p->patience);
}

static void save(const struct cnn_fit *f, uint64_t *last_ms)
{
    struct buf state = { 0 };
    if (!f->lesson->events->checkpoint || (*last_ms && clock_ms() - *last_ms < CHECKPOINT_MS))
        return;
    cnn_state_save(f, &state);
    f->lesson->events->checkpoint(f->lesson->arg, buf_bytes(&state));
    buf_finish(&state);
    *last_ms = clock_ms();
}

static enum status run_all(struct cnn_fit *f, struct error *err)
{
    uint64_t saved_ms = 0;
    while (!ended(f)) {
        struct epoch e = { .number = f->epoch + 1 };
        if (run_epoch(f, &e, err) || validate(f, &e, err))
            return err->status;
        keep_best(f, &e);
        f->lesson->events->epoch(f->lesson->arg, &e);
        if (!ended(f))
            save(f, &saved_ms);
    }
    memcpy(f->m->theta, f->best, f->m->weights * sizeof *f->best);
    return STATUS_OK;
}

enum status cnn_train(struct cnn *m, const struct cnn_params *p, const struct lesson *lesson,
                      struct error *err)
{
    struct cnn_fit f;
    enum status st = STATUS_OK;
    cnn_fit_init(&f, m, p, lesson);
    if (lesson->resume.len)
        st = cnn_state_load(&f, lesson->resume, err);
    if (!st)
        st = run_all(&f, err);
    cnn_fit_finish(&f);
    return st;
}
