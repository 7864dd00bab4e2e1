/* predict.c - answers of a finished network. */
#include "services/trainer/learners/loss.h"

#define PREDICT_ROWS 256 /* at once, when no gradient is wanted */

void network_predict(const struct network *n, const float *x, size_t count, float *out)
{
    const struct member alone = { NULL, 0, 1 };
    size_t width = n->loss == LOSS_BINARY ? 2 : n->outputs;
    const struct table t = { .x = (float *)(uintptr_t)x, .features = n->features }; /* to be read */
    struct pass p;
    pass_init(&p, n, count < PREDICT_ROWS ? count : PREDICT_ROWS, 1, 0, false);
    for (size_t at = 0; at < count; at += PREDICT_ROWS) {
        struct unit u = { .at = at, .count = count - at < p.rows ? count - at : p.rows };
        pass_gather(&p, &alone, &t, NULL, &u);
        pass_forward(&p, &alone, &u, false);
        for (size_t i = 0; i < u.count; i++)
            loss_finish_row(n, p.k, pass_answer(&p, i), out + (at + i) * width);
    }
    pass_finish(&p);
}
