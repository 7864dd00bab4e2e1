/* test_tar.c - archives as streams: in any cuts the same files come out; what is damaged is seen. */
#include "services/gateway/tar.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct buf archive, seen;
static struct error err;

static void finish(void)
{
    buf_finish(&archive);
    buf_finish(&seen);
}

TestSuite(tar, .fini = finish);

static void add(const char *name, const char *data)
{
    unsigned char block[TAR_BLOCK];
    static const unsigned char zeros[TAR_BLOCK];
    tar_header(block, name, strlen(data));
    buf_append(&archive, block, sizeof block);
    buf_append_str(&archive, data);
    buf_append(&archive, zeros, tar_padding(strlen(data)));
}

static void end(void)
{
    static const unsigned char zeros[2 * TAR_BLOCK];
    buf_append(&archive, zeros, sizeof zeros);
}

static enum status on_file(void *arg, const char *name, uint64_t size, struct error *e)
{
    (void)arg;
    if (strcmp(name, "bad") == 0)
        return error_set(e, STATUS_CONFLICT, "not this one");
    buf_printf(&seen, "%s %llu:", name, (unsigned long long)size);
    return STATUS_OK;
}

static enum status on_data(void *arg, struct bytes piece, struct error *e)
{
    (void)arg;
    (void)e;
    buf_append_bytes(&seen, piece);
    if (!piece.len)
        buf_append_str(&seen, ";");
    return STATUS_OK;
}

static const struct tar_events events = { on_file, on_data };

static enum status read_in(size_t step, bool *complete)
{
    struct tar_reader t;
    enum status st = STATUS_OK;
    seen.len = 0;
    tar_start(&t, &events, NULL);
    for (size_t at = 0; at < archive.len && !st; at += step)
        st = tar_feed(
            &t, bytes_of(archive.data + at, archive.len - at < step ? archive.len - at : step),
            &err);
    *complete = tar_complete(&t);
    return st;
}

Test(tar, in_any_cuts)
{
    static const size_t steps[] = { 1, 7, 511, 512, 513, 100000 };
    bool complete;
    add("a", "hello");
    add("folder/b", "");
    add("c", "x");
    end();
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        cr_assert_eq(read_in(steps[i], &complete), STATUS_OK, "%s", err.text);
        cr_assert(complete);
        cr_assert_str_eq(buf_cstr(&seen), "a 5:hello;folder/b 0:;c 1:x;");
    }
}

Test(tar, what_is_cut_off_is_not_complete)
{
    bool complete;
    add("a", "hello");
    cr_assert_eq(read_in(512, &complete), STATUS_OK);
    cr_assert_not(complete, "the end is missing");
    archive.len -= 100;
    cr_assert_eq(read_in(512, &complete), STATUS_OK);
    cr_assert_not(complete);
}

Test(tar, what_is_damaged_is_refused)
{
    bool complete;
    add("a", "hello");
    end();
    for (size_t i = 0; i < TAR_BLOCK; i++) {
        if (i == 155)
            continue; /* behind the sum, where anything may be */
        archive.data[i] ^= 0x41;
        cr_assert_eq(read_in(1000, &complete), STATUS_INVALID, "byte %zu", i);
        archive.data[i] ^= 0x41;
    }
    cr_assert_eq(read_in(1000, &complete), STATUS_OK);
}

Test(tar, what_an_event_says_ends_it)
{
    bool complete;
    add("bad", "hello");
    add("c", "x");
    cr_assert_eq(read_in(1000, &complete), STATUS_CONFLICT);
    cr_assert_str_eq(err.text, "not this one");
    cr_assert_eq(seen.len, 0);
}

Test(tar, only_files_and_folders)
{
    static const char types[] = "1234567xgLKS";
    bool complete;
    for (size_t i = 0; i < sizeof types - 1; i++) {
        archive.len = 0;
        add("a", "");
        unsigned sum = 0;
        archive.data[156] = (unsigned char)types[i];
        memset(archive.data + 148, ' ', 8);
        for (size_t k = 0; k < TAR_BLOCK; k++)
            sum += archive.data[k];
        snprintf((char *)archive.data + 148, 8, "%06o", sum);
        end();
        cr_assert_eq(read_in(1000, &complete), types[i] == '5' ? STATUS_OK : STATUS_INVALID, "%c",
                     types[i]);
    }
}

Test(tar, large_sizes)
{
    unsigned char block[TAR_BLOCK];
    struct tar_reader t;
    tar_header(block, "a", (8ull << 30) - 1);
    tar_start(&t, &events, NULL);
    cr_assert_eq(tar_feed(&t, bytes_of(block, sizeof block), &err), STATUS_OK);
    cr_assert_str_eq(buf_cstr(&seen), "a 8589934591:");
    cr_assert_eq(tar_padding(0), 0);
    cr_assert_eq(tar_padding(1), 511);
    cr_assert_eq(tar_padding(512), 0);
}
