/* cnn.h - a convolutional network for images: 3x3 convolutions with ReLU and 2x2 max pooling, then
 * dense layers with ReLU, softmax cross-entropy at the end.
 *
 * Inside, images are height x width x channels: what oneDNN is fast with, and what a dense layer
 * after them sees.  Inputs are raw pixels in the order of struct image_shape; their
 * standardisation, one mean and one scale for all, is a part of the model.
 */
#ifndef SERVICES_TRAINER_CNN_H
#define SERVICES_TRAINER_CNN_H

#include "services/trainer/learner.h"

#define CNN_MAX_CONVS       8
#define CNN_MAX_FILTERS     1024
#define CNN_MAX_HIDDEN      8
#define CNN_MAX_UNITS       16384
#define CNN_MAX_LAYERS      (CNN_MAX_CONVS + CNN_MAX_HIDDEN + 1)
#define CNN_MAX_EPOCHS      100000
#define CNN_MAX_BATCH       65536
#define CNN_MAX_SHIFT       64
#define CNN_MAX_WEIGHTS     (64u << 20)         /* of one network; training needs six times that */
#define CNN_MAX_ACTIVATIONS (16u << 20)         /* floats that training on one image takes */
#define CNN_MAX_WORK        ((uint64_t)4 << 30) /* multiplications for one image, there and back */
#define CNN_THREADS         64

enum cnn_optimizer { CNN_MOMENTUM, CNN_ADAM, CNN_ADAMW };
enum cnn_schedule { CNN_CONSTANT, CNN_COSINE };

struct cnn_params {
    uint32_t filters[PARAM_LIST_MAX]; /* of each convolution; each halves height and width */
    size_t filters_count;
    uint32_t hidden[PARAM_LIST_MAX]; /* units of each hidden dense layer */
    size_t hidden_count;
    uint32_t epochs;
    uint32_t batch;
    uint32_t optimizer; /* enum cnn_optimizer */
    uint32_t schedule;  /* enum cnn_schedule */
    double lr;
    double momentum;
    double weight_decay; /* L2; of AdamW: beside the gradient */
    double dropout;      /* share of the hidden dense units that a step leaves out */
    uint32_t shift;      /* pixels that a training image is moved by, at most, in each direction */
    bool flip;           /* half of the training images are mirrored, left to right */
    uint32_t patience;   /* epochs without a better validation loss; 0: never stop early */
};

/* A layer with its place in theta.  Of a convolution: channels, filters, and its input's size;
 * w is filters x channels x 3 x 3.  Of a dense one: w is in x out. */
struct cnn_layer {
    size_t in, out;
    size_t height, width; /* 0: dense */
    size_t w, w_count;    /* the first number in theta, and how many */
    size_t b;             /* out of them */
};

struct cnn {
    struct image_shape image;
    size_t features, classes;
    struct cnn_layer layers[CNN_MAX_LAYERS]; /* the convolutions first */
    size_t convs_count, layers_count;
    size_t weights; /* floats of theta */
    float *theta;
    float mean, scale;
    int64_t shape[4]; /* of the input, as the ONNX graph has it */
};

void cnn_default(struct cnn_params *p);
/* Zeros the model and lays out its layers; theta is NULL.  INVALID: the images are too small for
 * so many convolutions.  TOO_LARGE: such a network would not fit. */
enum status cnn_shape(struct cnn *m, const struct table *t, const struct cnn_params *p,
                      struct error *err) MUST_CHECK;
/* He initialisation. */
void cnn_init(struct cnn *m, uint64_t seed);
/* Fits mean and scale on the rows to learn from.  false: the lesson is cancelled. */
bool cnn_standardise(struct cnn *m, const struct lesson *lesson) MUST_CHECK;
void cnn_finish(struct cnn *m); /* zeroed is fine */

/* Floats that one image takes in a pass with gradients, and its multiplications. */
size_t cnn_row_floats(const struct cnn *m);
uint64_t cnn_row_work(const struct cnn *m);

/* As struct learner says. */
enum status cnn_train(struct cnn *m, const struct cnn_params *p, const struct lesson *lesson,
                      struct error *err) MUST_CHECK;
void cnn_export(const struct cnn *m, struct onnx_graph *graph, const char *input,
                const char *output);

#endif
