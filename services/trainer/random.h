/* random.h - seeded random numbers: the same seed gives the same run.
 *
 * SplitMix64 (Steele, Lea, Flood 2014): 64 bits of state, passes BigCrush.
 */
#ifndef SERVICES_TRAINER_RANDOM_H
#define SERVICES_TRAINER_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random {
    uint64_t state;
};

uint64_t random_u64(struct random *r);
double random_uniform(struct random *r); /* [0, 1) */
double random_normal(struct random *r);  /* mean 0, variance 1 */
void random_shuffle(struct random *r, uint32_t *list, size_t count);

#endif
