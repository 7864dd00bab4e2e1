/* prep_apply.c - the features of rows. */
#include "services/trainer/prep/prep.h"

#include <math.h>

static void apply_numbers(const struct prep *p, const struct dataframe *f, size_t row, float *x)
{
    float *flag = x + p->numbers_count;
    for (size_t i = 0; i < p->numbers_count; i++) {
        const struct prep_number *n = &p->numbers[i];
        float value = f->columns[n->column].number[row];
        bool missing = isnan(value);
        value = missing ? n->fill : value;
        if (p->params.scale == SCALE_CLIP)
            value = fminf(fmaxf(value, n->low), n->high);
        x[i] = (value - n->shift) * n->scale;
        if (n->indicator)
            *flag++ = missing;
    }
}

void prep_apply(const struct prep *p, const struct dataframe *f, const uint32_t *rows, size_t count,
                float *x)
{
    for (size_t i = 0; i < count; i++, x += p->features) {
        size_t row = rows ? rows[i] : i;
        float *to = x + p->numbers_count + p->indicators;
        apply_numbers(p, f, row, x);
        for (size_t k = 0; k < p->words_count; k++) {
            const struct prep_words *w = &p->words[k];
            uint32_t code = f->columns[w->column].code[row];
            size_t at = code == CODE_MISSING ? (size_t)w->missing : w->row_of[code];
            memcpy(to, w->matrix + at * w->width, w->width * sizeof *to);
            to += w->width;
        }
    }
}
