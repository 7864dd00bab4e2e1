/* table_rig.h - what the fuzzers of the trainer's readers share: files in memory, and what holds of
 * every table. */
#ifndef TESTS_FUZZ_TABLE_RIG_H
#define TESTS_FUZZ_TABLE_RIG_H

#include "services/trainer/data/table.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

struct rig_file {
    struct source_file source;
    int fd;
};

static inline struct rig_file rig_file(const char *name, struct bytes data)
{
    static char paths[2][32];
    static size_t next;
    char *path = paths[next++ % 2];
    struct rig_file f = { .source = { name, path, NULL, 0 },
                          .fd = memfd_create(name, MFD_CLOEXEC) };
    assert(f.fd >= 0);
    ssize_t written = write(f.fd, data.data, data.len);
    assert(written == (ssize_t)data.len);
    snprintf(path, sizeof paths[0], "/proc/self/fd/%d", f.fd);
    return f;
}

static inline void rig_file_finish(struct rig_file *f)
{
    close(f->fd);
}

static inline void rig_refused(const struct table *t, enum status st, const struct error *err)
{
    assert(st == STATUS_INVALID || st == STATUS_TOO_LARGE);
    assert(err->status == st && err->text[0]);
    assert(!t->x && !t->y && !t->classes && !t->rows && !t->classes_count);
}

static inline void rig_accepted(const struct table *t)
{
    assert(t->rows > 0 && t->rows <= MAX_ROWS);
    assert(t->features > 0 && t->features <= MAX_FEATURES);
    assert(t->classes_count <= MAX_CLASSES);
    assert(!t->x != !t->pixels);
    for (size_t i = 0; t->x && i < t->rows * t->features; i++)
        assert(isfinite(t->x[i]));
    for (size_t i = 0; i < t->rows && !t->outputs; i++)
        assert(t->y[i] < t->classes_count);
    for (size_t i = 0; i < t->rows * t->outputs; i++)
        assert(isfinite(t->values[i]));
    for (size_t i = 0; i < t->classes_count; i++)
        assert(t->classes[i][0] && strlen(t->classes[i]) <= MAX_LABEL);
}

#endif
