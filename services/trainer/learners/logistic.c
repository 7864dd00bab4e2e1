/* logistic.c - logistic regression: one sigmoid for two classes, softmax for more. */
#include "services/trainer/learners/descent.h"

static const char *const losses[] = { "auto", "softmax", "binary", NULL };

static const struct param params[] = {
    DESCENT_PARAMS,
    DESCENT_CHOICE(optimizer, descent_linear_optimizers),
    DESCENT_CHOICE(loss, losses),
    DESCENT_FLAG(balanced),
};

static void defaults(void *params_, const struct table *t)
{
    struct descent_params *p = params_;
    bool images = t->image.channels > 0;
    descent_default(p);
    p->epochs = images ? 20 : 100;
    p->batch = images ? 128 : 16;
    p->lr = images ? 0.01 : 0.05;
    p->schedule = SCHEDULE_COSINE; /* the loss has one minimum: come to rest in it */
}

static enum status fit(const void *params_, const struct lesson *lesson, void **model,
                       struct error *err)
{
    struct descent_params p = *(const struct descent_params *)params_;
    if (p.loss == LOSS_AUTO && lesson->table->classes_count == 2)
        p.loss = LOSS_BINARY;
    return descent_fit(&learner_logistic, &p, lesson, model, err);
}

const struct learner learner_logistic = {
    .name = "logistic",
    .tasks = LEARNS_CLASSES,
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
