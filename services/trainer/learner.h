/* learner.h - what can be trained: each kind of model behind one table of functions.
 *
 * A learner is an interface (struct learner), its parameters (a struct of its own, described by
 * a table) and a model.  It knows rows and an ONNX graph, not files, jobs or sockets.  All calls
 * of one run come from one pool thread; nothing is shared between runs.
 */
#ifndef SERVICES_TRAINER_LEARNER_H
#define SERVICES_TRAINER_LEARNER_H

#include "services/trainer/onnx_graph.h"
#include "services/trainer/params.h"
#include "services/trainer/table.h"

/* One line of the training's history. */
struct epoch {
    uint32_t number; /* 1, 2, ... */
    double train_loss;
    double validation_loss;
    double validation_accuracy;
};

/* The run hears how far it is and says whether to go on. */
struct learner_events {
    bool (*go_on)(void *arg, double fraction); /* at least twice a second; false: cancel */
    void (*epoch)(void *arg, const struct epoch *e);
};

/* What is to be learnt: rows[0 .. train), validated on the following `validation`. */
struct lesson {
    const struct table *table; /* has two classes or more */
    const uint32_t *rows;
    size_t train; /* 1 or more */
    size_t validation;
    bool images;   /* the features are the pixels of images */
    uint64_t seed; /* the same seed gives the same model */
    const struct learner_events *events;
    void *arg;
};

struct learner {
    const char *name;           /* as a job says it */
    const struct param *params; /* what a job may set, with the limits (params.h) */
    size_t params_count;
    size_t params_size;                     /* of the struct that they are in */
    uint32_t (*epochs)(const void *params); /* how many lines of history there may be */

    /* Fills the struct with what holds where the job says nothing. */
    void (*defaults)(void *params, bool images);
    /* OK: *model is to be given to destroy.  TOO_LARGE: such a model would not fit.  CANCELLED:
     * go_on said so.  INVALID: *err says why nothing can be learnt like that. */
    enum status (*fit)(const void *params, const struct lesson *lesson, void **model,
                       struct error *err);
    /* Probabilities of `count` raw rows of x (count x features) into out (count x classes). */
    void (*predict)(const void *model, const float *x, size_t count, float *out);
    /* Adds what predict does: from ONNX_INPUT, raw rows, to ONNX_OUTPUT.  The model stays until
     * the graph is written. */
    void (*export)(const void *model, struct onnx_graph *graph);
    void (*destroy)(void *model); /* NULL is fine */
};

extern const struct learner learner_mlp;

/* NULL: there is none of that name. */
const struct learner *learner_find(const char *name);
/* Appends the names, separated by commas. */
void learner_names(struct buf *out);

#endif
