/* descent.h - gradient descent: what linear models and perceptrons have in common.
 *
 * One step per batch down the gradient of its mean loss, or, by L-BFGS, one per epoch down that of
 * all rows; after each epoch the validation rows are looked at, and the weights of the best epoch
 * are what stays.  Each learner (linear.c, logistic.c, mlp.c) is a table of those parameters that
 * it lets a job set, with its own defaults.
 */
#ifndef SERVICES_TRAINER_DESCENT_H
#define SERVICES_TRAINER_DESCENT_H

#include "services/trainer/learners/network.h"

#define MAX_EPOCHS 100000
#define MAX_BATCH  65536

enum optimizer {
    OPTIMIZER_SGD,
    OPTIMIZER_MOMENTUM,
    OPTIMIZER_NESTEROV,
    OPTIMIZER_ADAM,
    OPTIMIZER_ADAMW,
    OPTIMIZER_LBFGS, /* of linear models; batch, lr and what else is said of steps is not used */
};
enum schedule { SCHEDULE_CONSTANT, SCHEDULE_STEP, SCHEDULE_COSINE };

struct descent_params {
    uint32_t hidden[MAX_HIDDEN]; /* units per hidden layer */
    size_t hidden_count;
    uint32_t activation; /* enum activation */
    uint32_t loss;       /* enum loss; AUTO: that of the table */
    double huber;        /* where Huber's loss becomes linear, in deviations of the target */
    uint32_t epochs;
    uint32_t batch;
    uint32_t optimizer; /* enum optimizer */
    double lr;          /* alpha of theta <- theta - alpha grad J; Adam wants about 0.001 */
    uint32_t schedule;  /* enum schedule */
    double lr_decay;    /* by step: alpha is multiplied by it */
    uint32_t lr_step;   /* after so many epochs */
    uint32_t warmup;    /* epochs in which alpha grows from 0 to lr */
    double momentum;
    double beta1, beta2; /* of Adam */
    double l1;
    double weight_decay; /* L2; of AdamW: beside the gradient */
    double dropout;      /* share of the hidden units that a step leaves out */
    double clip_norm;    /* the gradient is made no longer than this; 0: as long as it is */
    uint32_t patience;   /* epochs without a better validation loss; 0: never stop early */
    bool balanced;       /* classes count alike, however many rows they have */
};

extern const char *const descent_optimizers[];
extern const char *const descent_linear_optimizers[];
extern const char *const descent_schedules[];
extern const char *const descent_activations[];

/* The rows of a learner's table of parameters. */
#define DESCENT_AT(name)               offsetof(struct descent_params, name)
#define DESCENT_REAL(name, low, high)  { #name, PARAM_REAL, DESCENT_AT(name), low, high, 0, NULL }
#define DESCENT_COUNT(name, low, high) { #name, PARAM_U32, DESCENT_AT(name), low, high, 0, NULL }
#define DESCENT_CHOICE(name, words)    { #name, PARAM_CHOICE, DESCENT_AT(name), 0, 0, 0, words }
#define DESCENT_FLAG(name)             { #name, PARAM_FLAG, DESCENT_AT(name), 0, 0, 0, NULL }
#define DESCENT_PARAMS                                                                           \
    DESCENT_COUNT(epochs, 1, MAX_EPOCHS), DESCENT_COUNT(batch, 1, MAX_BATCH),                    \
        DESCENT_REAL(lr, 1e-9, 100), DESCENT_REAL(lr_decay, 1e-3, 1),                            \
        DESCENT_REAL(momentum, 0, 0.9999), DESCENT_REAL(weight_decay, 0, 1),                     \
        DESCENT_COUNT(patience, 0, MAX_EPOCHS), DESCENT_CHOICE(schedule, descent_schedules),     \
        DESCENT_COUNT(lr_step, 1, MAX_EPOCHS), DESCENT_COUNT(warmup, 0, MAX_EPOCHS),             \
        DESCENT_REAL(beta1, 0, 0.9999), DESCENT_REAL(beta2, 0, 0.99999), DESCENT_REAL(l1, 0, 1), \
        DESCENT_REAL(clip_norm, 0, 1e9)

/* What each learner begins with. */
void descent_default(struct descent_params *p);

/* A model: the network as it is served. */
struct descent_model {
    struct network net;
};

/* As struct learner says. */
enum status descent_fit(const struct learner *l, const struct descent_params *p,
                        const struct lesson *lesson, void **model, struct error *err) MUST_CHECK;
uint32_t descent_epochs(const void *params);
uint64_t descent_memory(const void *params, const struct table *t, size_t rows, uint32_t threads);
void descent_predict(const void *model, const float *x, size_t count, float *out);
void descent_export(const void *model, struct onnx_graph *graph, const char *input,
                    const char *output);
void descent_destroy(void *model);

/* For tests: the mean loss of the rows and, if not NULL, its gradient as theta; with dropout as in
 * the step with that key. */
double descent_loss(const struct network *n, const struct descent_params *p, const struct table *t,
                    const uint32_t *rows, size_t count, float *gradient);

#endif
