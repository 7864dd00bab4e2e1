/* trees.h - what the learners of trees share: limits, what is to be learnt as numbers, progress,
 * checkpoints.  forest.c grows trees that do not know of each other, boosted.c each for what the
 * others left.
 */
#ifndef SERVICES_TRAINER_TREES_H
#define SERVICES_TRAINER_TREES_H

#include "common/base/digest.h"
#include "services/trainer/learners/ensemble.h"
#include "services/trainer/learners/xgb.h"

#define TREES_MAX           20000      /* of one model */
#define TREE_DEPTH_MAX      64         /* 0 stands for: this */
#define BOOSTED_DEPTH_MAX   16
#define TREE_BINS_MAX       1024
#define TREE_GRADIENTS_MAX  (1u << 27) /* rows x outputs: each takes 24 bytes */
#define TREE_HISTOGRAMS_MAX (1u << 30) /* bytes of the histograms of all nodes that are grown */

/* A lesson for trees. */
struct tree_lesson {
    const struct lesson *lesson;
    size_t outputs;      /* numbers to be learnt of each row */
    uint32_t threads;    /* few rows are grown faster by one */
    uint32_t bins;
    uint32_t trees;      /* of the whole model */
    uint32_t max_leaves; /* so that all trees together stay within ENSEMBLE_NODES_MAX */
    struct digest print; /* what distinguishes this lesson from all others */
};

/* TOO_LARGE: so many trees of such a table would not fit; *err has the numbers. */
enum status tree_lesson_init(struct tree_lesson *t, const struct learner *learner,
                             const void *params, const struct lesson *lesson, size_t outputs,
                             uint32_t trees, uint32_t bins, struct error *err) MUST_CHECK;
/* How histograms are kept, threads, and that each round has random numbers of its own.
 * `together`: outputs that one tree answers. */
void tree_settings(const struct tree_lesson *t, size_t together, uint64_t seed,
                   struct xgb_settings *s);

/* Mean and 1 / deviation of each output over the rows that are learnt from: into e. */
void tree_standardise(const struct lesson *lesson, struct ensemble *e);
/* What is to be learnt: rows x outputs, standardised. */
float *tree_values(const struct lesson *lesson, const struct ensemble *e, const uint32_t *rows,
                   size_t count);
double tree_weight(const struct lesson *lesson, uint32_t row); /* of the row's class, or 1 */

/* Says how a round went. */
void tree_epoch(const struct lesson *lesson, uint32_t number, double train, double validation,
                double accuracy);

/* ---- checkpoints: a head, whatever the learner needs, a digest of both ------------------------- */

#define TREE_CHECKPOINT_MS    10000 /* between two of them, at least; */
#define TREE_CHECKPOINT_SHARE 50    /* and so many times as long as one takes */

struct tree_checkpoints {
    uint64_t next_ms;
    uint64_t begin_ms; /* of the one that is being made */
};

/* True: it is time for one; the first is after the first round. */
bool tree_checkpoint_due(struct tree_checkpoints *c, const struct tree_lesson *t);
/* Gives it to the lesson's owner. */
void tree_checkpoint(struct tree_checkpoints *c, const struct tree_lesson *t, uint32_t rounds,
                     const struct buf *payload);
/* How many rounds the lesson's `resume` has, and its payload; none if there is nothing to resume.
 * INVALID: it is of another lesson, or damaged. */
enum status tree_resume(const struct tree_lesson *t, uint32_t *rounds, struct bytes *payload,
                        struct error *err) MUST_CHECK;

#endif
