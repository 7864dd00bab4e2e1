/* kernels.c - one set of loops for each set of vector instructions, chosen when it runs. */
#include "services/trainer/learners/kernels.h"

#include <math.h>

#define INLINE    inline __attribute__((always_inline))
#define TALL_MOST 8
#define WIDE_MOST 4
#define DEPTH     128   /* of a panel of b that stays in the first cache */
#define CHUNK     256   /* elements whose slopes nobody wants */
#define EPSILON   1e-8f /* of Adam */

struct value_slope {
    float value, slope;
};

/* exp to two units in the last place: 2^n by the exponent's bits, and e^r with |r| <= ln 2 / 2 by
 * the polynomial of Cephes' expf.  NaN stays. */
static INLINE float exp_of(float x)
{
    union {
        float f;
        int32_t i;
    } n, power;
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    n.f = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: the sum is rounded to a whole number */
    float whole = n.f - 12582912.0f;
    float r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1;
    power.i = (int32_t)((uint32_t)(n.i - 0x4b400000 + 127) << 23);
    return p * power.f;
}

static INLINE float tanh_of(float x)
{
    return 1 - 2 / (exp_of(2 * x) + 1);
}

/* x P(X <= x) for a normal X.  The error function is that of Abramowitz and Stegun, 7.1.26, which
 * is off by 1.5e-7 at most; it and the slope share one exp. */
static INLINE struct value_slope gelu_of(float x)
{
    float a = fabsf(x) * 0.70710678f;
    float t = 1 / (1 + 0.3275911f * a);
    float e = exp_of(-a * a);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    float tail = 0.5f * p * t * e; /* P(X > |x|) */
    float below = x < 0 ? tail : 1 - tail;
    return (struct value_slope){ x * below, below + x * 0.39894228f * e };
}

static INLINE float sign_of(float x)
{
    return (x > 0 ? 1.0f : 0.0f) - (x < 0 ? 1.0f : 0.0f);
}

/* Ellis' "lowbias32", an integer hash without visible bias. */
static INLINE uint32_t hash_of(uint32_t key, uint32_t number)
{
    uint32_t h = number * 0x9e3779b9u + key;
    h = (h ^ h >> 16) * 0x7feb352du;
    h = (h ^ h >> 15) * 0x846ca68bu;
    return h ^ h >> 16;
}

#define LEVEL      base
#define LEVEL_NAME "base"
#define TARGET
#define LANES 4
#define TALL  2
#define WIDE  4
#include "services/trainer/learners/kernels_body.h"
#undef LEVEL
#undef LEVEL_NAME
#undef TARGET
#undef LANES
#undef TALL
#undef WIDE

#ifdef __x86_64__

#define LEVEL      avx2
#define LEVEL_NAME "avx2"
#define TARGET     __attribute__((target("arch=x86-64-v3")))
#define LANES      8
#define TALL       6
#define WIDE       2
#include "services/trainer/learners/kernels_body.h"
#undef LEVEL
#undef LEVEL_NAME
#undef TARGET
#undef LANES
#undef TALL
#undef WIDE

#define LEVEL      avx512
#define LEVEL_NAME "avx512"
#define TARGET     __attribute__((target("arch=x86-64-v4")))
#define LANES      16
#define TALL       4
#define WIDE       4
#include "services/trainer/learners/kernels_body.h"

const struct kernels *kernels_level(unsigned level)
{
    if (level == 2 && __builtin_cpu_supports("x86-64-v4"))
        return &kernels_avx512;
    if (level == 1 && __builtin_cpu_supports("x86-64-v3"))
        return &kernels_avx2;
    return level == 0 ? &kernels_base : NULL;
}

#else

const struct kernels *kernels_level(unsigned level)
{
    return level == 0 ? &kernels_base : NULL;
}

#endif

const struct kernels *kernels_best(void)
{
    unsigned level = KERNEL_LEVELS - 1;
    while (!kernels_level(level))
        level--;
    return kernels_level(level);
}
