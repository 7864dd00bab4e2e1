/* random.c - SplitMix64, Box-Muller, Fisher-Yates. */
#include "services/trainer/random.h"

#include <math.h>

uint64_t random_u64(struct random *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

double random_uniform(struct random *r)
{
    return (double)(random_u64(r) >> 11) * 0x1p-53;
}

double random_normal(struct random *r)
{
    double u = 1 - random_uniform(r); /* (0, 1]: its logarithm is finite */
    return sqrt(-2 * log(u)) * cos(2 * M_PI * random_uniform(r));
}

void random_shuffle(struct random *r, uint32_t *list, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t k = random_u64(r) % i;
        uint32_t t = list[i - 1];
        list[i - 1] = list[k];
        list[k] = t;
    }
}
