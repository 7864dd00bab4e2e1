/* mlp.h - a multi-layer perceptron: ReLU between layers, softmax cross-entropy at the end.
 *
 * Mini-batch gradient descent with momentum, v <- mu v - alpha grad J, theta <- theta + v.
 * All products go to OpenBLAS; nothing is allocated per batch or row.  Inputs are raw
 * features: the standardisation (x - mean) * scale is a part of the model.
 */
#ifndef SERVICES_TRAINER_MLP_H
#define SERVICES_TRAINER_MLP_H

#include "services/trainer/learner.h"

#define MAX_HIDDEN       PARAM_LIST_MAX
#define MAX_HIDDEN_UNITS 16384
#define MAX_EPOCHS       100000
#define MAX_BATCH        65536
#define MAX_LAYERS       (MAX_HIDDEN + 1)
#define MAX_WEIGHTS      (64u << 20)  /* of one network; training needs four times that */
#define MAX_ACTIVATIONS  (256u << 20) /* units of all layers x rows of a batch */

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

struct mlp_params {
    uint32_t hidden[MAX_HIDDEN]; /* units per hidden layer */
    size_t hidden_count;         /* 0: softmax regression */
    uint32_t epochs;
    uint32_t batch;
    double lr;       /* alpha of theta <- theta - alpha grad J */
    double lr_decay; /* alpha is multiplied by it after each epoch */
    double momentum;
    double weight_decay; /* L2 */
    uint32_t patience;   /* epochs without a better validation loss; 0: never stop early */
    uint64_t seed;       /* the lesson's, not a parameter of the job */
};

/* Defaults for image sets and for tables. */
void mlp_default(struct mlp_params *p, bool images);
/* TOO_LARGE: such a network would not fit.  Before mlp_init. */
enum status mlp_check_size(size_t features, size_t classes, const struct mlp_params *p,
                           struct error *err) MUST_CHECK;
void mlp_finish(struct mlp *m); /* zeroed is fine */
/* He initialisation.  mean 0 and scale 1 until mlp_standardise. */
void mlp_init(struct mlp *m, size_t features, size_t classes, const struct mlp_params *p);
/* Fits mean and scale on these rows: per feature, or one pair for all (images). */
void mlp_standardise(struct mlp *m, const struct table *t, const uint32_t *rows, size_t count,
                     bool per_feature);

/* Trains on rows[0 .. train), validates on the following `validation`.  Keeps the weights of the
 * best validation loss.  CANCELLED; INVALID: the loss diverged. */
enum status mlp_train(struct mlp *m, const struct table *t, const uint32_t *rows, size_t train,
                      size_t validation, const struct mlp_params *p,
                      const struct learner_events *events, void *arg, struct error *err) MUST_CHECK;

/* Probabilities of `count` raw rows of x (count x features) into out (count x classes). */
void mlp_predict(const struct mlp *m, const float *x, size_t count, float *out);

/* Adds the standardisation (Sub, Mul), the layers and the softmax: training and serving cannot
 * drift apart. */
void mlp_export(const struct mlp *m, struct onnx_graph *graph, const char *input,
                const char *output);

size_t mlp_classes(const struct mlp *m);

/* For tests: the mean loss of the rows and, if not NULL, its gradient by layer (w then b). */
double mlp_loss(const struct mlp *m, const struct table *t, const uint32_t *rows, size_t count,
                float **gradients);

#endif
