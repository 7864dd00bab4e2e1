/* table.h - labelled rows in memory, as the readers make them and the learners take them. */
#ifndef SERVICES_TRAINER_TABLE_H
#define SERVICES_TRAINER_TABLE_H

#include "services/trainer/data/source.h"

#define MAX_ROWS     20000000u
#define MAX_FEATURES 65536u
#define MAX_CELLS    (1u << 29) /* rows x features: 2 GiB of float */
#define MAX_CLASSES  4096u
#define MAX_LABEL    128 /* bytes of a class label */

/* Rows of images: features = channels x height x width, in that order. */
struct image_shape {
    uint32_t channels, height, width; /* 0: the rows are no images */
};

/* x: rows x features, row-major float32; of images of bytes `pixels` instead, a quarter of the
 * memory, and x is NULL.  What is to be learnt is either the class of each row (y and classes), or
 * values (outputs of them in each row; then y and classes are empty). */
struct table {
    float *x;
    unsigned char *pixels;
    size_t rows;
    size_t features;
    uint32_t *y;    /* rows, index of the class */
    char **classes; /* classes_count labels, in the order of the model's outputs */
    size_t classes_count;
    float *values; /* rows x outputs */
    size_t outputs;
    struct image_shape image;
};

void table_finish(struct table *t); /* zeroed is fine */

/* A row's features: where they are, or, of pixels, in `room`, which has place for them. */
const float *table_row(const struct table *t, size_t row, float *room);
/* Copies rows[0 .. count) into out (count x features). */
void table_rows(const struct table *t, const uint32_t *rows, size_t count, float *out);

/* How many numbers a model answers for each row: probabilities of classes, or values. */
static inline size_t table_width(const struct table *t)
{
    return t->outputs ? t->outputs : t->classes_count;
}

/* A pair of IDX files (.gz or plain): images of unsigned bytes (magic 0x00000803) and labels
 * (0x00000801); http://yann.lecun.com/exdb/mnist.  The table has pixels of 0 to 255.
 * Classes are "0", "1" ... up to the highest label. */
enum status idx_read(const struct source_file *images, const struct source_file *labels,
                     struct table *out, struct error *err) MUST_CHECK;

#endif
