/* fuzz_csv.c - any bytes as a table: a file that the trainer reads, plain or compressed.  The first
 * byte says how: bad rows are dropped or not, values or classes are learnt.
 *
 * A table that is accepted is whole, with numbers or words in each cell and labels that name its
 * classes; what is prepared from it is finite.  One that is refused owns nothing, and the error says
 * why. */
#include "services/trainer/data/load.h"
#include "tests/fuzz/table_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_column(const struct column *c, size_t rows)
{
    assert(c->name[0]);
    for (size_t i = 0; c->number && i < rows; i++)
        assert(isfinite(c->number[i]) || (isnan(c->number[i]) && !c->target));
    for (size_t i = 0; c->code && i < rows; i++)
        assert(c->code[i] < c->words_count || (c->code[i] == CODE_MISSING && !c->target));
}

static void check_data(const struct data *d)
{
    assert(d->frame.rows && d->frame.rows == d->train.rows && d->prep);
    assert(d->split.test == d->test.rows && d->split.train);
    for (size_t i = 0; i < d->frame.columns_count; i++)
        check_column(&d->frame.columns[i], d->frame.rows);
    rig_accepted(&d->train);
    for (size_t i = 1; i < d->train.classes_count; i++)
        assert(strcmp(d->train.classes[i - 1], d->train.classes[i]) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (!len)
        return 0;
    struct rig_file file = rig_file("t.csv", bytes_of(data + 1, len - 1));
    struct data_params params = data_defaults;
    struct data d;
    struct error err = { .text = "" };
    params.on_bad_row = data[0] & 1;
    params.task = (data[0] >> 1) % 3;
    params.prep.scale = (data[0] >> 3) % 4;
    const struct data_request request = { .files = &file.source,
                                          .files_count = 1,
                                          .target = "y",
                                          .params = &params,
                                          .shares = { .test = 0.2, .validation = 0.1 },
                                          .seed = 1 };
    enum status st = data_load(&request, &d, &err);
    if (st) {
        assert(st == STATUS_INVALID || st == STATUS_TOO_LARGE);
        assert(err.status == st && err.text[0]);
    } else {
        check_data(&d);
    }
    data_finish(&d);
    rig_file_finish(&file);
    return 0;
}
