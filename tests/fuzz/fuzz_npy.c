/* fuzz_npy.c - any bytes as an array of numbers, or as an archive of arrays.  Behind the first byte,
 * which says which of the two, comes the file.
 *
 * An array that is accepted has a number for each place in its shape; one that is refused owns nothing,
 * and the error says why. */
#include "services/trainer/data/npy.h"
#include "tests/fuzz/table_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* The limits of the house are fine for a trainer, but not for many runs in a second: shapes with long
 * numbers are left to the unit tests. */
static bool announces_too_much(struct bytes file)
{
    const uint8_t *p = file.data;
    size_t digits = 0;
    for (size_t i = 0; i < file.len; i++) {
        digits = p[i] >= '0' && p[i] <= '9' ? digits + 1 : 0;
        if (digits > 4)
            return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (!len || announces_too_much(bytes_of(data + 1, len - 1)))
        return 0;
    struct rig_file file = rig_file("x.npy", bytes_of(data + 1, len - 1));
    struct npy a;
    struct error err = { .text = "" };
    enum status st =
        npy_read(&(struct npy_file){ &file.source, data[0] & 1 ? "x.npy" : NULL }, &a, &err);
    if (st) {
        assert(st != STATUS_CANCELLED && err.status == st && err.text[0] && !a.data);
    } else {
        size_t cells = 1;
        float sum = 0;
        for (size_t i = 0; i < a.rank; i++)
            cells *= a.dims[i];
        for (size_t i = 0; i < cells; i++)
            sum += a.data[i];
        assert(cells && (sum >= 0 || sum < 0 || isnan(sum)));
    }
    npy_finish(&a);
    rig_file_finish(&file);
    return 0;
}
