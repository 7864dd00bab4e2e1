/* learner.h - what can be trained: each kind of model behind one table of functions.
 *
 * A learner is an interface (struct learner), its parameters (a struct of its own, described by
 * a table) and a model.  It knows rows and an ONNX graph, not files, jobs or sockets.  All calls
 * of one run come from one pool thread; nothing is shared between runs.
 */
#ifndef SERVICES_TRAINER_LEARNER_H
#define SERVICES_TRAINER_LEARNER_H

#include "services/trainer/data/table.h"
#include "services/trainer/onnx_graph.h"
#include "services/trainer/params.h"

/* One line of the training's history. */
struct epoch {
    uint32_t number; /* 1, 2, ... */
    double train_loss;
    double validation_loss;
    double validation_accuracy; /* of values: R2 */
};

/* The run hears how far it is and says whether to go on. */
struct learner_events {
    bool (*go_on)(void *arg, double fraction); /* at least twice a second; false: cancel */
    void (*epoch)(void *arg, const struct epoch *e);
    /* Enough to go on from here to the very same model; called after epochs, not after each.
     * May be NULL: nobody keeps it. */
    void (*checkpoint)(void *arg, struct bytes state);
};

/* What is to be learnt: rows[0 .. train), validated on the following `validation`. */
struct lesson {
    const struct table *table; /* has two classes or more, or values */
    const uint32_t *rows;
    size_t train; /* 1 or more */
    size_t validation;
    const float *class_weights; /* of each class, 1 on average; NULL: all the same */
    uint32_t threads;           /* that the learner may use */
    uint64_t seed;       /* the same seed, data and threads give the same model, byte by byte */
    struct bytes resume; /* what `checkpoint` was given last, by a fit that did not end; or empty */
    const struct learner_events *events; /* NULL, where nothing is fitted: nobody cancels */
    void *arg;
};

/* Of stretches before the first epoch: to be asked once per so many numbers. */
#define LESSON_ASK_CELLS (1u << 22)
static inline bool lesson_goes_on(const struct lesson *l)
{
    return !l->events || l->events->go_on(l->arg, 0);
}

/* What a learner can learn. */
enum learner_task {
    LEARNS_CLASSES = 1,
    LEARNS_VALUES = 2,
    LEARNS_ONLY_IMAGES = 4, /* and these only of rows that are images */
};

struct learner {
    const char *name;           /* as a job says it */
    unsigned tasks;             /* of enum learner_task */
    const struct param *params; /* what a job may set, with the limits (params.h) */
    size_t params_count;
    size_t params_size;                     /* of the struct that they are in */
    uint32_t (*epochs)(const void *params); /* how many lines of history there may be */

    /* About how many bytes fit needs beside the table, with so many rows to learn from. */
    uint64_t (*memory)(const void *params, const struct table *t, size_t rows, uint32_t threads);

    /* Fills the struct with what holds where the job says nothing. */
    void (*defaults)(void *params, const struct table *t);
    /* OK: *model is to be given to destroy.  TOO_LARGE: such a model would not fit.  CANCELLED:
     * go_on said so.  INVALID: *err says why nothing can be learnt like that.  A `resume` that is
     * of another lesson, or damaged, is INVALID, too. */
    enum status (*fit)(const void *params, const struct lesson *lesson, void **model,
                       struct error *err);
    /* The answers for `count` rows of x (count x features) into out (count x table_width()):
     * probabilities of classes, or values. */
    void (*predict)(const void *model, const float *x, size_t count, float *out);
    /* Adds what predict does, from the tensor of that name ([N, features]) to one of the name
     * `output` ([N, table_width()]).  The model stays until the graph is written. */
    void (*export)(const void *model, struct onnx_graph *graph, const char *input,
                   const char *output);
    /* Appends a JSON value: what else there is to say of how the model came about, for the lineage.
     * May be NULL. */
    void (*report)(const void *model, struct buf *json);
    void (*destroy)(void *model); /* NULL is fine */
};

extern const struct learner learner_linear, learner_logistic, learner_mlp;
extern const struct learner learner_cnn;

/* NULL: there is none of that name. */
const struct learner *learner_find(const char *name);
/* Appends the names, separated by commas. */
void learner_names(struct buf *out);

extern const struct learner learner_tree, learner_forest, learner_boosted, learner_auto;

#endif
