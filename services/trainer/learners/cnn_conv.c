/* cnn_conv.c - see cnn_conv.h.  oneDNN's types and errors stay in this file. */
#include "services/trainer/learners/cnn_conv.h"

#include "common/base/bytes.h"

#include <assert.h>
#include <dnnl.h>
#include <stdlib.h>

#define ARGS_MAX 8

/* OpenMP's, as gcc's omp.h has it, which clang has not. */
extern void omp_set_num_threads(int count);

/* A primitive with its arguments. */
struct op {
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t args[ARGS_MAX];
    int args_count;
};

/* Reorders bring weights into the form that a primitive is fastest with, and their gradient back. */
struct conv {
    struct conv_shape shape;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_attr_t attr;
    float *out, *pooled, *out_gradient, *pooled_gradient, *grad_w, *grad_b;
    dnnl_memory_t source, weights, bias, output, after; /* after: the pooling */
    dnnl_memory_t best, best_back, grad_best;           /* weights in the primitives' forms */
    dnnl_memory_t workspace;                            /* which of four was the largest */
    dnnl_memory_t diff_output, diff_after, diff_weights, diff_bias, diff_source;
    struct op forward, pool, pool_back, by_weights, by_source;
    struct op load, load_back, unload;
};

/* What can fail here is only a call that is wrong, or memory. */
static void must(dnnl_status_t status)
{
    assert(status == dnnl_success);
}

void conv_thread(void)
{
    omp_set_num_threads(1);
}

/* ---- memory --------------------------------------------------------------------------------- */

static dnnl_memory_desc_t describe(int rank, const dnnl_dims_t dims, dnnl_format_tag_t form)
{
    dnnl_memory_desc_t d = NULL;
    must(dnnl_memory_desc_create_with_tag(&d, rank, dims, dnnl_f32, form));
    return d;
}

/* Memory of that form: at `data`, or (NULL) its own. */
static dnnl_memory_t memory(struct conv *c, const_dnnl_memory_desc_t d, void *data)
{
    dnnl_memory_t m = NULL;
    must(dnnl_memory_create(&m, d, c->engine, data ? data : DNNL_MEMORY_ALLOCATE));
    return m;
}

static dnnl_memory_t memory_for(struct conv *c, const struct op *op, dnnl_query_t what)
{
    return memory(c, dnnl_primitive_desc_query_md(op->desc, what, 0), NULL);
}

/* ---- primitives ----------------------------------------------------------------------------- */

static void op_arg(struct op *op, int name, dnnl_memory_t m)
{
    assert(op->args_count < ARGS_MAX);
    op->args[op->args_count++] = (dnnl_exec_arg_t){ name, m };
}

/* After its description.  The scratch memory is its own: primitives of one form share what they
 * are, whichever thread runs them. */
static void op_finish_setup(struct conv *c, struct op *op)
{
    op_arg(op, DNNL_ARG_SCRATCHPAD, memory_for(c, op, dnnl_query_scratchpad_md));
    must(dnnl_primitive_create(&op->primitive, op->desc));
}

static void op_run(struct conv *c, const struct op *op)
{
    must(dnnl_primitive_execute(op->primitive, c->stream, op->args_count, op->args));
    must(dnnl_stream_wait(c->stream));
}

static void op_destroy(struct op *op)
{
    for (int i = 0; i < op->args_count; i++)
        if (op->args[i].arg == DNNL_ARG_SCRATCHPAD)
            dnnl_memory_destroy(op->args[i].memory);
    if (op->primitive)
        dnnl_primitive_destroy(op->primitive);
    if (op->desc)
        dnnl_primitive_desc_destroy(op->desc);
}

static void add_reorder(struct conv *c, struct op *op, dnnl_memory_t from, dnnl_memory_t to)
{
    const_dnnl_memory_desc_t a = NULL, b = NULL;
    must(dnnl_memory_get_memory_desc(from, &a));
    must(dnnl_memory_get_memory_desc(to, &b));
    must(dnnl_reorder_primitive_desc_create(&op->desc, a, c->engine, b, c->engine, c->attr));
    op_arg(op, DNNL_ARG_FROM, from);
    op_arg(op, DNNL_ARG_TO, to);
    op_finish_setup(c, op);
}

/* ---- set-up --------------------------------------------------------------------------------- */

static const dnnl_dims_t one = { 1, 1 }, none = { 0, 0 }, two = { 2, 2 };

/* The forms of what a stage works on; `any`: as the primitive likes it. */
struct forms {
    dnnl_memory_desc_t source, weights, any, bias, out, pooled;
};

