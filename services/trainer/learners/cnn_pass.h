/* cnn_pass.h - images through the network, and the gradient back: the work of one thread.
 *
 * A pass borrows its network.  It has memory for a fixed number of images and always computes that
 * many; what is beyond those that it was given has no effect.
 */
#ifndef SERVICES_TRAINER_CNN_PASS_H
#define SERVICES_TRAINER_CNN_PASS_H

#include "services/trainer/learners/cnn.h"

struct cnn_pass;

/* What training does to images and units at random.  Each row has its own numbers, whichever
 * thread computes it. */
struct cnn_noise {
    uint64_t key; /* of this epoch */
    uint32_t shift;
    bool flip;
    float dropout;
};

/* Rows of a table, of which the first is number `first` in its epoch. */
struct cnn_block {
    const struct table *t;
    const uint32_t *rows;
    size_t count, first;
    const struct cnn_noise *noise; /* NULL: none */
    const float *class_weights;    /* NULL: all the same */
};

struct cnn_score {
    double loss; /* the sum over the rows */
    size_t hits;
};

struct cnn_pass *cnn_pass_create(const struct cnn *m, size_t images, bool gradients);
void cnn_pass_destroy(struct cnn_pass *p); /* NULL is fine */
size_t cnn_pass_images(const struct cnn_pass *p);

/* Takes over what the network's theta is now. */
void cnn_pass_load(struct cnn_pass *p);
/* Adds to the score. */
void cnn_pass_forward(struct cnn_pass *p, const struct cnn_block *b, struct cnn_score *score);
/* After cnn_pass_forward of the same block: adds to the gradient of the batch's mean loss. */
void cnn_pass_backward(struct cnn_pass *p, const struct cnn_block *b, size_t batch);
/* As theta; the caller zeroes it before each batch. */
float *cnn_pass_gradient(struct cnn_pass *p);
/* Probabilities of raw images; at most as many as the pass is for. */
void cnn_pass_predict(struct cnn_pass *p, const float *x, size_t count, float *out);

#endif
