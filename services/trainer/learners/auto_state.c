/* auto_state.c - checkpoints of a search, between two trials.
 *
 *     head | a line per trial | the kept answers, in the trials' order | SHA-256 of all that
 *
 * in the byte order of the machine.  The folds follow from the seed; what is spent of the budget
 * counts on.
 */
#include "services/trainer/learners/auto.h"

#include "common/base/clock.h"
#include "services/trainer/learners/seal.h"

#include <stdio.h>
#include <stdlib.h>

#define MAGIC            "maasaut1"
#define NAME_SIZE        16
#define CHECKPOINT_MS    2000 /* between two of them, at least; */
#define CHECKPOINT_SHARE 50   /* and so many times as long as one takes */

struct head {
    char magic[sizeof MAGIC - 1];
    uint64_t random;
    uint64_t spent_us;
    uint64_t trials;
    struct digest print;
};

struct line {
    char learner[NAME_SIZE];
    char params[AUTO_TEXT_MAX];
    double score, metric, loss, seconds;
    double fold_scores[AUTO_FOLDS_MAX];
    uint32_t folds;
    uint32_t has_answers;
};

/* As for trees: which rows, and what is to be learnt of them. */
void auto_state_describe(struct auto_search *s)
{
    const struct lesson *l = s->lesson;
    const struct table *t = l->table;
    const uint64_t numbers[] = { l->seed, l->threads, s->rows, t->features, t->outputs, s->width };
    struct digest_stream d;
    digest_start(&d);
    seal_params(&d, &learner_auto, s->params);
    digest_update(&d, bytes_of(numbers, sizeof numbers));
    digest_update(&d, bytes_of(l->rows, s->rows * sizeof *l->rows));
    if (t->outputs)
        digest_update(&d, bytes_of(t->values, t->rows * t->outputs * sizeof *t->values));
    else
        digest_update(&d, bytes_of(t->y, t->rows * sizeof *t->y));
    digest_end(&d, &s->print);
}

static size_t answers_size(const struct auto_search *s)
{
    return s->rows * s->width * sizeof(float);
}

static void put_line(const struct auto_trial *t, struct buf *state)
{
    struct line line = { .score = t->score,
                         .metric = t->metric,
                         .loss = t->loss,
                         .seconds = t->seconds,
                         .folds = t->folds,
                         .has_answers = t->answers != NULL };
    snprintf(line.learner, sizeof line.learner, "%s", t->learner->name);
    memcpy(line.params, t->params, sizeof line.params);
    memcpy(line.fold_scores, t->fold_scores, sizeof line.fold_scores);
    buf_append(state, &line, sizeof line);
}

static void write_state(const struct auto_search *s, struct buf *state)
{
    struct head head = { .random = s->random.state,
                         .spent_us = clock_us() - s->begin_us,
                         .trials = s->trials_count,
                         .print = s->print };
    memcpy(head.magic, MAGIC, sizeof head.magic);
    buf_append(state, &head, sizeof head);
    for (size_t i = 0; i < s->trials_count; i++)
        put_line(&s->trials[i], state);
    for (size_t i = 0; i < s->trials_count; i++)
        if (s->trials[i].answers)
            buf_append(state, s->trials[i].answers, answers_size(s));
    seal_put(state, 0);
}

void auto_state_tell(struct auto_search *s)
{
    const struct lesson *l = s->lesson;
    uint64_t begin = clock_ms();
    struct buf state = { 0 };
    if (!l->events->checkpoint || begin < s->next_checkpoint_ms ||
        answers_size(s) * AUTO_KEPT > AUTO_STATE_MAX)
        return;
    write_state(s, &state);
    l->events->checkpoint(l->arg, buf_bytes(&state));
    buf_finish(&state);
    uint64_t now = clock_ms(), wait = (now - begin) * CHECKPOINT_SHARE;
    s->next_checkpoint_ms = now + (wait > CHECKPOINT_MS ? wait : CHECKPOINT_MS);
}

/* ---- and back ----------------------------------------------------------------------------------- */

static enum status damaged(struct error *err)
{
    return error_set(err, STATUS_INVALID, "the checkpoint is damaged, or no search is in it");
}

/* Takes `size` bytes off; NULL: there are fewer. */
static const void *take(struct bytes *from, size_t size)
{
    const char *at = from->data;
    if (from->len < size)
        return NULL;
    *from = bytes_of(at + size, from->len - size);
    return at;
}

static bool take_line(const struct line *line, struct auto_trial *t)
{
    if (memchr(line->learner, 0, sizeof line->learner) == NULL ||
        memchr(line->params, 0, sizeof line->params) == NULL || line->folds > AUTO_FOLDS_MAX)
        return false;
    *t = (struct auto_trial){ .learner = learner_find(line->learner),
                              .score = line->score,
                              .metric = line->metric,
                              .loss = line->loss,
                              .seconds = line->seconds,
                              .folds = line->folds };
    memcpy(t->params, line->params, sizeof t->params);
    memcpy(t->fold_scores, line->fold_scores, sizeof t->fold_scores);
    return t->learner != NULL;
}

static bool take_trials(struct auto_search *s, const struct head *head, struct bytes from)
{
    const struct line *lines = take(&from, head->trials * sizeof *lines);
    for (size_t i = 0; lines && i < head->trials; i++) {
        struct line line;
        struct auto_trial t;
        memcpy(&line, (const char *)lines + i * sizeof line, sizeof line);
        const void *answers = line.has_answers ? take(&from, answers_size(s)) : NULL;
        if (!take_line(&line, &t) || (line.has_answers && !answers))
            return false;
        if (answers) {
            t.answers = mem_alloc(answers_size(s));
            memcpy(t.answers, answers, answers_size(s));
        }
        auto_add(s, &t);
    }
    return lines && !from.len;
}

enum status auto_state_take(struct auto_search *s, struct error *err)
{
    struct bytes state = s->lesson->resume;
    struct head head;
    if (!state.len)
        return STATUS_OK;
    if (!seal_take(&state) || state.len < sizeof head)
        return damaged(err);
    memcpy(&head, take(&state, sizeof head), sizeof head);
    if (memcmp(head.magic, MAGIC, sizeof head.magic) != 0 || head.trials > AUTO_TRIALS_MAX)
        return damaged(err);
    if (!digest_equal(&head.print, &s->print))
        return error_set(err, STATUS_INVALID,
                         "the checkpoint is of other data or of other parameters");
    if (!take_trials(s, &head, state))
        return damaged(err);
    s->random.state = head.random;
    s->begin_us -= head.spent_us;
    return STATUS_OK;
}
