/* linear.c - linear regression of one value or several. */
#include "services/trainer/learners/descent.h"

/* As enum loss has them; those of classes are refused when the data are known. */
static const char *const losses[] = { "auto", "softmax", "binary", "squared", "huber", NULL };

static const struct param params[] = {
    DESCENT_PARAMS,
    DESCENT_CHOICE(optimizer, descent_linear_optimizers),
    DESCENT_CHOICE(loss, losses),
    DESCENT_REAL(huber, 1e-3, 1e3),
};

static void defaults(void *params_, const struct table *t)
{
    struct descent_params *p = params_;
    (void)t;
    descent_default(p);
    p->epochs = 100;
    p->lr = 0.01;
    p->schedule = SCHEDULE_COSINE; /* the loss has one minimum: come to rest in it */
}

static enum status fit(const void *params_, const struct lesson *lesson, void **model,
                       struct error *err)
{
    return descent_fit(&learner_linear, params_, lesson, model, err);
}

const struct learner learner_linear = {
    .name = "linear",
    .tasks = LEARNS_VALUES,
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
