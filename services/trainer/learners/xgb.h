/* xgb.h - XGBoost (3.0) behind plain calls: xgb.c alone includes its library.
 *
 * The library is opened with dlopen when trees are first wanted: a trainer starts without it, and
 * one on whose machine it is missing says so.  All calls of one booster come from one thread.
 * Failures: UNAVAILABLE (no library), CANCELLED (go_on said so), INVALID with XGBoost's own words.
 */
#ifndef SERVICES_TRAINER_XGB_H
#define SERVICES_TRAINER_XGB_H

#include "services/trainer/learner.h"

#define XGB_SETTINGS_MAX 24
#define XGB_VALUE_SIZE   32

/* XGBoost's parameters, as texts. */
struct xgb_settings {
    struct {
        const char *name;
        char value[XGB_VALUE_SIZE];
    } list[XGB_SETTINGS_MAX];
    size_t count;
};

void xgb_say(struct xgb_settings *s, const char *name, const char *format, ...) PRINTF_LIKE(3, 4);

struct xgb_matrix;  /* rows of a table, each feature as the number of its bin: a byte, mostly */
struct xgb_booster; /* what grows trees on them */

/* Which rows become a matrix.  NaN is a missing value. */
struct xgb_rows {
    const struct lesson *lesson; /* its table, and go_on */
    bool ask;                    /* go_on, meanwhile */
    double fraction;             /* and tell it this */
    const uint32_t *rows;
    size_t count;             /* 1 or more */
    const uint32_t *features; /* which ones, in rising order; NULL: all of them */
    size_t features_count;
    uint32_t bins;
    uint32_t threads;
};

enum status xgb_matrix_create(const struct xgb_rows *rows, struct xgb_matrix **out,
                              struct error *err) MUST_CHECK;
/* count x columns; copied. */
enum status xgb_matrix_labels(struct xgb_matrix *m, const float *labels, size_t count,
                              size_t columns, struct error *err) MUST_CHECK;
void xgb_matrix_destroy(struct xgb_matrix *m); /* NULL is fine */

/* The matrix outlives it. */
enum status xgb_booster_create(const struct xgb_settings *settings, struct xgb_matrix *matrix,
                               struct xgb_booster **out, struct error *err) MUST_CHECK;
/* Grows trees by these derivatives of the loss: count x columns each. */
enum status xgb_grow(struct xgb_booster *b, struct xgb_matrix *train, const float *gradients,
                     const float *hessians, size_t count, size_t columns,
                     struct error *err) MUST_CHECK;
/* The trees as JSON (the documented format of XGBoost's models); the text belongs to the booster
 * and is good until its next call. */
enum status xgb_json(struct xgb_booster *b, struct bytes *out, struct error *err) MUST_CHECK;
void xgb_booster_destroy(struct xgb_booster *b); /* NULL is fine */

#endif
