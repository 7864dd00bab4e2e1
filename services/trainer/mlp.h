/* mlp.h - a multi-layer perceptron: ReLU between layers, softmax cross-entropy at the end.
 *
 * Mini-batch gradient descent with momentum, v <- mu v - alpha grad J, theta <- theta + v.
 * All products go to OpenBLAS; nothing is allocated per batch or row.  Inputs are raw
 * features: the standardisation (x - mean) * scale is a part of the model.
 */
#ifndef SERVICES_TRAINER_MLP_H
#define SERVICES_TRAINER_MLP_H

#include "services/trainer/params.h"
#include "services/trainer/table.h"

#define MAX_LAYERS      (MAX_HIDDEN + 1)
#define MAX_WEIGHTS     (64u << 20)  /* of one network; training needs four times that */
#define MAX_ACTIVATIONS (256u << 20) /* units of all layers x rows of a batch */

struct layer {
    size_t in, out;
    float *w; /* in x out, row-major */
    float *b; /* out */
};

struct mlp {
    size_t features;
    size_t layers_count;
    struct layer layers[MAX_LAYERS];
    float *mean;  /* features */
    float *scale; /* features */
};

/* One line of the training's history. */
struct epoch {
    uint32_t number; /* 1, 2, ... */
    double train_loss;
    double validation_loss;
    double validation_accuracy;
};

/* The run tells how far it is and asks whether to go on.  Called from the training thread. */
struct mlp_events {
    bool (*go_on)(void *arg, double fraction); /* after each batch; false: cancel */
    void (*epoch)(void *arg, const struct epoch *e);
};

/* TOO_LARGE: such a network would not fit.  Before mlp_init. */
enum status mlp_check_size(size_t features, size_t classes, const struct params *p,
                           struct error *err) MUST_CHECK;
void mlp_finish(struct mlp *m); /* zeroed is fine */
/* He initialisation.  mean 0 and scale 1 until mlp_standardise. */
void mlp_init(struct mlp *m, size_t features, size_t classes, const struct params *p);
/* Fits mean and scale on these rows: per feature, or one pair for all (images). */
void mlp_standardise(struct mlp *m, const struct table *t, const uint32_t *rows, size_t count,
                     bool per_feature);

/* Trains on rows[0 .. train), validates on the following `validation`.  Keeps the weights of the
 * best validation loss.  CANCELLED; INVALID: the loss diverged. */
enum status mlp_train(struct mlp *m, const struct table *t, const uint32_t *rows, size_t train,
                      size_t validation, const struct params *p, const struct mlp_events *events,
                      void *arg, struct error *err) MUST_CHECK;

/* Probabilities of `count` raw rows of x (count x features) into out (count x classes). */
void mlp_predict(const struct mlp *m, const float *x, size_t count, float *out);

size_t mlp_classes(const struct mlp *m);

/* For tests: the mean loss of the rows and, if not NULL, its gradient by layer (w then b). */
double mlp_loss(const struct mlp *m, const struct table *t, const uint32_t *rows, size_t count,
                float **gradients);

#endif
