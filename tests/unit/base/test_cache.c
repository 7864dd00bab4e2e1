/* test_cache.c - names by digest, and the longest unused goes first. */
#include "common/base/cache.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES 65536

static char dir[32];

static void init(void)
{
    snprintf(dir, sizeof dir, "/tmp/maas-cache-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
}

static void finish(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(cache, .init = init, .fini = finish);

static struct digest digest(unsigned char n)
{
    struct digest d;
    digest_of(bytes_of(&n, 1), &d);
    return d;
}

/* A file last used n hours after 1970. */
static void make(const char *path, unsigned n)
{
    static const char data[FILE_BYTES] = "x";
    const struct timespec times[2] = { { .tv_sec = 3600 * n }, { .tv_sec = 3600 * n } };
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, data, sizeof data), (ssize_t)sizeof data);
    cr_assert_eq(futimens(fd, times), 0);
    close(fd);
}

static void add(unsigned char n)
{
    struct digest d = digest(n);
    char *path = cache_path(dir, &d);
    make(path, n);
    free(path);
}

static bool has(unsigned char n)
{
    struct digest d = digest(n);
    char *path = cache_path(dir, &d);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

static size_t trim(uint64_t files, size_t used_count, const unsigned char *used)
{
    struct digest list[8];
    for (size_t i = 0; i < used_count; i++)
        list[i] = digest(used[i]);
    return cache_trim(dir, files * FILE_BYTES, &(struct digest_list){ list, used_count });
}

Test(cache, the_name_is_the_digest)
{
    struct digest d;
    digest_of(bytes_str(""), &d);
    char *path = cache_path("some/folder", &d);
    cr_expect_str_eq(
        path, "some/folder/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    free(path);
}

Test(cache, within_the_limit_everything_stays)
{
    for (unsigned char n = 1; n <= 3; n++)
        add(n);
    cr_expect_eq(trim(3, 0, NULL), 0);
    cr_expect(has(1) && has(2) && has(3));
}

Test(cache, the_longest_unused_goes_first)
{
    for (unsigned char n = 4; n >= 1; n--)
        add(n);
    cr_expect_eq(trim(2, 0, NULL), 2);
    cr_expect(!has(1) && !has(2) && has(3) && has(4));
}

Test(cache, what_is_used_stays_though_it_is_too_much)
{
    for (unsigned char n = 1; n <= 4; n++)
        add(n);
    cr_expect_eq(trim(1, 2, (unsigned char[]){ 1, 3 }), 2);
    cr_expect(has(1) && !has(2) && has(3) && !has(4));
}

Test(cache, use_makes_a_file_young)
{
    add(1);
    add(2);
    struct digest d = digest(1);
    char *path = cache_path(dir, &d);
    cache_touch(path);
    free(path);
    cr_expect_eq(trim(1, 0, NULL), 1);
    cr_expect(has(1) && !has(2));
}

Test(cache, unfinished_downloads_count_and_go_with_their_digest)
{
    char path[256], hex[DIGEST_HEX_SIZE];
    struct digest d = digest(1);
    digest_hex(&d, hex);
    snprintf(path, sizeof path, "%s/%s.part", dir, hex);
    make(path, 1);
    add(2);
    cr_expect_eq(trim(1, 1, (unsigned char[]){ 1 }), 1); /* its download is under way */
    cr_expect(access(path, F_OK) == 0 && !has(2));
    cr_expect_eq(trim(0, 0, NULL), 1);
    cr_expect_neq(access(path, F_OK), 0);
}

Test(cache, files_that_are_not_ours_stay)
{
    char path[256];
    const char *const names[] = { "notes.txt", "e3b0c4", "..part" };
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        make(path, 1);
    }
    cr_expect_eq(trim(0, 0, NULL), 0);
    cr_expect_eq(access(path, F_OK), 0);
    cr_expect_eq(cache_trim("/nowhere", 0, &(struct digest_list){ 0 }), 0);
}
