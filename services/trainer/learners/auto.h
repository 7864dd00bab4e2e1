/* auto.h - the search for a learner and its parameters: what the parts of "auto" share.
 *
 * A trial is a learner with parameters (auto_space.c), judged by cross-validation over all rows of
 * the lesson (auto_search.c).  The best few answer together, weighted, if that is better on rows
 * that they have not seen (auto_blend.c); they are fitted again on all rows (auto.c).
 */
#ifndef SERVICES_TRAINER_AUTO_H
#define SERVICES_TRAINER_AUTO_H

#include "common/base/digest.h"
#include "services/trainer/learner.h"
#include "services/trainer/random.h"

#define AUTO_TRIALS_MAX  1000
#define AUTO_FOLDS_MAX   10
#define AUTO_KEPT        12 /* best trials whose answers are kept */
#define AUTO_MEMBERS_MAX 8  /* that answer together */
#define AUTO_TEXT_MAX    320
#define AUTO_ANSWERS_MAX (1u << 26) /* rows x answers of one trial: 256 MiB */
#define AUTO_STATE_MAX \
    (128u << 20) /* bytes of kept answers; a search with more has no checkpoints */

struct auto_params {
    double budget_s; /* the search and the last fit together; not for `trials` */
    uint32_t trials; /* so many, whatever they take: the same seed finds the same; 0: by time */
    uint32_t folds;  /* 0: 5, or fewer where there are many cells */
    uint32_t blend;  /* models that may answer together; 1: the best one alone */
};

/* One line of the leaderboard. */
struct auto_trial {
    const struct learner *learner;
    char params[AUTO_TEXT_MAX]; /* JSON: what differs from the learner's defaults */
    double score;               /* the mean over its folds, see auto_score */
    double metric;              /* accuracy, or R2 */
    double loss;                /* log loss; of values: 1 - R2 */
    double seconds;             /* of all its folds */
    uint32_t folds;             /* fewer than there are: given up as hopeless */
    double fold_scores[AUTO_FOLDS_MAX];
    float *answers; /* for each of the lesson's rows, when it was held out; or NULL */
};

struct auto_search {
    const struct auto_params *params;
    const struct lesson *lesson;
    struct random random;
    uint64_t begin_us; /* of the search; what was spent before a checkpoint counts */
    uint64_t end_us;   /* 0: by trials */
    size_t rows;       /* the lesson's training and validation rows */
    size_t width;
    uint32_t folds, folds_used;
    unsigned char *fold; /* of each row, by its place in the lesson */
    struct auto_trial *trials;
    size_t trials_count;
    struct auto_trial *best;
    struct auto_trial *plain; /* the best one of a linear model; NULL: none */
    struct digest print;      /* what distinguishes this search from all others */
    uint64_t next_checkpoint_ms;
};

/* Draws the next trial: first each learner as it is, then with drawn parameters, every other time
 * of the learner that has been best so far.  False: no learner fits the lesson. */
bool auto_draw(struct auto_search *s, struct auto_trial *out);
/* A learner's parameters; the caller frees. */
void *auto_params_of(const struct auto_trial *t, const struct table *table);

/* Runs trials until the budget is spent.  CANCELLED; or the error of the first trial if none came
 * to an end. */
enum status auto_search_run(struct auto_search *s, struct error *err) MUST_CHECK;
void auto_search_finish(struct auto_search *s);
/* Takes over a trial that is done, and what its answers are. */
void auto_add(struct auto_search *s, const struct auto_trial *t);
/* How good answers (count x width) for those rows of the table are: what is maximised.  Accuracy
 * less a tenth of the log loss, which tells trials apart that have as many rows right; R2. */
double auto_score(const struct table *t, const uint32_t *rows, size_t count, const float *answers,
                  double *metric, double *loss);

/* A linear model that is as good as the best one, for all that the folds can tell, by its defaults
 * if these are: what is searched for long is found by chance, too.  NULL: there is none. */
const struct auto_trial *auto_plain(const struct auto_search *s);
/* Chooses trials, one after the other with replacement, whose mean answer is best (Caruana 2004);
 * how often each was chosen are the weights.  Returns how many different ones; the first is the
 * best alone. */
size_t auto_blend(const struct auto_search *s, size_t most,
                  const struct auto_trial *members[AUTO_MEMBERS_MAX],
                  float weights[AUTO_MEMBERS_MAX], double *score);

/* What the learners of the space need at most. */
uint64_t auto_space_memory(const struct table *t, size_t rows, uint32_t threads);

/* ---- auto_state.c ---- */

void auto_state_describe(struct auto_search *s);
/* Gives the lesson's owner a checkpoint when it is time for one. */
void auto_state_tell(struct auto_search *s);
/* Takes up what the lesson's `resume` has, after the folds were made; nothing if it is empty.  INVALID:
 * it is of another search, or damaged. */
enum status auto_state_take(struct auto_search *s, struct error *err) MUST_CHECK;

#endif
