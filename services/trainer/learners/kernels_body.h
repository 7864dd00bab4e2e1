/* kernels_body.h - the loops of kernels.h for one level: kernels.c includes it once for each, with
 * other values of
 *
 *     LEVEL    ends the names
 *     TARGET   an attribute that says what the compiler may use
 *     LANES    floats of a vector
 *     TALL, WIDE   rows and vectors of the largest tile of a product: their sums stay in registers
 *
 * There is no include guard, on purpose.
 */
#define PASTE_(a, b) a##_##b
#define PASTE(a, b)  PASTE_(a, b)
#define NAME(a)      PASTE(a, LEVEL)
#define VEC          NAME(vec)

typedef float VEC __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

/* ---- products -------------------------------------------------------------------------------- */

/* `tall` rows and `wide` vectors of c, from the depth [from, to). */
static INLINE void NAME(tile)(const struct product *p, size_t row, size_t column, size_t from,
                              size_t to, const size_t tall, const size_t wide)
{
    VEC sum[TALL_MOST][WIDE_MOST];
    const float *a = p->a + row * p->a_row;
    const float *b = p->b + column;
    float *c = p->c + row * p->c_stride + column;
    for (size_t r = 0; r < tall; r++)
        for (size_t v = 0; v < wide; v++)
            if (p->add || from)
                sum[r][v] = *(const VEC *)(const void *)(c + r * p->c_stride + v * LANES);
            else if (p->bias)
                sum[r][v] = *(const VEC *)(const void *)(p->bias + column + v * LANES);
            else
                sum[r][v] = (VEC){ 0 };
    for (size_t k = from; k < to; k++)
        for (size_t r = 0; r < tall; r++)
            for (size_t v = 0; v < wide; v++)
                sum[r][v] += a[r * p->a_row + k * p->a_depth] *
                             *(const VEC *)(const void *)(b + k * p->b_stride + v * LANES);
    for (size_t r = 0; r < tall; r++)
        for (size_t v = 0; v < wide; v++)
            *(VEC *)(void *)(c + r * p->c_stride + v * LANES) = sum[r][v];
}

/* All rows of `wide` vectors. */
static INLINE void NAME(panel)(const struct product *p, size_t column, size_t from, size_t to,
                               const size_t tall, const size_t wide)
{
    size_t row = 0;
    for (; row + tall <= p->rows; row += tall)
        NAME(tile)(p, row, column, from, to, tall, wide);
    for (; row + 2 <= p->rows; row += 2)
        NAME(tile)(p, row, column, from, to, 2, wide);
    for (; row < p->rows; row++)
        NAME(tile)(p, row, column, from, to, 1, wide);
}

TARGET static void NAME(multiply)(const struct product *p)
{
    for (size_t from = 0; from < p->depth; from += DEPTH) {
        size_t to = p->depth - from < DEPTH ? p->depth : from + DEPTH, column = 0;
        for (; column + WIDE * LANES <= p->width; column += WIDE * LANES)
            NAME(panel)(p, column, from, to, TALL, WIDE);
        for (; column < p->width; column += KERNEL_LANES)
            NAME(panel)(p, column, from, to, TALL_MOST, KERNEL_LANES / LANES);
    }
}

TARGET static void NAME(transpose)(const float *restrict from, size_t rows, size_t columns,
                                   size_t from_stride, float *restrict to, size_t to_stride)
{
    for (size_t c = 0; c < columns; c++)
        for (size_t r = 0; r < rows; r++)
            to[c * to_stride + r] = from[r * from_stride + c];
}

TARGET static void NAME(add_rows)(const float *restrict x, size_t rows, size_t width, size_t stride,
                                  bool add, float *restrict sum)
{
    for (size_t c = 0; c < width; c += KERNEL_LANES) {
        float part[KERNEL_LANES];
        for (size_t i = 0; i < KERNEL_LANES; i++)
            part[i] = add ? sum[c + i] : 0;
        for (size_t r = 0; r < rows; r++)
            for (size_t i = 0; i < KERNEL_LANES; i++)
                part[i] += x[r * stride + c + i];
        for (size_t i = 0; i < KERNEL_LANES; i++)
            sum[c + i] = part[i];
    }
}

/* ---- element by element ---------------------------------------------------------------------- */

TARGET static void NAME(standardise)(const float *restrict x, const float *restrict mean,
                                     const float *restrict scale, size_t count, float *restrict out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (x[i] - mean[i]) * scale[i];
}

TARGET static void NAME(standardise_bytes)(const unsigned char *restrict x,
                                           const float *restrict mean, const float *restrict scale,
                                           size_t count, float *restrict out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = ((float)x[i] - mean[i]) * scale[i];
}

TARGET static void NAME(relu)(float *restrict x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] = x[i] < 0 ? 0 : x[i]; /* NaN stays: it is how divergence shows */
}

