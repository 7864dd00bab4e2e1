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

/* The type of the header at the end of the archive, with its sum. */
static void retype(size_t at, char type)
{
    unsigned sum = 0;
    archive.data[at + 156] = (unsigned char)type;
    memset(archive.data + at + 148, ' ', 8);
    for (size_t k = 0; k < TAR_BLOCK; k++)
        sum += archive.data[at + k];
    snprintf((char *)archive.data + at + 148, 8, "%06o", sum);
}

static void add_pax(const char *records, char type)
{
    size_t at = archive.len;
    add("PaxHeaders/x", records);
    retype(at, type);
}

Test(tar, only_files_and_folders)
{
    static const char types[] = "1234567LKS";
    bool complete;
    for (size_t i = 0; i < sizeof types - 1; i++) {
        archive.len = 0;
        add("a", "");
        retype(0, types[i]);
        end();
        cr_assert_eq(read_in(1000, &complete), types[i] == '5' ? STATUS_OK : STATUS_INVALID, "%c",
                     types[i]);
    }
}

Test(tar, names_in_two_parts)
{
    bool complete;
    add("a", "1");
    memcpy(archive.data + 345, "folder", 6);
    retype(0, '0');
    add("b", "2");
    memcpy(archive.data + 2 * TAR_BLOCK + 345, ".", 1);
    retype(2 * TAR_BLOCK, '0');
    add("c", "3");
    memcpy(archive.data + 4 * TAR_BLOCK + 257, "ustar  ", 8); /* GNU: something else is there */
    memcpy(archive.data + 4 * TAR_BLOCK + 345, "14731600000", 12);
    retype(4 * TAR_BLOCK, '0');
    end();
    cr_assert_eq(read_in(1000, &complete), STATUS_OK, "%s", err.text);
    cr_assert_str_eq(buf_cstr(&seen), "folder/a 1:1;b 1:2;c 1:3;");
}

Test(tar, pax_headers_of_files)
{
    static const size_t steps[] = { 1, 100, 512, 100000 };
    bool complete;
    add_pax("18 comment=a word\n", 'g');
    add_pax("20 mtime=1234567.25\n22 path=./another/b.c\n", 'x');
    add("short", "hello");
    add("c", "x");
    add_pax("9 size=2\n", 'x');
    add("d", "yz");
    tar_header(archive.data + archive.len - 2 * TAR_BLOCK, "d", 0); /* the pax header counts */
    add_pax("", 'x');
    add("e", "");
    end();
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        cr_assert_eq(read_in(steps[i], &complete), STATUS_OK, "%s", err.text);
        cr_assert(complete);
        cr_assert_str_eq(buf_cstr(&seen), "another/b.c 5:hello;c 1:x;d 2:yz;e 0:;");
    }
}

Test(tar, pax_headers_that_are_refused)
{
    static const char *const records[] = { "path=x\n",
                                           "7 path=\n",
                                           "99 path=x\n",
                                           "9 path=xy",
                                           "x path=xy\n",
                                           "0 path=xy\n",
                                           "12 size=12x4\n",
                                           "8 size=\n",
                                           " 9 path=x\n",
                                           "3 \n\n\n",
                                           "18446744073709551625 path=x\n",
                                           "22 GNU.sparse.major=1\n",
                                           "31 size=99999999999999999999999\n" };
    struct buf large = { 0 };
    bool complete;
    for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
        archive.len = 0;
        add_pax(records[i], 'x');
        add("a", "12");
        end();
        cr_assert_eq(read_in(1000, &complete), STATUS_INVALID, "%s", records[i]);
    }
    archive.len = 0;
    while (large.len <= TAR_PAX_MAX)
        buf_append_str(&large, "10 abc=de\n");
    add_pax(buf_cstr(&large), 'x');
    cr_assert_eq(read_in(1000, &complete), STATUS_INVALID);
    archive.len = 0;
    add_pax(buf_cstr(&large), 'g');
    end();
    cr_assert_eq(read_in(1000, &complete), STATUS_OK, "nobody keeps it");
    buf_finish(&large);
}

Test(tar, a_name_that_is_too_long)
{
    struct buf record = { 0 };
    bool complete;
    buf_append_str(&record, "267 path=");
    for (size_t i = 0; i < TAR_PATH_MAX + 1; i++)
        buf_append_str(&record, "n");
    buf_append_str(&record, "\n");
    add_pax(buf_cstr(&record), 'x');
    cr_assert_eq(read_in(1000, &complete), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "256"));
    buf_finish(&record);
}

Test(tar, sizes_as_gnu_tar_writes_large_ones)
{
    struct tar_reader t;
    add("a", "");
    memset(archive.data + 124, 0, 12);
    archive.data[124] = 0x80;
    archive.data[131] = 4; /* 16 GiB */
    retype(0, '0');
    tar_start(&t, &events, NULL);
    cr_assert_eq(tar_feed(&t, buf_bytes(&archive), &err), STATUS_OK, "%s", err.text);
    cr_assert_str_eq(buf_cstr(&seen), "a 17179869184:");
    archive.data[125] = 1; /* more than 64 bits */
    retype(0, '0');
    tar_start(&t, &events, NULL);
    cr_assert_eq(tar_feed(&t, buf_bytes(&archive), &err), STATUS_INVALID);
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