static void forms_init(struct forms *f, const struct conv_shape *s)
{
    const dnnl_dim_t n = (dnnl_dim_t)s->images, c = (dnnl_dim_t)s->channels,
                     k = (dnnl_dim_t)s->filters, h = (dnnl_dim_t)s->height,
                     w = (dnnl_dim_t)s->width;
    f->source = describe(4, (const dnnl_dims_t){ n, c, h, w }, dnnl_nhwc);
    f->weights = describe(4, (const dnnl_dims_t){ k, c, 3, 3 }, dnnl_oihw);
    f->any = describe(4, (const dnnl_dims_t){ k, c, 3, 3 }, dnnl_format_tag_any);
    f->bias = describe(1, (const dnnl_dims_t){ k }, dnnl_a);
    f->out = describe(4, (const dnnl_dims_t){ n, k, h, w }, dnnl_nhwc);
    f->pooled = describe(4, (const dnnl_dims_t){ n, k, h / 2, w / 2 }, dnnl_nhwc);
}

static void forms_finish(struct forms *f)
{
    dnnl_memory_desc_destroy(f->source);
    dnnl_memory_desc_destroy(f->weights);
    dnnl_memory_desc_destroy(f->any);
    dnnl_memory_desc_destroy(f->bias);
    dnnl_memory_desc_destroy(f->out);
    dnnl_memory_desc_destroy(f->pooled);
}

static void add_forward(struct conv *c, const struct forms *f)
{
    dnnl_prop_kind_t kind = c->shape.gradients ? dnnl_forward_training : dnnl_forward_inference;
    must(dnnl_convolution_forward_primitive_desc_create(
        &c->forward.desc, c->engine, kind, dnnl_convolution_direct, f->source, f->any, f->bias,
        f->out, one, none, one, one, c->attr));
    c->best = memory_for(c, &c->forward, dnnl_query_weights_md);
    add_reorder(c, &c->load, c->weights, c->best);
    op_arg(&c->forward, DNNL_ARG_SRC, c->source);
    op_arg(&c->forward, DNNL_ARG_WEIGHTS, c->best);
    op_arg(&c->forward, DNNL_ARG_BIAS, c->bias);
    op_arg(&c->forward, DNNL_ARG_DST, c->output);
    op_finish_setup(c, &c->forward);
    must(dnnl_pooling_forward_primitive_desc_create(&c->pool.desc, c->engine, kind,
                                                    dnnl_pooling_max, f->out, f->pooled, two, two,
                                                    none, none, none, c->attr));
    op_arg(&c->pool, DNNL_ARG_SRC, c->output);
    op_arg(&c->pool, DNNL_ARG_DST, c->after);
    if (c->shape.gradients) {
        c->workspace = memory_for(c, &c->pool, dnnl_query_workspace_md);
        op_arg(&c->pool, DNNL_ARG_WORKSPACE, c->workspace);
    }
    op_finish_setup(c, &c->pool);
}

static void add_by_weights(struct conv *c, const struct forms *f)
{
    must(dnnl_pooling_backward_primitive_desc_create(&c->pool_back.desc, c->engine,
                                                     dnnl_pooling_max, f->out, f->pooled, two, two,
                                                     none, none, none, c->pool.desc, c->attr));
    op_arg(&c->pool_back, DNNL_ARG_DIFF_DST, c->diff_after);
    op_arg(&c->pool_back, DNNL_ARG_WORKSPACE, c->workspace);
    op_arg(&c->pool_back, DNNL_ARG_DIFF_SRC, c->diff_output);
    op_finish_setup(c, &c->pool_back);
    must(dnnl_convolution_backward_weights_primitive_desc_create(
        &c->by_weights.desc, c->engine, dnnl_convolution_direct, f->source, f->any, f->bias, f->out,
        one, none, one, one, c->forward.desc, c->attr));
    c->grad_best = memory_for(c, &c->by_weights, dnnl_query_diff_weights_md);
    op_arg(&c->by_weights, DNNL_ARG_SRC, c->source);
    op_arg(&c->by_weights, DNNL_ARG_DIFF_DST, c->diff_output);
    op_arg(&c->by_weights, DNNL_ARG_DIFF_WEIGHTS, c->grad_best);
    op_arg(&c->by_weights, DNNL_ARG_DIFF_BIAS, c->diff_bias);
    op_finish_setup(c, &c->by_weights);
    add_reorder(c, &c->unload, c->grad_best, c->diff_weights);
}

static void add_by_source(struct conv *c, const struct forms *f, float *source_gradient)
{
    must(dnnl_convolution_backward_data_primitive_desc_create(
        &c->by_source.desc, c->engine, dnnl_convolution_direct, f->source, f->any, f->out, one,
        none, one, one, c->forward.desc, c->attr));
    c->best_back = memory_for(c, &c->by_source, dnnl_query_weights_md);
    add_reorder(c, &c->load_back, c->weights, c->best_back);
    c->diff_source = memory(c, f->source, source_gradient);
    op_arg(&c->by_source, DNNL_ARG_WEIGHTS, c->best_back);
    op_arg(&c->by_source, DNNL_ARG_DIFF_DST, c->diff_output);
    op_arg(&c->by_source, DNNL_ARG_DIFF_SRC, c->diff_source);
    op_finish_setup(c, &c->by_source);
}

