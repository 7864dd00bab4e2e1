/* fuzz_csv.c - any bytes as a table: a file that the trainer reads, plain or compressed.
 *
 * A table that is accepted is whole and finite, with labels that name its classes; one that is
 * refused owns nothing, and the error says why. */
#include "services/trainer/data/table.h"
#include "tests/fuzz/table_rig.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct rig_file file = rig_file("t.csv", bytes_of(data, len));
    struct table t;
    struct error err = { .text = "" };
    enum status st = csv_read(&file.source, "y", &t, &err);
    if (st) {
        rig_refused(&t, st, &err);
    } else {
        rig_accepted(&t);
        assert(t.classes_count > 1 && t.x);
        for (size_t i = 1; i < t.classes_count; i++)
            assert(t.classes[i][0] && strcmp(t.classes[i - 1], t.classes[i]) != 0);
    }
    table_finish(&t);
    rig_file_finish(&file);
    return 0;
}
