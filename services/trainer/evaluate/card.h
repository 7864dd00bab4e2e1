/* card.h - what somebody should know of a model before using it: on which data it was trained, how,
 * how good it is, and where it may fail (M. Mitchell et al., Model Cards for Model Reporting, 2019).
 */
#ifndef SERVICES_TRAINER_CARD_H
#define SERVICES_TRAINER_CARD_H

#include "common/base/bytes.h"

#define CARD_FINDINGS_MAX   64
#define CARD_IMPORTANCE_TOP 15  /* columns that the Markdown names */
#define SMALL_TEST_ROWS     200 /* fewer held-out rows say little */

/* Texts of JSON as the run has them; borrowed. */
struct card {
    const char *name;                        /* of the model */
    struct bytes lineage;                    /* object: lineage.c */
    struct bytes metrics;                    /* object: evaluate_json() */
    struct bytes importance;                 /* array: importance_json(); may be empty */
    const char *findings[CARD_FINDINGS_MAX]; /* sentences: what was seen in the data */
    size_t findings_count;
};

/* Appends an object: name, lineage, metrics, importance, limits (sentences: the findings, and what the
 * metrics tell). */
void card_json(const struct card *c, struct buf *out);
/* Appends the same for people to read. */
void card_markdown(const struct card *c, struct buf *out);

#endif
