/* npy.h - NumPy's arrays (NEP 1, versions 1 to 3): in files of their own, or in an archive (.npz).
 *
 * Numbers of any width become float32.  Not read: text, objects, complex numbers, big endian, columns
 * first.
 */
#ifndef SERVICES_TRAINER_NPY_H
#define SERVICES_TRAINER_NPY_H

#include "services/trainer/data/target.h"

#define NPY_RANK_MAX 4

struct npy {
    float *data; /* dims[0] x dims[1] ..., owned */
    size_t dims[NPY_RANK_MAX];
    size_t rank;
    bool whole; /* it is of integers */
};

/* Where an array is: a file, and in an archive the member. */
struct npy_file {
    const struct source_file *file;
    const char *member; /* NULL: the file is the array */
};

/* INVALID, TOO_LARGE: *err names the file.  NOT_FOUND: the archive has no such member. */
enum status npy_read(const struct npy_file *file, struct npy *out, struct error *err) MUST_CHECK;
void npy_finish(struct npy *a); /* zeroed is fine */

/* Makes a table of two arrays.  x: [rows, features], or images: [rows, height, width], [rows, height,
 * width, channels] or [rows, channels, height, width] with at most 4 channels; their features are
 * channels first.  y: [rows], or [rows, outputs] of values; classes are the numbers in it, sorted.
 * like: classes and the task are as there; NULL: found as in target.h.  Takes what x and y own. */
enum status npy_table(struct npy *x, struct npy *y, enum task task, const struct table *like,
                      struct table *out, struct error *err) MUST_CHECK;

#endif
