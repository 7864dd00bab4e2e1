/* auto_blend.c - which of the best trials answer together. */
#include "services/trainer/learners/auto.h"

#include <stdlib.h>

#define STEPS      12    /* choices, with replacement */
#define WORTHWHILE 0.001 /* gain of the score for which a blend takes the place of one model */

/* The rows that were held out at some time, and a sum of answers for them. */
struct blend {
    const struct auto_search *s;
    uint32_t *places, *rows;
    size_t count;
    float *sum, *mean;
};

static void start(struct blend *b, const struct auto_search *s)
{
    size_t cells = s->rows * s->width;
    *b = (struct blend){ .s = s };
    b->places = mem_alloc(s->rows * sizeof *b->places);
    b->rows = mem_alloc(s->rows * sizeof *b->rows);
    b->sum = mem_zalloc(cells * sizeof *b->sum);
    b->mean = mem_alloc(cells * sizeof *b->mean);
    for (size_t i = 0; i < s->rows; i++)
        if (s->fold[i] < s->folds_used) {
            b->places[b->count] = (uint32_t)i;
            b->rows[b->count++] = s->lesson->rows[i];
        }
}

static void finish(struct blend *b)
{
    free(b->places);
    free(b->rows);
    free(b->sum);
    free(b->mean);
}

/* The score with one more of these answers, after `n` choices. */
static double score_with(struct blend *b, const float *answers, size_t n)
{
    size_t width = b->s->width;
    double metric, loss;
    for (size_t i = 0; i < b->count; i++)
        for (size_t k = 0; k < width; k++)
            b->mean[i * width + k] =
                (b->sum[i * width + k] + answers[b->places[i] * width + k]) / (float)(n + 1);
    return auto_score(b->s->lesson->table, b->rows, b->count, b->mean, &metric, &loss);
}

static void choose(struct blend *b, const float *answers)
{
    size_t width = b->s->width;
    for (size_t i = 0; i < b->count; i++)
        for (size_t k = 0; k < width; k++)
            b->sum[i * width + k] += answers[b->places[i] * width + k];
}

/* Counts one more choice; false: there would be too many different ones. */
static bool count_choice(const struct auto_trial *t, size_t most,
                         const struct auto_trial *members[AUTO_MEMBERS_MAX],
                         float weights[AUTO_MEMBERS_MAX], size_t *count)
{
    size_t i = 0;
    while (i < *count && members[i] != t)
        i++;
    if (i == most)
        return false;
    if (i == *count) {
        members[(*count)++] = t;
        weights[i] = 0;
    }
    weights[i]++;
    return true;
}

size_t auto_blend(const struct auto_search *s, size_t most,
                  const struct auto_trial *members[AUTO_MEMBERS_MAX],
                  float weights[AUTO_MEMBERS_MAX], double *score)
{
    struct blend b;
    size_t count = 0, chosen = 0;
    start(&b, s);
    double alone = score_with(&b, s->best->answers, 0), best = alone;
    count_choice(s->best, most, members, weights, &count);
    choose(&b, s->best->answers);
    for (chosen = 1; chosen < STEPS && most > 1; chosen++) {
        const struct auto_trial *next = NULL;
        for (size_t i = 0; i < s->trials_count; i++) {
            const struct auto_trial *t = &s->trials[i];
            double with = t->answers ? score_with(&b, t->answers, chosen) : best;
            if (with <= best)
                continue;
            best = with;
            next = t;
        }
        if (!next || !count_choice(next, most, members, weights, &count))
            break;
        choose(&b, next->answers);
    }
    if (best - alone < WORTHWHILE) {
        count = chosen = 1;
        weights[0] = 1;
        best = alone;
    }
    for (size_t i = 0; i < count; i++)
        weights[i] /= (float)chosen;
    *score = best;
    finish(&b);
    return count;
}