static size_t out_floats(const struct conv_shape *s)
{
    return s->images * s->height * s->width * s->filters;
}

static size_t pooled_floats(const struct conv_shape *s)
{
    return s->images * (s->height / 2) * (s->width / 2) * s->filters;
}

static size_t weight_floats(const struct conv_shape *s)
{
    return s->filters * s->channels * 9;
}

static void add_gradients(struct conv *c, const struct forms *f, float *source_gradient)
{
    const struct conv_shape *s = &c->shape;
    c->out_gradient = mem_zalloc(out_floats(s) * sizeof(float));
    c->pooled_gradient = mem_zalloc(pooled_floats(s) * sizeof(float));
    c->grad_w = mem_zalloc(weight_floats(s) * sizeof(float));
    c->grad_b = mem_zalloc(s->filters * sizeof(float));
    c->diff_output = memory(c, f->out, c->out_gradient);
    c->diff_after = memory(c, f->pooled, c->pooled_gradient);
    c->diff_weights = memory(c, f->weights, c->grad_w);
    c->diff_bias = memory(c, f->bias, c->grad_b);
    add_by_weights(c, f);
    if (source_gradient)
        add_by_source(c, f, source_gradient);
}

struct conv *conv_create(const struct conv_shape *shape, float *source, float *source_gradient,
                         float *w, float *b)
{
    struct conv *c = mem_zalloc(sizeof *c);
    struct forms f;
    conv_thread();
    c->shape = *shape;
    forms_init(&f, shape);
    must(dnnl_engine_create(&c->engine, dnnl_cpu, 0));
    must(dnnl_stream_create(&c->stream, c->engine, dnnl_stream_default_flags));
    must(dnnl_primitive_attr_create(&c->attr));
    must(dnnl_primitive_attr_set_scratchpad_mode(c->attr, dnnl_scratchpad_mode_user));
    must(dnnl_primitive_attr_set_deterministic(c->attr, 1));
    c->out = mem_zalloc(out_floats(shape) * sizeof(float));
    c->pooled = mem_zalloc(pooled_floats(shape) * sizeof(float));
    c->source = memory(c, f.source, source);
    c->weights = memory(c, f.weights, w);
    c->bias = memory(c, f.bias, b);
    c->output = memory(c, f.out, c->out);
    c->after = memory(c, f.pooled, c->pooled);
    add_forward(c, &f);
    if (shape->gradients)
        add_gradients(c, &f, source_gradient);
    forms_finish(&f);
    return c;
}

void conv_destroy(struct conv *c)
{
    if (!c)
        return;
    struct op *const ops[] = { &c->forward,   &c->pool, &c->pool_back, &c->by_weights,
                               &c->by_source, &c->load, &c->load_back, &c->unload };
    const dnnl_memory_t memories[] = { c->source,      c->weights,    c->bias,         c->output,
                                       c->after,       c->best,       c->best_back,    c->grad_best,
                                       c->diff_output, c->diff_after, c->diff_weights, c->diff_bias,
                                       c->diff_source, c->workspace };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        op_destroy(ops[i]);
    for (size_t i = 0; i < sizeof memories / sizeof *memories; i++)
        if (memories[i])
            dnnl_memory_destroy(memories[i]);
    dnnl_primitive_attr_destroy(c->attr);
    dnnl_stream_destroy(c->stream);
    dnnl_engine_destroy(c->engine);
    free(c->out);
    free(c->pooled);
    free(c->out_gradient);
    free(c->pooled_gradient);
    free(c->grad_w);
    free(c->grad_b);
    free(c);
}

/* ---- use ------------------------------------------------------------------------------------ */

float *conv_output(const struct conv *c)
{
    return c->pooled;
}

float *conv_output_gradient(const struct conv *c)
{
    return c->pooled_gradient;
}

void conv_load(struct conv *c)
{
    op_run(c, &c->load);
    if (c->load_back.primitive)
        op_run(c, &c->load_back);
}

void conv_forward(struct conv *c)
{
    op_run(c, &c->forward);
    op_run(c, &c->pool);
}

void conv_backward(struct conv *c, float *grad_w, float *grad_b)
{
    op_run(c, &c->pool_back);
    op_run(c, &c->by_weights);
    op_run(c, &c->unload);
    for (size_t i = 0; i < weight_floats(&c->shape); i++)
        grad_w[i] += c->grad_w[i];
    for (size_t i = 0; i < c->shape.filters; i++)
        grad_b[i] += c->grad_b[i];
    if (c->by_source.primitive)
        op_run(c, &c->by_source);
}
