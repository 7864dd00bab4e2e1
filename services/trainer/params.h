/* params.h - the parameters of a training run, from the job's JSON. */
#ifndef SERVICES_TRAINER_PARAMS_H
#define SERVICES_TRAINER_PARAMS_H

#include "common/base/bytes.h"

#define MAX_HIDDEN       16
#define MAX_HIDDEN_UNITS 16384
#define MAX_EPOCHS       100000
#define MAX_BATCH        65536

struct params {
    uint32_t hidden[MAX_HIDDEN]; /* units per hidden layer */
    size_t hidden_count;         /* 0: softmax regression */
    uint32_t epochs;
    uint32_t batch;
    double lr;       /* alpha of theta <- theta - alpha grad J */
    double lr_decay; /* alpha is multiplied by it after each epoch */
    double momentum;
    double weight_decay; /* L2 */
    double validation;   /* share of the training rows */
    double test;         /* share that is held out, where the data set does not say */
    uint32_t patience;   /* epochs without a better validation loss; 0: never stop early */
    uint64_t seed;
};

/* Defaults for image sets and for tables. */
void params_default(struct params *p, bool images);
/* Overrides the defaults.  INVALID: *err names the parameter and what it may be. */
enum status params_parse(struct bytes json, struct params *p, struct error *err) MUST_CHECK;

#endif
