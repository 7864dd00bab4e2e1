/* test_csv.c - tables: what is read, and what is said about those that cannot be. */
#include "services/trainer/data/target.h"
#include "tests/unit/trainer/fixture.h"

#include <criterion/parameterized.h>
#include <math.h>

static struct fixture f;
static struct dataframe d;
static struct table t; /* its target, and its numbers */
static struct dataframe_options options;
static enum task task;
static struct error err;

static void init(void)
{
    fixture_init(&f);
    options = (struct dataframe_options){ .csv.drop_bad = false };
    task = TASK_AUTO;
    err = (struct error){ .status = STATUS_OK };
}

static void finish(void)
{
    table_finish(&t);
    dataframe_finish(&d);
    fixture_finish(&f);
}

TestSuite(csv, .init = init, .fini = finish);

/* The columns of numbers that are no target, side by side. */
static void take_numbers(void)
{
    t.x = mem_zalloc(d.rows * d.columns_count * sizeof *t.x);
    for (size_t i = 0; i < d.columns_count; i++)
        t.features += d.columns[i].number && !d.columns[i].target;
    for (size_t i = 0, k = 0; i < d.columns_count; i++) {
        if (!d.columns[i].number || d.columns[i].target)
            continue;
        for (size_t row = 0; row < d.rows; row++)
            t.x[row * t.features + k] = d.columns[i].number[row];
        k++;
    }
}

static enum status read_named(const char *name, const char *target)
{
    const struct source_file file = { name, fixture_path(&f, name), NULL, 0 };
    options.targets = &target;
    options.targets_count = 1;
    dataframe_finish(&d);
    table_finish(&t);
    enum status st = dataframe_read_csv(&file, &options, &d, &err);
    if (!st)
        st = target_read(&d, &target, 1, task, &t, &err);
    if (!st)
        take_numbers();
    return st;
}

static enum status read_bytes(struct bytes text, const char *target)
{
    fixture_write(&f, "t.csv", text);
    return read_named("t.csv", target);
}

static enum status read_text(const char *text, const char *target)
{
    return read_bytes(bytes_str(text), target);
}

static void assert_refused(enum status st, const char *says)
{
    cr_assert(st == STATUS_INVALID || st == STATUS_TOO_LARGE, "%s", status_name(st));
    cr_assert_eq(err.status, st);
    cr_assert_not_null(strstr(err.text, says), "\"%s\" does not say \"%s\"", err.text, says);
    cr_assert_null(t.x);
}

static void assert_classes(size_t count, const char *const *names)
{
    cr_assert_eq(t.classes_count, count);
    for (size_t i = 0; i < count; i++)
        cr_assert_str_eq(t.classes[i], names[i]);
}

/* ---- what is read ----------------------------------------------------------------------- */

Test(csv, reads_numbers_and_labels)
{
    cr_assert_eq(read_text("a,b,kind\n1,2.5,x\n-3e2,+.5,y\n0,7.,x\n", "kind"), STATUS_OK);
    const float values[] = { 1, 2.5f, -300, .5f, 0, 7 };
    cr_assert_eq(t.rows, 3);
    cr_assert_eq(t.features, 2);
    cr_assert_arr_eq(t.x, values, sizeof values);
    cr_assert_arr_eq(t.y, ((uint32_t[]){ 0, 1, 0 }), 3 * sizeof *t.y);
    assert_classes(2, (const char *const[]){ "x", "y" });
}

Test(csv, the_label_column_may_be_anywhere)
{
    const float values[] = { 1, 2, 3, 4 };
    cr_assert_eq(read_text("k,a,b\nx,1,2\ny,3,4\n", "k"), STATUS_OK);
    cr_assert_arr_eq(t.x, values, sizeof values);
    table_finish(&t);
    cr_assert_eq(read_text("a,k,b\n1,x,2\n3,y,4\n", "k"), STATUS_OK);
    cr_assert_arr_eq(t.x, values, sizeof values);
}

Test(csv, classes_do_not_depend_on_the_order_of_rows)
{
    cr_assert_eq(read_text("a,k\n1,virginica\n2,setosa\n3,versicolor\n4,setosa\n", "k"), STATUS_OK);
    assert_classes(3, (const char *const[]){ "setosa", "versicolor", "virginica" });
    cr_assert_arr_eq(t.y, ((uint32_t[]){ 2, 0, 1, 0 }), 4 * sizeof *t.y);
}

