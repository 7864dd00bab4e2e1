/* auto_search.c - trials by cross-validation; one that falls behind is given up. */
#include "services/trainer/learners/auto.h"

#include "common/base/clock.h"

#include <math.h>
#include <stdlib.h>

#define CELLS_FOR_5     4000000u  /* rows x features for five folds; */
#define CELLS_FOR_3     40000000u /* for three; beyond that one fold of three */
#define HOPELESS        0.01      /* below the best one by this, beside the spread of its folds */
#define LEAST_LIKELY    1e-7      /* in a logarithm */
#define LOSS_SHARE      0.1       /* of the log loss in the score */
#define WORST_LOSS      5.0
#define ANSWER_ROWS     128 /* that a model is asked about at a time */
#define SEARCH_FRACTION 0.9 /* of the run's progress; the last fit is the rest */

static double score_classes(const struct table *t, const uint32_t *rows, size_t count,
                            const float *answers, double *metric, double *loss)
{
    size_t right = 0, width = t->classes_count;
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        const float *p = answers + i * width;
        size_t best = 0, y = t->y[rows[i]];
        for (size_t k = 1; k < width; k++)
            best = p[k] > p[best] ? k : best;
        right += best == y;
        sum -= log(fmax((double)p[y], LEAST_LIKELY));
    }
    *metric = (double)right / (double)count;
    *loss = sum / (double)count;
    return *metric - LOSS_SHARE * fmin(*loss, WORST_LOSS);
}

double auto_score(const struct table *t, const uint32_t *rows, size_t count, const float *answers,
                  double *metric, double *loss)
{
    double all = 0, n = (double)count;
    if (!t->outputs)
        return score_classes(t, rows, count, answers, metric, loss);
    for (size_t k = 0; k < t->outputs; k++) {
        double mean = 0, error = 0, variance = 0;
        for (size_t i = 0; i < count; i++)
            mean += (double)t->values[rows[i] * t->outputs + k] / n;
        for (size_t i = 0; i < count; i++) {
            double y = (double)t->values[rows[i] * t->outputs + k];
            double d = y - (double)answers[i * t->outputs + k];
            error += d * d;
            variance += (y - mean) * (y - mean);
        }
        all += variance > 0 ? 1 - error / variance : 0;
    }
    *metric = all / (double)t->outputs;
    *loss = 1 - *metric;
    return *metric;
}

/* ---- folds --------------------------------------------------------------------------------------- */

/* Each class goes round the folds, in an order that is drawn. */
static void make_folds(struct auto_search *s)
{
    const struct lesson *l = s->lesson;
    const struct table *t = l->table;
    uint64_t cells = (uint64_t)s->rows * t->features;
    uint32_t most = s->rows < AUTO_FOLDS_MAX ? (uint32_t)s->rows : AUTO_FOLDS_MAX;
    s->folds = s->params->folds ? s->params->folds : cells <= CELLS_FOR_5 ? 5 : 3;
    s->folds = s->folds < most ? s->folds : most;
    s->folds_used = s->params->folds || cells <= CELLS_FOR_3 ? s->folds : 1;
    uint32_t *order = mem_alloc(s->rows * sizeof *order);
    size_t *next = mem_zalloc((t->classes_count + 1) * sizeof *next);
    size_t *starts = mem_zalloc((t->classes_count + 2) * sizeof *starts);
    s->fold = mem_alloc(s->rows);
    for (size_t i = 0; i < s->rows; i++)
        order[i] = (uint32_t)i;
    random_shuffle(&s->random, order, s->rows);
    for (size_t i = 0; i < s->rows; i++) /* a class goes on where the one before it has ended */
        starts[t->outputs ? 1 : t->y[l->rows[i]] + 1]++;
    for (size_t c = 0; c < t->classes_count; c++)
        starts[c + 1] += starts[c];
    for (size_t i = 0; i < s->rows; i++) {
        size_t c = t->outputs ? 0 : t->y[l->rows[order[i]]];
        s->fold[order[i]] = (unsigned char)((starts[c] + next[c]++) % s->folds);
    }
    free(order);
    free(next);
    free(starts);
}

/* First the rows that are learnt from, then those that are held out, whose places in the lesson are
 * in `places`. */
static size_t fold_rows(const struct auto_search *s, uint32_t fold, uint32_t *rows,
                        uint32_t *places)
{
    size_t train = 0, held = 0;
    for (size_t i = 0; i < s->rows; i++)
        if (s->fold[i] != fold)
            rows[train++] = s->lesson->rows[i];
    for (size_t i = 0; i < s->rows; i++)
        if (s->fold[i] == fold) {
            places[held] = (uint32_t)i;
            rows[train + held++] = s->lesson->rows[i];
        }
    return train;
}

/* ---- a trial ------------------------------------------------------------------------------------- */

static double fraction_of(const struct auto_search *s)
{
    double part = s->end_us ? (double)(clock_us() - s->begin_us) / (double)(s->end_us - s->begin_us)
                            : (double)s->trials_count / s->params->trials;
    return SEARCH_FRACTION * fmin(part, 1);
}

/* What a learner inside is told. */
struct inner {
    struct auto_search *s;
    bool cancelled;
};

