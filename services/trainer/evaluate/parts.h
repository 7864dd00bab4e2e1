/* parts.h - what the files of this folder share; private to them. */
#ifndef SERVICES_TRAINER_EVALUATE_PARTS_H
#define SERVICES_TRAINER_EVALUATE_PARTS_H

#include "services/trainer/evaluate/evaluate.h"
#include "services/trainer/json.h"

/* classes.c */
void classes_put(const struct table *t, const float *p, const atomic_bool *cancelled,
                 struct yyjson_mut_doc *doc, struct yyjson_mut_val *root);
double classes_score(const struct table *t, const float *p);

/* values.c */
void values_put(const struct table *t, const float *answers, struct yyjson_mut_doc *doc,
                struct yyjson_mut_val *root);
double values_score(const struct table *t, const float *answers);

#endif
