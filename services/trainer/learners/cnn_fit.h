/* cnn_fit.h - a training that goes on: cnn_fit.c runs it, cnn_step.c computes one batch,
 * cnn_state.c writes down where it is. */
#ifndef SERVICES_TRAINER_CNN_FIT_H
#define SERVICES_TRAINER_CNN_FIT_H

#include "services/trainer/learners/cnn_pass.h"
#include "services/trainer/learners/team.h"

/* Rows that all members compute at once; score is what came of them. */
struct cnn_work {
    struct cnn_block block;
    size_t batch; /* rows of the batch that the block is a part of; 0: nothing is learnt */
    bool load;    /* theta has changed */
    float lr;
    struct cnn_score scores[CNN_THREADS];
};

struct cnn_fit {
    struct cnn *m;
    const struct cnn_params *p;
    const struct lesson *lesson;
    size_t members;
    struct team *team;
    void (*part)(struct cnn_fit *f, size_t member); /* what the team does now */
    struct cnn_pass *passes[CNN_THREADS];
    struct cnn_work work;
    uint32_t *order; /* the training rows, shuffled for each epoch */

    /* What a checkpoint has, beside theta. */
    uint32_t epoch; /* the last that is done */
    uint32_t since; /* epochs without a better validation loss */
    double least;   /* validation loss */
    uint64_t steps;
    float *speed;  /* as theta: momentum; of Adam: the mean gradient */
    float *square; /* as theta, of Adam: the mean of its square; NULL */
    float *best;   /* theta of the least validation loss */
};

void cnn_fit_init(struct cnn_fit *f, struct cnn *m, const struct cnn_params *p,
                  const struct lesson *lesson);
void cnn_fit_finish(struct cnn_fit *f);

/* ---- cnn_step.c ---- */

/* The most rows that cnn_step_block takes. */
size_t cnn_step_rows(const struct cnn_fit *f);
/* Computes rows in all members and adds to the score; what they learn is kept for the update. */
void cnn_step_block(struct cnn_fit *f, struct cnn_score *score);
/* One step down the gradient that the blocks have left. */
void cnn_step_update(struct cnn_fit *f, double lr);

/* ---- cnn_state.c ---- */

void cnn_state_save(const struct cnn_fit *f, struct buf *out);
/* INVALID: these are no such bytes, or not of this lesson. */
enum status cnn_state_load(struct cnn_fit *f, struct bytes state, struct error *err) MUST_CHECK;

#endif