/* The first trial may take longer than the budget: without it there is nothing. */
static bool go_on(void *arg, double fraction)
{
    struct inner *in = arg;
    const struct lesson *l = in->s->lesson;
    (void)fraction;
    in->cancelled = in->cancelled || !l->events->go_on(l->arg, fraction_of(in->s));
    bool late = in->s->end_us && in->s->best && clock_us() > in->s->end_us;
    return !in->cancelled && !late;
}

static void ignore_epoch(void *arg, const struct epoch *e)
{
    (void)arg;
    (void)e;
}

static const struct learner_events inner_events = { go_on, ignore_epoch, NULL };

/* What the model says of these rows. */
static enum status answer(struct inner *in, const struct auto_trial *t, const void *model,
                          const uint32_t *rows, size_t count, float *answers, struct error *err)
{
    const struct table *table = in->s->lesson->table;
    float *x = mem_alloc(ANSWER_ROWS * table->features * sizeof *x);
    bool on = true;
    for (size_t at = 0; at < count && on; at += ANSWER_ROWS) {
        size_t n = count - at < ANSWER_ROWS ? count - at : ANSWER_ROWS;
        table_rows(table, rows + at, n, x);
        t->learner->predict(model, x, n, answers + at * in->s->width);
        on = go_on(in, 0);
    }
    free(x);
    return on ? STATUS_OK : error_set(err, STATUS_CANCELLED, "cancelled");
}

/* Fits without the fold's rows and answers them; the score is the fold's. */
static enum status run_fold(struct inner *in, struct auto_trial *t, const void *params,
                            uint32_t fold, double *score, struct error *err)
{
    struct auto_search *s = in->s;
    const struct table *table = s->lesson->table;
    uint32_t *rows = mem_alloc(s->rows * sizeof *rows), *places = mem_alloc(s->rows * sizeof *rows);
    size_t train = fold_rows(s, fold, rows, places), held = s->rows - train;
    struct lesson lesson = *s->lesson;
    void *model = NULL;
    lesson.rows = rows;
    lesson.train = train;
    lesson.validation = 0;
    lesson.resume = bytes_of(NULL, 0);
    lesson.events = &inner_events;
    lesson.arg = in;
    enum status st = t->learner->fit(params, &lesson, &model, err);
    if (!st) {
        float *answers = mem_alloc(held * s->width * sizeof *answers);
        double metric, loss;
        st = answer(in, t, model, rows + train, held, answers, err);
        for (size_t i = 0; i < held; i++)
            memcpy(t->answers + places[i] * s->width, answers + i * s->width,
                   s->width * sizeof *answers);
        if (!st) {
            *score = auto_score(table, rows + train, held, answers, &metric, &loss);
            t->metric += metric;
            t->loss += loss;
        }
        t->learner->destroy(model);
        free(answers);
    }
    free(rows);
    free(places);
    return st;
}

/* On the same folds, further below the best one than its folds are apart. */
static bool hopeless(const struct auto_search *s, const double *scores, uint32_t folds)
{
    double mine = 0, best = 0, all = 0, squares = 0;
    if (!s->best)
        return false;
    for (uint32_t i = 0; i < folds; i++) {
        mine += scores[i] / folds;
        best += s->best->fold_scores[i] / folds;
    }
    for (uint32_t i = 0; i < s->folds_used; i++) {
        all += s->best->fold_scores[i] / s->folds_used;
        squares += s->best->fold_scores[i] * s->best->fold_scores[i] / s->folds_used;
    }
    double spread = sqrt(fmax(squares - all * all, 0));
    return mine < best - spread - HOPELESS;
}

static enum status run_trial(struct inner *in, struct auto_trial *t, struct error *err)
{
    struct auto_search *s = in->s;
    void *params = auto_params_of(t, s->lesson->table);
    uint64_t begin = clock_us();
    enum status st = STATUS_OK;
    t->answers = mem_zalloc(s->rows * s->width * sizeof *t->answers);
    while (t->folds < s->folds_used && !st) {
        st = run_fold(in, t, params, t->folds, &t->fold_scores[t->folds], err);
        if (st)
            break;
        t->score += t->fold_scores[t->folds++];
        if (t->folds < s->folds_used && hopeless(s, t->fold_scores, t->folds))
            break;
    }
    free(params);
    t->seconds = (double)(clock_us() - begin) / 1e6;
    double n = t->folds ? t->folds : 1;
    t->score /= n;
    t->metric /= n;
    t->loss /= n;
    return st;
}

/* ---- the search ---------------------------------------------------------------------------------- */

/* Answers take memory: only those of the best trials that came to an end are kept. */
static void forget_worst(struct auto_search *s)
{
    size_t kept = 0;
    struct auto_trial *worst = NULL;
    for (size_t i = 0; i < s->trials_count; i++) {
        struct auto_trial *t = &s->trials[i];
        if (!t->answers)
            continue;
        kept++;
        worst = !worst || t->score < worst->score ? t : worst;
    }
    if (kept <= AUTO_KEPT)
        return;
    free(worst->answers);
    worst->answers = NULL;
}