Test(csv, classes_that_are_numbers_are_sorted_as_numbers)
{
    cr_assert_eq(read_text("a,k\n1,10\n2,9\n3,-1\n4,2\n", "k"), STATUS_OK);
    assert_classes(4, (const char *const[]){ "-1", "2", "9", "10" });
}

Test(csv, quotes_line_ends_and_spaces)
{
    cr_assert_eq(read_text("\"a\",\"the, kind\"\r\n 1 ,\"x \"\"y\"\"\"\r\n\r\n\"2\",\"two\nlines\"",
                           "the, kind"),
                 STATUS_OK);
    cr_assert_eq(t.rows, 2);
    assert_classes(2, (const char *const[]){ "two\nlines", "x \"y\"" });
    cr_assert_float_eq(t.x[1], 2, 0);
}

Test(csv, a_utf8_class_is_kept)
{
    cr_assert_eq(read_text("a,k\n1,Grün\n2,Blå\n", "k"), STATUS_OK);
    assert_classes(2, (const char *const[]){ "Blå", "Grün" });
}

Test(csv, compressed_is_the_same)
{
    fixture_write_gz(&f, "t.csv.gz", bytes_str("a,k\n1,x\n2,y\n"), 0);
    cr_assert_eq(read_named("t.csv.gz", "k"), STATUS_OK);
    cr_assert_eq(t.rows, 2);
    cr_assert_float_eq(t.x[1], 2, 0);
}

Test(csv, many_rows_cross_every_block)
{
    struct buf text = { 0 };
    buf_append_str(&text, "a,b,k\n");
    for (int i = 0; i < 50000; i++)
        buf_printf(&text, "%d,%d.5,c%d\n", i, -i, i % 7);
    cr_assert_eq(read_bytes(buf_bytes(&text), "k"), STATUS_OK);
    cr_assert_eq(t.rows, 50000);
    for (size_t i = 0; i < t.rows; i++) {
        cr_assert_eq(t.x[2 * i], (float)i);
        cr_assert_eq(t.y[i], i % 7);
    }
    buf_finish(&text);
}

/* Rows enough for a column of numbers in which the next cell is a mistake. */
#define NINE "1,x\n2,y\n3,x\n4,y\n5,x\n6,y\n7,x\n8,y\n9,x\n"

/* ---- types ------------------------------------------------------------------------------ */

Test(csv, types_are_found_in_all_rows)
{
    static const enum column_type types[] = { COLUMN_INTEGER, COLUMN_NUMBER,   COLUMN_BOOLEAN,
                                              COLUMN_DATE,    COLUMN_CATEGORY, COLUMN_CATEGORY };
    cr_assert_eq(read_text("i,n,b,d,c,k\n1,1,true,2024-01-31,x,u\n,NA,No,2023-12-01 10:00,1,v\n"
                           "-3,1e-3,,2024-02-29T23:59:59Z,n/a,u\n",
                           "k"),
                 STATUS_OK, "%s", err.text);
    for (size_t i = 0; i < 6; i++)
        cr_assert_eq(d.columns[i].type, types[i], "column %zu", i);
    cr_assert(isnan(d.columns[0].number[1]) && isnan(d.columns[1].number[1]));
    cr_assert_eq(d.columns[2].code[2], CODE_MISSING);
    cr_assert_eq(d.columns[4].code[2], CODE_MISSING);
    cr_assert_eq(d.columns[0].missing, 1);
    cr_assert_str_eq(d.columns[4].words[1], "1");
}

Test(csv, a_column_of_many_words_is_text)
{
    struct buf text = { 0 };
    buf_append_str(&text, "a,t,k\n");
    for (int i = 0; i < 60; i++)
        buf_printf(&text, "1,word %d,%c\n", i < 20 ? 0 : i, 'x' + i % 2);
    cr_assert_eq(read_bytes(buf_bytes(&text), "k"), STATUS_OK, "%s", err.text);
    cr_assert_eq(d.columns[1].type, COLUMN_TEXT);
    cr_assert_null(d.columns[1].code);
    cr_assert_not(d.columns[1].all_differ);
    buf_finish(&text);
}

struct delimited {
    char text[48];
    char delimiter;
};

