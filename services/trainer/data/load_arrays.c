/* load_arrays.c - data sets of images and matrices. */
#include "services/trainer/data/load.h"
#include "services/trainer/data/npy.h"

#include <stdio.h>
#include <stdlib.h>

#define ARRAY_NAME_SIZE 32

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

static bool is_archive(const struct data_request *r)
{
    size_t len = r->files_count == 1 ? strlen(r->files[0].name) : 0;
    return len > 4 && strcmp(r->files[0].name + len - 4, ".npz") == 0;
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

/* ---- NPY ---------------------------------------------------------------------------------------- */

/* One of the arrays, which is in a file of its own, or a member of the only file. */
static enum status read_array(const struct data_request *r, const char *name, struct npy *out,
                              struct error *err)
{
    struct source_file file;
    char member[ARRAY_NAME_SIZE];
    snprintf(member, sizeof member, "%s.npy", name);
    if (find_file(r, member, &file))
        return npy_read(&(struct npy_file){ &file, NULL }, out, err);
    if (is_archive(r))
        return npy_read(&(struct npy_file){ &r->files[0], member }, out, err);
    return error_set(err, STATUS_NOT_FOUND, "the data set lacks the file %s (or %s.gz)", member,
                     member);
}

static enum status read_pair(const struct data_request *r, const char *x_name, const char *y_name,
                             const struct table *like, struct table *out, struct error *err)
{
    struct npy x = { 0 }, y = { 0 };
    struct error inner;
    enum status st = read_array(r, x_name, &x, err);
    if (!st) {
        st = read_array(r, y_name, &y, err);
        if (st == STATUS_NOT_FOUND)
            st = error_set(err, STATUS_INVALID, "there is %s, but no %s", x_name, y_name);
    }
    if (!st) {
        st = npy_table(&x, &y, (enum task)r->params->task, like, out, &inner);
        if (st)
            (void)error_set(err, st, "%s and %s: %s", x_name, y_name, inner.text);
    }
    npy_finish(&x);
    npy_finish(&y);
    return st;
}

/* x_train, y_train and, if there are, x_test, y_test; or x and y. */
static enum status read_npy(const struct data_request *r, struct data *d, struct error *err)
{
    enum status st = read_pair(r, "x_train", "y_train", NULL, &d->train, err);
    if (st == STATUS_NOT_FOUND) {
        st = read_pair(r, "x", "y", NULL, &d->train, err);
        return st == STATUS_NOT_FOUND
                   ? error_set(err, STATUS_INVALID,
                               "the data set has neither arrays x_train and y_train nor x and y")
                   : st;
    }
    if (!st) {
        st = read_pair(r, "x_test", "y_test", &d->train, &d->test, err);
        d->own_test = !st;
        if (st == STATUS_NOT_FOUND)
            st = STATUS_OK;
    }
    return st;
}

/* ---- all ---------------------------------------------------------------------------------------- */

static bool is_idx(const struct data_request *r)
{
    struct source_file file;
    return find_file(r, "train-images-idx3-ubyte", &file);
}

bool data_is_arrays(const struct data_request *r)
{
    struct source_file file;
    return is_idx(r) || is_archive(r) || find_file(r, "x_train.npy", &file) ||
           find_file(r, "x.npy", &file);
}

enum status data_read_arrays(const struct data_request *r, struct data *d, struct error *err)
{
    if (r->params->group[0] || r->params->order[0])
        return error_set(err, STATUS_INVALID,
                         "\"group\" and \"order\" are columns of tables; this data set has "
                         "none");
    enum status st = is_idx(r) ? read_idx(r, d, err) : read_npy(r, d, err);
    return st || !d->own_test ? st : match_test(d, err);
}
