/* mlp.c - multi-layer perceptron, for classes and for values. */
#include "services/trainer/learners/descent.h"

static const char *const losses[] = { "auto", "softmax", "binary", "squared", "huber", NULL };

static const struct param params[] = {
    { "hidden", PARAM_LIST, DESCENT_AT(hidden), 1, MAX_HIDDEN_UNITS, DESCENT_AT(hidden_count),
      NULL },
    DESCENT_PARAMS,
    DESCENT_CHOICE(optimizer, descent_optimizers),
    DESCENT_CHOICE(activation, descent_activations),
    DESCENT_REAL(dropout, 0, 0.95),
    DESCENT_CHOICE(loss, losses),
    DESCENT_REAL(huber, 1e-3, 1e3),
    DESCENT_FLAG(balanced),
};

static void defaults(void *params_, const struct table *t)
{
    struct descent_params *p = params_;
    bool images = t->image.channels > 0;
    descent_default(p);
    p->hidden[0] = images ? 256 : 64;
    p->hidden[1] = 128;
    p->hidden_count = images ? 2 : 1;
    if (!images && t->outputs)
        p->lr = 0.01; /* squares have larger gradients than probabilities */
    if (!images)
        return;
    p->epochs = 15;
    p->batch = 128;
    p->schedule = SCHEDULE_COSINE;
    p->patience = 5;
}

static enum status fit(const void *params_, const struct lesson *lesson, void **model,
                       struct error *err)
{
    return descent_fit(&learner_mlp, params_, lesson, model, err);
}

const struct learner learner_mlp = {
    .name = "mlp",
    .tasks = LEARNS_CLASSES | LEARNS_VALUES,
    .params = params,
    .params_count = sizeof params / sizeof *params,
    .params_size = sizeof(struct descent_params),
    .epochs = descent_epochs,
    .memory = descent_memory,
    .defaults = defaults,
    .fit = fit,
    .predict = descent_predict,
    .export = descent_export,
    .destroy = descent_destroy,
};
