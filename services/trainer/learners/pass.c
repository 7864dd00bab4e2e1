/* pass.c - forward and backward. */
#include "services/trainer/learners/pass.h"

#include "services/trainer/random.h"

#include <assert.h>
#include <cblas.h>
#include <stdlib.h>

/* Weights of a product that the kernels take: measured, they are faster while the matrix stays in
 * the second cache.  Larger ones are OpenBLAS', and so are packed ones. */
#define OWN_MOST    (512u << 10)
#define TURN_MOST   16384u /* weights that are transposed for the way back; else OpenBLAS does it */
#define WIDE_GROUPS 2      /* of KERNEL_LANES units for each member make a layer wide */
#define ROW_STEP    4      /* rows that stay together */

/* ---- life -------------------------------------------------------------------------------------- */

static void init_layer(struct pass *p, size_t l, bool gradients)
{
    const struct layer *layer = &p->net->layers[l];
    size_t last = p->net->layers_count - 1, size = p->rows * kernel_stride(layer->out);
    p->act[l] = network_floats(size);
    if (!gradients)
        return;
    assert(layer->stride % KERNEL_LANES == 0);
    if (l < last && (p->net->activation != ACTIVATION_RELU || p->dropout > 0))
        p->slope[l] = network_floats(size);
    p->delta[l] = l < last ? network_floats(size) : p->act[l];
    for (size_t i = 0; l > 0 && layer->in * layer->out <= TURN_MOST && i < p->members; i++)
        p->turned[i][l] = network_floats(layer->out * kernel_stride(layer->in));
}

void pass_init(struct pass *p, const struct network *net, size_t rows, size_t members,
               double dropout, bool gradients)
{
    *p = (struct pass){
        .net = net, .k = kernels_best(), .rows = rows, .members = members, .dropout = dropout
    };
    for (int i = 0; i < 2; i++)
        p->input[i] = network_floats(rows * kernel_stride(net->features));
    for (size_t l = 0; l < net->layers_count; l++)
        init_layer(p, l, gradients);
    if (gradients)
        p->gradient = network_floats(net->count);
}

void pass_finish(struct pass *p)
{
    size_t last = p->net ? p->net->layers_count - 1 : 0;
    for (size_t l = 0; l < MAX_LAYERS; l++) {
        if (l != last)
            free(p->delta[l]);
        free(p->act[l]);
        free(p->slope[l]);
        for (size_t i = 0; i < p->members; i++)
            free(p->turned[i][l]);
    }
    free(p->input[0]);
    free(p->input[1]);
    free(p->gradient);
    *p = (struct pass){ 0 };
}

/* ---- products ---------------------------------------------------------------------------------- */

static void multiply(const struct pass *p, const struct product *m)
{
    bool padded = m->b_stride % KERNEL_LANES == 0 && m->width % KERNEL_LANES == 0;
    if (!m->rows || !m->width)
        return;
    if (padded && m->width * m->depth <= OWN_MOST) {
        p->k->multiply(m);
        return;
    }
    bool turned = m->a_depth != 1;
    for (size_t i = 0; i < m->rows && !m->add && m->bias; i++)
        memcpy(m->c + i * m->c_stride, m->bias, m->width * sizeof(float));
    cblas_sgemm(CblasRowMajor, turned ? CblasTrans : CblasNoTrans, CblasNoTrans, (int)m->rows,
                (int)m->width, (int)m->depth, 1, m->a, (int)(turned ? m->a_depth : m->a_row), m->b,
                (int)m->b_stride, m->add || m->bias ? 1 : 0, m->c, (int)m->c_stride);
}

/* A layer is shared by its units where each member gets enough of them, else by rows. */
static bool is_wide(const struct layer *l, const struct member *me)
{
    return me->count > 1 && l->stride >= WIDE_GROUPS * KERNEL_LANES * me->count;
}

void pass_share(const struct member *me, const struct unit *u, size_t *from, size_t *to)
{
    team_share(me, u->count, ROW_STEP, from, to);
}

/* ---- forward ----------------------------------------------------------------------------------- */

void pass_gather(struct pass *p, const struct member *me, const struct table *t,
                 const uint32_t *rows, const struct unit *u)
{
    const struct network *n = p->net;
    size_t from, to, width = n->features;
    pass_share(me, u, &from, &to);
    for (size_t i = from; i < to; i++) {
        size_t at = (rows ? rows[u->at + i] : u->at + i) * width;
        float *out = p->input[u->turn] + i * kernel_stride(width);
        if (t->x)
            p->k->standardise(t->x + at, n->mean, n->scale, width, out);
        else
            p->k->standardise_bytes(t->pixels + at, n->mean, n->scale, width, out);
    }
}

/* The activation, and what dropout leaves of it, of a part of a row, or of whole rows. */
static void activate(struct pass *p, size_t l, const struct unit *u, size_t at, size_t count,
                     bool training)
{
    float *x = p->act[l] + at;
    float *slope = training && p->slope[l] ? p->slope[l] + at : NULL;
    p->k->activate(p->net->activation, x, slope, count);
    if (!training || p->dropout <= 0)
        return;
    struct random r = { .state = u->key + l };
    size_t before = u->row * kernel_stride(p->net->layers[l].out);
    p->k->drop(x, slope, count, (uint32_t)random_u64(&r), (uint32_t)(before + at),
               (uint32_t)(p->dropout * 0x1p32), (float)(1 / (1 - p->dropout)));
}

