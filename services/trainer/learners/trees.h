/* trees.h - what the learners of trees share: limits, what is to be learnt as numbers, progress,
 * checkpoints.  forest.c grows trees that do not know of each other, boosted.c each for what the
 * others left.
 */
#ifndef SERVICES_TRAINER_TREES_H
#define SERVICES_TRAINER_TREES_H

#include "common/base/digest.h"
#include "services/trainer/learners/ensemble.h"
#include "services/trainer/learners/xgb.h"

#define TREES_MAX           20000 /* of one model */
#define TREE_DEPTH_MAX      64    /* 0 stands for: this */
#define BOOSTED_DEPTH_MAX   16
#define TREE_BINS_MAX       1024
#define TREE_GRADIENTS_MAX  (1u << 27)  /* rows x outputs: each takes 32 bytes */
#define TREE_HISTOGRAMS_MAX (2u << 30)  /* bytes of the histograms of all nodes that are grown */
#define TREE_HISTOGRAMS_FEW (64u << 20) /* so many at least are there for any trees */

#define TREE_BIN_BYTES 16 /* of a histogram: two sums */

#define TREE_LEAST_PROBABILITY 1e-7f /* in a logarithm */

#define TREE_CHECKPOINT_MS    10000 /* between two of them, at least; */
#define TREE_CHECKPOINT_SHARE 50    /* and so many times as long as one takes */

/* A lesson for trees. */
struct tree_lesson {
    const struct lesson *lesson;
    size_t outputs;  /* numbers to be learnt of each row */
    size_t together; /* of these, how many one tree answers */
    uint32_t bins;
    uint32_t trees;      /* of the whole model */
    uint32_t max_depth;  /* of each */
    size_t features;     /* that each sees; fewer than all: each has a matrix of its own */
    bool independent;    /* no tree knows of another: several can be grown at once */
    uint32_t at_once;    /* so many; else 1 */
    uint32_t threads;    /* of each; few rows are grown faster by one */
    uint32_t max_leaves; /* so that all trees together stay within ENSEMBLE_NODES_MAX */
    struct digest print; /* what distinguishes this lesson from all others */
};

/* After all from outputs to independent are set.  TOO_LARGE: so many trees of such a table would not fit; *err has the numbers. */
enum status tree_lesson_init(struct tree_lesson *t, const struct learner *learner,
                             const void *params, const struct lesson *lesson,
                             struct error *err) MUST_CHECK;
/* About how many bytes the trees need while they are grown; the lesson's table and numbers of rows
 * count. */
uint64_t tree_lesson_memory(const struct tree_lesson *t);
/* How trees are grown: histograms, threads, random numbers; no base, leaves as they are. */
void tree_settings(const struct tree_lesson *t, uint64_t seed, struct xgb_settings *s);

/* Some rows, and what the trees so far say of them. */
struct tree_watched {
    const uint32_t *rows;
    size_t count;
    float *targets; /* count x outputs, standardised; of classes: 1 for the row's own, else 0 */
    float *sums;    /* count x the ensemble's sums, without its base */
    double loss;
    double accuracy; /* or R2 */
};

/* Trees that are being grown. */
struct growth {
    struct tree_lesson t;
    struct ensemble *e;
    struct xgb_matrix *matrix; /* NULL: each tree has its own */
    struct tree_watched train, validation;
    float *gradients, *hessians; /* train.count x the ensemble's sums; growth_tree takes them */
    uint32_t rounds;             /* that are done */
    double fraction;             /* of the whole, for go_on */
    uint64_t next_checkpoint_ms;
};

/* After g->e has been initialised.  Values get their mean and deviation. */
enum status growth_start(struct growth *g, struct error *err) MUST_CHECK;
/* Frees all but the ensemble; zeroed is fine. */
void growth_finish(struct growth *g);
/* Grows a tree for t.together of the sums, the first of which is number `first`, by the derivatives
 * that begin at gradients + rows * first; leaves' weights are multiplied by `factor`. */
enum status growth_tree(struct growth *g, const struct xgb_settings *settings, size_t first,
                        float factor, struct error *err) MUST_CHECK;

/* What one tree is grown on. */
struct ground {
    struct xgb_matrix *matrix;
    size_t count;                /* of its rows */
    float *gradients, *hessians; /* of these */
    const uint32_t *features;    /* the matrix's, as the table numbers them; NULL: all */
};

/* growth_tree in two steps.  The first one may be taken by several threads at once, each with
 * derivatives of its own: what they share they only read. */
enum status growth_grow(const struct growth *g, const struct xgb_settings *settings,
                        const struct ground *on, struct xgb_booster **out,
                        struct error *err) MUST_CHECK;
enum status growth_take(struct growth *g, struct xgb_booster *booster, const struct ground *on,
                        size_t first, float factor, struct error *err) MUST_CHECK;
/* Takes the round's trees, those from number `from` on, into account.  CANCELLED. */
enum status growth_end_round(struct growth *g, size_t from, struct error *err) MUST_CHECK;
/* CANCELLED: the lesson's owner says so. */
enum status growth_go_on(const struct growth *g, struct error *err) MUST_CHECK;
/* Loss and accuracy of values where the answer is sum * factor. */
void growth_judge_values(const struct growth *g, struct tree_watched *w, float factor);
double tree_weight(const struct lesson *lesson, uint32_t row); /* of the row's class, or 1 */
/* For a logarithm; NaN stays: it is how a loss shows that it is none. */
static inline double tree_probability(float p)
{
    return p < TREE_LEAST_PROBABILITY ? (double)TREE_LEAST_PROBABILITY : (double)p;
}

/* Says how the round went, and gives the lesson's owner a checkpoint when it is time for one: the
 * trees and `extra`, a struct of the learner's own. */
void growth_tell(struct growth *g, const void *extra, size_t extra_len);
/* Takes up what the lesson's `resume` has; nothing if it is empty.  INVALID: it is of another
 * lesson, or damaged. */
enum status growth_resume(struct growth *g, void *extra, size_t extra_len,
                          struct error *err) MUST_CHECK;

/* Of struct learner, for models that are a struct ensemble. */
void trees_predict(const void *model, const float *x, size_t count, float *out);
void trees_export(const void *model, struct onnx_graph *graph, const char *input,
                  const char *output);
void trees_destroy(void *model);

#endif