ParameterizedTestParameters(csv, delimiters)
{
    static struct delimited tables[] = {
        { "a;k\n1,x;u\n2,y;v\n", 0 },     { "a\tk\n1\tu\n2\tv\n", 0 },  { "a|k\n1|u\n2|v\n", 0 },
        { "\"a,a,a\";k\n1;u\n2;v\n", 0 }, { "a,a:k\n1:u\n2:v\n", ':' },
    };
    return cr_make_param_array(struct delimited, tables, sizeof tables / sizeof *tables);
}

ParameterizedTest(struct delimited *c, csv, delimiters, .init = init, .fini = finish)
{
    options.csv.delimiter = c->delimiter;
    cr_assert_eq(read_text(c->text, "k"), STATUS_OK, "%s", err.text);
    cr_assert_eq(d.columns_count, 2);
    cr_assert_str_eq(t.classes[1], "v");
}

Test(csv, bad_rows_can_be_left_out)
{
    options.csv.drop_bad = true;
    cr_assert_eq(read_text("a,k\n" NINE "1,2,3\nred,y\n1\n7,\n8,Gr\xfcn\n10,x\n", "k"), STATUS_OK,
                 "%s", err.text);
    cr_assert_eq(d.rows, 10);
    cr_assert_eq(d.dropped, 5);
    cr_assert_not_null(strstr(d.dropped_first.text, "row 11"), "%s", d.dropped_first.text);
    cr_assert_eq(t.x[9], 10);
    assert_classes(2, (const char *const[]){ "x", "y" });
}

Test(csv, all_rows_may_be_bad)
{
    options.csv.drop_bad = true;
    assert_refused(read_text("a,k\n1,\n2,\n", "k"), "row 2, column 'k': the label is missing");
}

/* ---- targets ---------------------------------------------------------------------------- */

Test(csv, numbers_that_differ_are_values)
{
    struct buf text = { 0 };
    buf_append_str(&text, "a,k\n");
    for (int i = 0; i < 30; i++)
        buf_printf(&text, "1,%d.5\n", i);
    cr_assert_eq(read_bytes(buf_bytes(&text), "k"), STATUS_OK, "%s", err.text);
    cr_assert_eq(t.outputs, 1);
    cr_assert_eq(t.values[29], 29.5f);
    table_finish(&t);
    task = TASK_CLASSES;
    cr_assert_eq(read_bytes(buf_bytes(&text), "k"), STATUS_OK, "%s", err.text);
    cr_assert_eq(t.classes_count, 30);
    cr_assert_str_eq(t.classes[2], "2.5");
    buf_finish(&text);
}

Test(csv, words_are_no_values)
{
    task = TASK_VALUES;
    assert_refused(read_text("a,k\n1,x\n2,y\n", "k"), "column 'k' has words");
    assert_refused(read_text("a,k\n1,3\n2,3\n", "k"), "the same value");
}