static bool is_plain(const struct learner *l)
{
    return strcmp(l->name, "linear") == 0 || strcmp(l->name, "logistic") == 0;
}

/* Over the folds, by more than chance would have it: Student's t, two-sided, 95 %. */
static bool is_better(const struct auto_search *s, const struct auto_trial *a,
                      const struct auto_trial *than)
{
    static const double student[AUTO_FOLDS_MAX] = { 0,     12.706, 4.303, 3.182, 2.776,
                                                    2.571, 2.447,  2.365, 2.306, 2.262 };
    double n = s->folds_used, sum = 0, squares = 0;
    for (uint32_t i = 0; i < s->folds_used; i++) {
        double d = a->fold_scores[i] - than->fold_scores[i];
        sum += d;
        squares += d * d;
    }
    double variance = fmax(squares - sum * sum / n, 0) / (n - 1);
    return sum / n > student[s->folds_used - 1] * sqrt(variance / n);
}

const struct auto_trial *auto_plain(const struct auto_search *s)
{
    const struct auto_trial *plain = s->trials; /* the first one: by its defaults */
    if (s->folds_used < 2 || !s->plain)
        return NULL;
    if (!is_plain(plain->learner) || plain->folds < s->folds_used || is_better(s, s->plain, plain))
        plain = s->plain;
    return is_better(s, s->best, plain) ? NULL : plain;
}

void auto_add(struct auto_search *s, const struct auto_trial *t)
{
    bool whole = t->folds == s->folds_used;
    struct auto_trial *at = &s->trials[s->trials_count++];
    *at = *t;
    if (!whole) {
        free(at->answers);
        at->answers = NULL;
    }
    if (whole && (!s->best || t->score > s->best->score))
        s->best = at;
    if (whole && is_plain(t->learner) && (!s->plain || t->score > s->plain->score))
        s->plain = at;
    forget_worst(s);
}

static void tell(struct auto_search *s)
{
    const struct lesson *l = s->lesson;
    const struct auto_trial *t = &s->trials[s->trials_count - 1];
    const struct epoch e = { .number = (uint32_t)s->trials_count,
                             .train_loss = t->loss,
                             .validation_loss = s->best ? s->best->loss : t->loss,
                             .validation_accuracy = s->best ? s->best->metric : t->metric };
    l->events->epoch(l->arg, &e);
    auto_state_tell(s);
}

/* The best one is fitted once more, on all rows: as long as one of its folds, and a little. */
static bool time_is_up(const struct auto_search *s)
{
    if (s->trials_count >= AUTO_TRIALS_MAX)
        return true;
    if (!s->end_us)
        return s->trials_count >= s->params->trials;
    double again = s->best ? 1.5 * s->best->seconds / s->folds_used : 0;
    return s->best && clock_us() + (uint64_t)(again * 1e6) > s->end_us;
}

static enum status check(const struct auto_search *s, struct error *err)
{
    if (s->params->folds == 1)
        return error_set(err, STATUS_INVALID, "\"folds\" must be 2 or more, or 0: as it fits");
    if ((uint64_t)s->rows * s->width > AUTO_ANSWERS_MAX)
        return error_set(err, STATUS_TOO_LARGE,
                         "%zu rows with %zu answers each are too many for a search; name a learner",
                         s->rows, s->width);
    return STATUS_OK;
}

static enum status start(struct auto_search *s, struct error *err)
{
    s->begin_us = clock_us();
    s->random.state = s->lesson->seed;
    s->trials = mem_zalloc(AUTO_TRIALS_MAX * sizeof *s->trials);
    make_folds(s);
    auto_state_describe(s);
    enum status st = auto_state_take(s, err);
    if (!s->params->trials)
        s->end_us = s->begin_us + (uint64_t)(s->params->budget_s * 1e6);
    return st;
}

static enum status run_trials(struct auto_search *s, struct error *err)
{
    struct inner in = { .s = s };
    struct error first = { 0 };
    while (!time_is_up(s)) {
        struct auto_trial t;
        struct error error = { 0 };
        if (!auto_draw(s, &t))
            return error_set(err, STATUS_INVALID, "no learner of this trainer fits these data");
        enum status st = run_trial(&in, &t, &error);
        if (st && !first.status)
            first = error;
        if (in.cancelled || (st == STATUS_CANCELLED && s->best)) {
            free(t.answers);
            break;
        }
        auto_add(s, &t);
        tell(s);
    }
    if (in.cancelled)
        return error_set(err, STATUS_CANCELLED, "cancelled");
    return s->best ? STATUS_OK
                   : error_set(err, first.status ? first.status : STATUS_INVALID, "%s", first.text);
}

enum status auto_search_run(struct auto_search *s, struct error *err)
{
    s->rows = s->lesson->train + s->lesson->validation;
    s->width = table_width(s->lesson->table);
    enum status st = check(s, err);
    if (!st)
        st = start(s, err);
    return st ? st : run_trials(s, err);
}

void auto_search_finish(struct auto_search *s)
{
    for (size_t i = 0; i < s->trials_count; i++)
        free(s->trials[i].answers);
    free(s->trials);
    free(s->fold);
}
