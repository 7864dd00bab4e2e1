/* seal.h - checkpoints: a digest at their end, and what tells one lesson's from another's. */
#ifndef SERVICES_TRAINER_SEAL_H
#define SERVICES_TRAINER_SEAL_H

#include "common/base/digest.h"
#include "services/trainer/learner.h"

/* Appends the SHA-256 of all that came from `begin` on. */
void seal_put(struct buf *state, size_t begin);
/* Takes the seal off.  false: there is none, or it is of something else. */
bool seal_take(struct bytes *state);

/* The learner's name and its parameters, as a part of a digest that says what is being learnt. */
void seal_params(struct digest_stream *s, const struct learner *learner, const void *params);

#endif
