/* load_arrays.c - data sets of images and matrices. */
#include "services/trainer/data/load.h"

#include <stdlib.h>

/* The file of that name, plain or compressed. */
static bool find_file(const struct data_request *r, const char *name, struct source_file *out)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < r->files_count; i++) {
        if (strncmp(r->files[i].name, name, len) != 0 ||
            (r->files[i].name[len] && strcmp(r->files[i].name + len, ".gz") != 0))
            continue;
        *out = r->files[i];
        return true;
    }
    return false;
}

static bool one_class(const struct table *t)
{
    for (size_t i = 1; i < t->rows; i++)
        if (t->y[i] != t->y[0])
            return false;
    return true;
}

static enum status read_idx(const struct data_request *r, struct data *d, struct error *err)
{
    static const char *const names[] = { "train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                         "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte" };
    struct source_file files[4];
    for (int i = 0; i < 4; i++)
        if (!find_file(r, names[i], &files[i]))
            return error_set(err, STATUS_INVALID, "the data set lacks the file %s (or %s.gz)",
                             names[i], names[i]);
    enum status st = idx_read(&files[0], &files[1], &d->train, err);
    if (!st)
        st = idx_read(&files[2], &files[3], &d->test, err);
    if (!st && one_class(&d->train))
        st = error_set(err, STATUS_INVALID,
                       "%s: there is only one class: there is nothing to learn", files[1].name);
    d->own_test = true;
    return st;
}

/* Rare classes may be missing among those held out. */
static enum status match_test(struct data *d, struct error *err)
{
    struct table *test = &d->test;
    const struct table *train = &d->train;
    if (test->features != train->features || test->outputs != train->outputs ||
        test->classes_count > train->classes_count)
        return error_set(err, STATUS_INVALID,
                         "the test images have another size, or labels that the "
                         "training images have not");
    test->classes = mem_resize(test->classes, (train->classes_count + 1) * sizeof *test->classes);
    for (; test->classes_count < train->classes_count; test->classes_count++)
        test->classes[test->classes_count] =
            mem_str(bytes_str(train->classes[test->classes_count]));
    return STATUS_OK;
}

bool data_is_arrays(const struct data_request *r)
{
    struct source_file file;
    return find_file(r, "train-images-idx3-ubyte", &file);
}

enum status data_read_arrays(const struct data_request *r, struct data *d, struct error *err)
{
    enum status st = read_idx(r, d, err);
    return st || !d->own_test ? st : match_test(d, err);
}