TARGET static void NAME(relu_slope)(float *restrict x, float *restrict slope, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        slope[i] = x[i] > 0 ? 1 : 0;
        x[i] = x[i] < 0 ? 0 : x[i];
    }
}

TARGET static void NAME(gelu)(float *restrict x, float *restrict slope, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct value_slope y = gelu_of(x[i]);
        x[i] = y.value;
        slope[i] = y.slope;
    }
}

TARGET static void NAME(tanh)(float *restrict x, float *restrict slope, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float y = tanh_of(x[i]);
        x[i] = y;
        slope[i] = 1 - y * y;
    }
}

TARGET static void NAME(activate)(enum activation f, float *x, float *slope, size_t count)
{
    float unused[CHUNK];
    if (f == ACTIVATION_RELU && slope) {
        NAME(relu_slope)(x, slope, count);
    } else if (f == ACTIVATION_RELU) {
        NAME(relu)(x, count);
    } else {
        for (size_t at = 0; at < count; at += CHUNK) {
            size_t n = count - at < CHUNK ? count - at : CHUNK;
            float *to = slope ? slope + at : unused;
            if (f == ACTIVATION_GELU)
                NAME(gelu)(x + at, to, n);
            else
                NAME(tanh)(x + at, to, n);
        }
    }
}

TARGET static void NAME(drop)(float *restrict x, float *restrict slope, size_t count, uint32_t key,
                              uint32_t first, uint32_t least, float scale)
{
    for (size_t i = 0; i < count; i++) {
        float keep = hash_of(key, first + (uint32_t)i) >= least ? scale : 0;
        x[i] *= keep;
        slope[i] *= keep;
    }
}

TARGET static void NAME(scale_by)(float *restrict x, const float *restrict by, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] *= by[i];
}

TARGET static void NAME(rectify)(float *restrict x, const float *restrict by, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] = by[i] <= 0 ? 0 : x[i];
}

TARGET static float NAME(softmax)(float *restrict row, size_t width, size_t stride)
{
    float max = row[0], lanes[KERNEL_LANES] = { 0 }, sum = 0;
    for (size_t i = 1; i < width; i++)
        max = row[i] > max ? row[i] : max;
    for (size_t i = 0; i < stride; i++)
        row[i] = exp_of(row[i] - max);
    for (size_t i = width; i < stride; i++)
        row[i] = 0;
    for (size_t i = 0; i < stride; i += KERNEL_LANES)
        for (size_t k = 0; k < KERNEL_LANES; k++)
            lanes[k] += row[i + k];
    for (size_t k = 0; k < KERNEL_LANES; k++)
        sum += lanes[k];
    float share = 1 / sum;
    for (size_t i = 0; i < stride; i++)
        row[i] *= share;
    return max + logf(sum);
}

/* ---- steps ----------------------------------------------------------------------------------- */

TARGET static void NAME(descend)(float *restrict theta, const float *restrict gradient,
                                 float *restrict speed, size_t count, const struct rates *r)
{
    const struct rates k = *r;
    const float ahead = k.nesterov ? k.momentum : 1, at_once = k.nesterov ? k.lr : 0;
    for (size_t i = 0; i < count; i++) {
        float g = gradient[i] * k.scale + k.l2 * theta[i] + k.l1 * sign_of(theta[i]);
        float v = k.momentum * speed[i] - k.lr * g;
        speed[i] = v;
        theta[i] += ahead * v - at_once * g;
    }
}

TARGET static void NAME(adam)(float *restrict theta, const float *restrict gradient,
                              float *restrict first, float *restrict second, size_t count,
                              const struct rates *r)
{
    const struct rates k = *r;
    for (size_t i = 0; i < count; i++) {
        float g = gradient[i] * k.scale + k.l2 * theta[i] + k.l1 * sign_of(theta[i]);
        float m = k.b1 * first[i] + (1 - k.b1) * g;
        float v = k.b2 * second[i] + (1 - k.b2) * g * g;
        first[i] = m;
        second[i] = v;
        theta[i] -= k.lr * (m * k.c1 / (__builtin_sqrtf(v * k.c2) + EPSILON) + k.decay * theta[i]);
    }
}

static const struct kernels NAME(kernels) = {
    .name = LEVEL_NAME,
    .multiply = NAME(multiply),
    .transpose = NAME(transpose),
    .standardise = NAME(standardise),
    .standardise_bytes = NAME(standardise_bytes),
    .activate = NAME(activate),
    .drop = NAME(drop),
    .scale_by = NAME(scale_by),
    .rectify = NAME(rectify),
    .add_rows = NAME(add_rows),
    .softmax = NAME(softmax),
    .descend = NAME(descend),
    .adam = NAME(adam),
};

#undef PASTE_
#undef PASTE
#undef NAME
#undef VEC
