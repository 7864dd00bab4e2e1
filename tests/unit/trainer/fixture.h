/* fixture.h - what the trainer's tests share: files of their own, and small tables. */
#ifndef TESTS_UNIT_TRAINER_FIXTURE_H
#define TESTS_UNIT_TRAINER_FIXTURE_H

#include "services/trainer/data/table.h"
#include "services/trainer/random.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#define FIXTURE_PATH 128

struct fixture {
    char dir[32];
    char path[FIXTURE_PATH]; /* of the file that was asked for last */
};

static inline void fixture_init(struct fixture *f)
{
    *f = (struct fixture){ .dir = "/tmp/maas-unit-XXXXXX" };
    cr_assert_not_null(mkdtemp(f->dir));
}

static inline void fixture_finish(struct fixture *f)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    cr_assert_eq(system(command), 0);
}

/* The path of that name in the test's own folder. */
static inline const char *fixture_path(struct fixture *f, const char *name)
{
    snprintf(f->path, sizeof f->path, "%s/%s", f->dir, name);
    return f->path;
}

static inline void fixture_write(struct fixture *f, const char *name, struct bytes data)
{
    FILE *file = fopen(fixture_path(f, name), "wbe");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(data.data, 1, data.len, file), data.len);
    cr_assert_eq(fclose(file), 0);
}

/* The same, compressed; the last `less` bytes of the compressed data are left out. */
static inline void fixture_write_gz(struct fixture *f, const char *name, struct bytes data,
                                    off_t less)
{
    gzFile file = gzopen(fixture_path(f, name), "wb1e");
    cr_assert_not_null(file);
    cr_assert_eq(gzwrite(file, data.data, (unsigned)data.len), (int)data.len);
    cr_assert_eq(gzclose(file), Z_OK);
    if (less) {
        FILE *whole = fopen(f->path, "rbe");
        cr_assert_not_null(whole);
        cr_assert_eq(fseek(whole, 0, SEEK_END), 0);
        cr_assert_eq(truncate(f->path, ftell(whole) - less), 0);
        fclose(whole);
    }
}

/* An empty table for values that a test fills in; its classes are "a", "b" ... */
static inline void fixture_table(struct table *t, size_t rows, size_t features, size_t classes)
{
    *t = (struct table){ .rows = rows, .features = features };
    t->x = mem_zalloc(rows * features * sizeof *t->x);
    t->y = mem_zalloc(rows * sizeof *t->y);
    t->classes = mem_alloc(classes * sizeof *t->classes);
    for (size_t c = 0; c < classes; c++) {
        char name[] = { (char)('a' + c), 0 };
        t->classes[t->classes_count++] = mem_str(bytes_str(name));
    }
}

/* Rows of each class in turn, around a centre of their own: class c around (c, -c, c, -c ...)
 * with that spread. */
static inline void fixture_clouds(struct table *t, size_t rows, size_t features, size_t classes,
                                  double spread)
{
    struct random r = { .state = 5 };
    fixture_table(t, rows, features, classes);
    for (size_t i = 0; i < rows; i++) {
        t->y[i] = (uint32_t)(i % classes);
        for (size_t k = 0; k < features; k++) {
            double centre = k % 2 ? -(double)t->y[i] : (double)t->y[i];
            t->x[i * features + k] = (float)(centre + spread * random_normal(&r));
        }
    }
}

#endif
