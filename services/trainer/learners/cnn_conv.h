/* cnn_conv.h - a 3x3 convolution (same padding) and a 2x2 max pooling after it, by oneDNN.
 *
 * Measured on one core with AVX-512, 32 images of 14 x 14, 32 channels to 64: forward and both ways
 * back 3.4 ms.  im2col and OpenBLAS took 4.4 ms without col2im, and with one channel
 * im2col alone takes four times as long as all of oneDNN's forward pass.
 *
 * A stage has memory for a fixed number of images and is used by one thread at a time.  All
 * images are height x width x channels.
 */
#ifndef SERVICES_TRAINER_CNN_CONV_H
#define SERVICES_TRAINER_CNN_CONV_H

#include <stdbool.h>
#include <stddef.h>

struct conv;

struct conv_shape {
    size_t images, channels, filters, height, width;
    bool gradients; /* there is a way back */
};

/* All that is pointed to stays the caller's.  source: the images, which the caller fills; w is
 * filters x channels x 3 x 3.  source_gradient: where the way back goes on, as large as source; or
 * NULL. */
struct conv *conv_create(const struct conv_shape *shape, float *source, float *source_gradient,
                         float *w, float *b);
void conv_destroy(struct conv *c); /* NULL is fine */

/* What conv_forward leaves: images x height/2 x width/2 x filters.  The caller may change it. */
float *conv_output(const struct conv *c);
/* Where the caller puts the gradient by that before conv_backward. */
float *conv_output_gradient(const struct conv *c);

/* Takes over weights that have changed.  Before conv_forward. */
void conv_load(struct conv *c);
void conv_forward(struct conv *c);
/* Adds to grad_w and grad_b; source_gradient, if there is one, becomes what it is now. */
void conv_backward(struct conv *c, float *grad_w, float *grad_b);

/* Each thread that computes with oneDNN says this first: a thread is one thread. */
void conv_thread(void);

#endif