static void run_layer(struct pass *p, const struct member *me, size_t l, const struct unit *u,
                      bool training)
{
    const struct layer *layer = &p->net->layers[l];
    size_t stride = kernel_stride(layer->out), row = 0, end = u->count;
    size_t column = 0, width = layer->stride;
    size_t in = kernel_stride(layer->in);
    if (is_wide(layer, me)) {
        team_share(me, layer->stride, KERNEL_LANES, &column, &width);
        width -= column;
    } else {
        pass_share(me, u, &row, &end);
    }
    const float *from = l ? p->act[l - 1] : p->input[u->turn];
    multiply(p, &(struct product){ .rows = end - row,
                                   .width = width,
                                   .depth = layer->in,
                                   .a = from + row * in,
                                   .a_row = in,
                                   .a_depth = 1,
                                   .b = layer->w + column,
                                   .b_stride = layer->stride,
                                   .bias = layer->b + column,
                                   .c = p->act[l] + row * stride + column,
                                   .c_stride = stride });
    if (l + 1 == p->net->layers_count)
        return;
    if (width == layer->stride)
        activate(p, l, u, row * stride, (end - row) * stride, training);
    else
        for (size_t i = row; i < end; i++)
            activate(p, l, u, i * stride + column, width, training);
}

void pass_forward(struct pass *p, const struct member *me, const struct unit *u, bool training)
{
    for (size_t l = 0; l < p->net->layers_count; l++) {
        bool wide = is_wide(&p->net->layers[l], me);
        if (wide && l && !is_wide(&p->net->layers[l - 1], me))
            team_meet(me); /* all rows of the layer before are needed */
        run_layer(p, me, l, u, training);
        if (wide)
            team_meet(me);
    }
}

/* ---- backward ---------------------------------------------------------------------------------- */

/* delta[l-1] = delta[l] W^T, for this member's rows. */
static void spread_back(struct pass *p, const struct member *me, size_t l, const struct unit *u)
{
    const struct layer *layer = &p->net->layers[l];
    size_t stride = kernel_stride(layer->out), in = kernel_stride(layer->in), row, end;
    float *turned = p->turned[me->index][l];
    pass_share(me, u, &row, &end);
    if (row == end)
        return;
    float *to = p->delta[l - 1] + row * in;
    if (turned) {
        p->k->transpose(layer->w, layer->in, layer->out, layer->stride, turned, in);
        p->k->multiply(&(struct product){ .rows = end - row,
                                          .width = in,
                                          .depth = layer->out,
                                          .a = p->delta[l] + row * stride,
                                          .a_row = stride,
                                          .a_depth = 1,
                                          .b = turned,
                                          .b_stride = in,
                                          .c = to,
                                          .c_stride = in });
    } else {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)(end - row), (int)layer->in,
                    (int)layer->out, 1, p->delta[l] + row * stride, (int)stride, layer->w,
                    (int)layer->stride, 0, to, (int)in);
    }
    if (p->slope[l - 1])
        p->k->scale_by(to, p->slope[l - 1] + row * in, (end - row) * in);
    else
        p->k->rectify(to, p->act[l - 1] + row * in, (end - row) * in);
}

struct region pass_region(const struct pass *p, const struct member *me, size_t l)
{
    const struct layer *layer = &p->net->layers[l];
    struct region r = { .row_end = layer->in, .column_end = layer->stride };
    if (is_wide(layer, me)) {
        team_share(me, layer->stride, KERNEL_LANES, &r.column, &r.column_end);
        r.bias = r.column;
        r.bias_end = r.column_end;
    } else {
        team_share(me, layer->in, KERNEL_LANES, &r.row, &r.row_end);
        r.bias_end = me->index == 0 ? layer->stride : 0;
    }
    return r;
}

static void add_gradient(struct pass *p, const struct member *me, size_t l, const struct unit *u)
{
    const struct layer *layer = &p->net->layers[l];
    struct region r = pass_region(p, me, l);
    float *gradient = p->gradient + (layer->w - p->net->theta);
    float *bias = p->gradient + (layer->b - p->net->theta);
    const float *from = l ? p->act[l - 1] : p->input[u->turn];
    size_t stride = kernel_stride(layer->out);
    multiply(p, &(struct product){ .rows = r.row_end - r.row,
                                   .width = r.column_end - r.column,
                                   .depth = u->count,
                                   .a = from + r.row,
                                   .a_row = 1,
                                   .a_depth = kernel_stride(layer->in),
                                   .b = p->delta[l] + r.column,
                                   .b_stride = stride,
                                   .c = gradient + r.row * layer->stride + r.column,
                                   .c_stride = layer->stride,
                                   .add = u->row > 0 });
    if (r.bias < r.bias_end)
        p->k->add_rows(p->delta[l] + r.bias, u->count, r.bias_end - r.bias, stride, u->row > 0,
                       bias + r.bias);
}

void pass_backward(struct pass *p, const struct member *me, const struct unit *u)
{
    for (size_t l = p->net->layers_count; l-- > 1;)
        spread_back(p, me, l, u);
    team_meet(me); /* all rows of all deltas are there */
    for (size_t l = 0; l < p->net->layers_count; l++)
        add_gradient(p, me, l, u);
}
