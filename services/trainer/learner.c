/* learner.c - the learners there are. */
#include "services/trainer/learner.h"

static const struct learner *const learners[] = {
    &learner_linear, &learner_logistic, &learner_mlp,     &learner_cnn,
    &learner_tree,   &learner_forest,   &learner_boosted, &learner_auto,
};

#define LEARNERS (sizeof learners / sizeof *learners)

const struct learner *learner_find(const char *name)
{
    for (size_t i = 0; i < LEARNERS; i++)
        if (strcmp(learners[i]->name, name) == 0)
            return learners[i];
    return NULL;
}

void learner_names(struct buf *out)
{
    for (size_t i = 0; i < LEARNERS; i++)
        buf_printf(out, "%s%s", i ? ", " : "", learners[i]->name);
}