Test(csv, several_columns_are_values)
{
    const char *const names[] = { "k", "l" };
    fixture_write(&f, "t.csv", bytes_str("a,k,l\n1,2,3\n4,5,6\n"));
    const struct source_file file = { "t.csv", f.path, NULL, 0 };
    options.targets = names;
    options.targets_count = 2;
    cr_assert_eq(dataframe_read_csv(&file, &options, &d, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(target_read(&d, names, 2, TASK_AUTO, &t, &err), STATUS_OK, "%s", err.text);
    cr_assert_arr_eq(t.values, ((float[]){ 2, 3, 5, 6 }), 4 * sizeof(float));
    cr_assert_eq(table_width(&t), 2);
}

/* ---- what is wrong with the others ------------------------------------------------------ */

struct bad {
    char text[96];
    char target[8];
    char says[64];
};

ParameterizedTestParameters(csv, is_refused_with_a_reason)
{
    static struct bad tables[] = {
        { "", "k", "no" },
        { "\n\n", "k", "no" },
        { "a,k\n", "k", "no rows" },
        { "a,k\n1,x\n2,y\n", "species", "no column 'species'" },
        { "a,k\n1,x\n2,y\n", "", "no column ''" },
        { "k\nx\ny\n", "k", "no column besides" },
        { "a,a,k\n1,1,x\n2,2,y\n", "k", "column 'a' twice" },
        { "a,k,k\n1,x,x\n2,y,y\n", "k", "column 'k' twice" },
        { "a,,k\n1,1,x\n2,2,y\n", "k", "column 2 has no name" },
        { "a,k\n1,x\n2\n", "k", "row 3 has 1 columns" },
        { "a,k\n1,x\n2,y,3\n", "k", "row 3 has more than the 2 columns" },
        { "a,k\n1,\n2,y\n", "k", "row 2, column 'k': the label is missing" },
        { "a,k\n" NINE "red,y\n", "k", "row 11, column 'a': 'red' is not a number" },
        { "a,k\n" NINE "1.2.3,y\n", "k", "'1.2.3' is not a number" },
        { "a,k\n" NINE "\"1,5\",y\n", "k", "'1,5' is not a number" },
        { "a,k\n" NINE "-inf,y\n", "k", "'-inf' is not a number" },
        { "a,k\n" NINE "Infinity,y\n", "k", "'Infinity' is not a number" },
        { "a,k\n" NINE "1e39,y\n", "k", "'1e39' is not a number" },
        { "a,k\n" NINE "1e999,y\n", "k", "'1e999' is not a number" },
        { "a,k\n1,x\n2,x\n", "k", "one class" },
        { "a,k\n1,x\n2,\"y\n", "k", "row 3" },
        { "a,k\n1,x\n\"2\"2,y\n", "k", "row 3" },
    };
    return cr_make_param_array(struct bad, tables, sizeof tables / sizeof *tables);
}

ParameterizedTest(struct bad *bad, csv, is_refused_with_a_reason, .init = init, .fini = finish)
{
    assert_refused(read_text(bad->text, bad->target), bad->says);
}

Test(csv, a_nul_is_refused)
{
    static const char text[] = "a,k\n1,x\n2\0,y\n";
    assert_refused(read_bytes(bytes_of(text, sizeof text - 1), "k"), "row 3");
}

Test(csv, a_label_has_a_bound)
{
    struct buf text = { 0 };
    buf_append_str(&text, "a,k\n1,x\n2,");
    for (size_t i = 0; i < MAX_LABEL; i++)
        buf_append_str(&text, "l");
    cr_assert_eq(read_bytes(buf_bytes(&text), "k"), STATUS_OK);
    table_finish(&t);
    buf_append_str(&text, "l");
    assert_refused(read_bytes(buf_bytes(&text), "k"), "row 3, column 'k': the label is too long");
    buf_finish(&text);
}

Test(csv, classes_have_a_bound)
{
    struct buf text = { 0 };
    buf_append_str(&text, "a,k\n");
    for (unsigned i = 0; i <= MAX_CLASSES; i++)
        buf_printf(&text, "1,id%u\n", i);
    assert_refused(read_bytes(buf_bytes(&text), "k"), "column 'k' has more than 4096");
    buf_finish(&text);
}

Test(csv, a_long_cell_is_refused)
{
    struct buf text = { 0 };
    buf_append_str(&text, "a,k\n1,x\n");
    for (size_t i = 0; i < 5000; i++)
        buf_append_str(&text, "1");
    buf_append_str(&text, ",y\n");
    assert_refused(read_bytes(buf_bytes(&text), "k"), "row 3");
    buf_finish(&text);
}

Test(csv, a_file_that_is_not_there)
{
    cr_assert_eq(read_named("nowhere.csv", "k"), STATUS_IO);
    cr_assert_not_null(strstr(err.text, "nowhere.csv"));
}

Test(csv, damaged_compression_is_seen)
{
    struct buf text = { 0 };
    buf_append_str(&text, "a,k\n");
    for (int i = 0; i < 20000; i++)
        buf_printf(&text, "%d,%c\n", i * 7919 % 10007, 'x' + i % 2);
    fixture_write_gz(&f, "t.csv.gz", buf_bytes(&text), 0);
    FILE *file = fopen(f.path, "r+be");
    cr_assert_not_null(file);
    cr_assert_eq(fseek(file, 20000, SEEK_SET), 0);
    for (int i = 0; i < 200; i++)
        fputc(0xff, file);
    fclose(file);
    enum status st = read_named("t.csv.gz", "k");
    cr_assert_neq(st, STATUS_OK);
    buf_finish(&text);
}

/* Cut between two rows, so that only the end of the compressed data tells. */
Test(csv, a_cut_off_compressed_file_is_refused)
{
    gzFile file = gzopen(fixture_path(&f, "t.csv.gz"), "wbe");
    cr_assert_eq(gzputs(file, "a,k\n1,x\n2,y\n"), 12);
    cr_assert_eq(gzflush(file, Z_FULL_FLUSH), Z_OK);
    off_t cut = (off_t)gzoffset(file);
    cr_assert_eq(gzputs(file, "3,z\n"), 4);
    cr_assert_eq(gzclose(file), Z_OK);
    cr_assert_eq(truncate(f.path, cut), 0);
    assert_refused(read_named("t.csv.gz", "k"), "t.csv.gz: its compressed data is cut off");
}

Test(csv, a_name_in_gz_that_is_not_compressed_is_refused)
{
    fixture_write(&f, "t.csv.gz", bytes_str("a,k\n1,x\n2,y\n"));
    assert_refused(read_named("t.csv.gz", "k"), "not compressed");
}

Test(csv, hexadecimal_is_not_a_number)
{
    assert_refused(read_text("a,k\n" NINE "0x1F,y\n", "k"), "'0x1F' is not a number");
}

Test(csv, a_byte_order_mark_is_skipped)
{
    cr_assert_eq(read_text("\xef\xbb\xbfk,a\nx,1\ny,2\n", "k"), STATUS_OK, "%s", err.text);
}

Test(csv, labels_and_names_are_utf8)
{
    assert_refused(read_text("a,k\n1,x\n2,Gr\xfcn\n", "k"), "row 3, column 'k': the label is not");
    assert_refused(read_text("Gr\xfcn,k\n1,x\n2,y\n", "k"), "column 1 is not UTF-8");
}

Test(csv, mixed_labels_are_sorted_as_text)
{
    cr_assert_eq(read_text("a,k\n1,2\n2,10\n3,1a\n", "k"), STATUS_OK);
    assert_classes(3, (const char *const[]){ "10", "1a", "2" });
}

Test(csv, errors_name_the_file)
{
    assert_refused(read_text("a,k\n" NINE "red,y\n", "k"), "t.csv: row 11, column 'a'");
}

Test(csv, can_be_cancelled)
{
    const atomic_bool cancelled = true;
    fixture_write(&f, "t.csv", bytes_str("a,k\n1,x\n2,y\n"));
    const struct source_file file = { "t.csv", f.path, &cancelled, 0 };
    cr_assert_eq(dataframe_read_csv(&file, &options, &d, &err), STATUS_CANCELLED);
}

static long peak_kib(void)
{
    char line[128];
    long peak = 0;
    FILE *status = fopen("/proc/self/status", "re");
    cr_assert_not_null(status);
    while (fgets(line, sizeof line, status))
        if (strncmp(line, "VmHWM:", 6) == 0)
            peak = strtol(line + 6, NULL, 10);
    fclose(status);
    return peak;
}

/* 64 MiB in one cell, some kilobytes compressed. */
Test(csv, memory_for_one_cell_is_bounded)
{
    static char ones[1 << 20];
    long before = peak_kib();
    gzFile file = gzopen(fixture_path(&f, "t.csv.gz"), "wb1e");
    memset(ones, '1', sizeof ones);
    cr_assert_eq(gzputs(file, "a,k\n\""), 5);
    for (int i = 0; i < 64; i++)
        cr_assert_eq(gzwrite(file, ones, sizeof ones), (int)sizeof ones);
    cr_assert_eq(gzclose(file), Z_OK);
    assert_refused(read_named("t.csv.gz", "k"), "row 2 has a cell of more than 4096 bytes");
    cr_assert_lt(peak_kib() - before, 32 << 10);
}

/* ---- limits --------------------------------------------------------------------------------------- */

Test(csv, more_columns_than_are_read)
{
    struct buf text = { 0 };
    for (unsigned i = 0; i <= MAX_COLUMNS; i++)
        buf_printf(&text, "%s%u", i ? "," : "", i);
    buf_append_str(&text, "\n");
    assert_refused(read_bytes(buf_bytes(&text), "0"), "there are more than 65537 columns");
    buf_finish(&text);
}

Test(csv, more_rows_than_are_read)
{
    struct buf text = { 0 };
    if (!getenv("MAAS_FULL"))
        cr_skip_test("only with MAAS_FULL=1: it has twenty million rows");
    buf_append_str(&text, "a,k\n");
    for (unsigned i = 0; i <= MAX_ROWS; i++)
        buf_append_str(&text, i % 2 ? "1,x\n" : "2,y\n");
    assert_refused(read_bytes(buf_bytes(&text), "k"), "the table has more than 20000000 rows");
    buf_finish(&text);
}
