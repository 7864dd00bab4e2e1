/* prep.h - from raw columns to the numbers that learners take, and the same as ONNX operators.
 *
 * What is to be known for that (means, words, what to leave out) is taken from the training rows
 * alone.  Features come in this order: a number for each column of numbers; indicators of those that
 * had missing values; then the words of each boolean (one number) or category (one per word, and one
 * for all other words).  What is missing in a column of words, and was so in training, has a feature
 * of its own, too.
 */
#ifndef SERVICES_TRAINER_PREP_H
#define SERVICES_TRAINER_PREP_H

#include "services/trainer/data/frame.h"
#include "services/trainer/onnx_graph.h"
#include "services/trainer/params.h"

#define PREP_FEW_ROWS 20 /* with fewer, nothing is taken for an identifier or a leak */
#define PREP_NAMES    512
#define PREP_CELLS    (1u << 25) /* of the matrices of all columns of words: 128 MiB */

enum prep_impute { IMPUTE_MEAN, IMPUTE_MEDIAN, IMPUTE_MOST_FREQUENT, IMPUTE_CONSTANT };
enum prep_scale { SCALE_STANDARD, SCALE_MINMAX, SCALE_CLIP, SCALE_NONE };
enum prep_input { INPUT_COLUMNS, INPUT_MATRIX };

struct prep_params {
    uint32_t impute;
    double impute_constant;
    bool indicator;
    uint32_t scale;
    double clip; /* CLIP: the share at each end that is cut off, before it is standardised */
    uint32_t max_categories;
    uint32_t input;        /* MATRIX: one input of all columns, which must be numbers */
    char drop[PREP_NAMES]; /* names of columns with commas: left out */
    char keep[PREP_NAMES]; /* these are not taken for identifiers or leaks */
};

#define PREP_PARAMS 9
extern const struct param prep_param_rows[PREP_PARAMS];

/* The rows of a frame that it is fitted on. */
struct prep_lesson {
    const struct dataframe *frame;
    const struct table *target; /* y or values of all rows of the frame */
    const uint32_t *rows;
    size_t count;
    const char *group;            /* the rows' groups are in it: it is left out; NULL or "": none */
    const atomic_bool *cancelled; /* may be NULL */
};

enum prep_drop {
    DROP_NOT,
    DROP_ASKED,
    DROP_TEXT,
    DROP_DATE,
    DROP_CONSTANT,
    DROP_IDENTIFIER,
    DROP_LEAK
};

struct prep_number {
    size_t column;
    float fill, low, high, shift, scale;
    bool indicator;
};

/* A column of words: each word has a row of numbers in a small matrix. */
struct prep_words {
    size_t column;
    const char **keys; /* the words that are known, as clients may write them; borrowed */
    int64_t *rows;     /* the row of each key */
    size_t keys_count;
    uint32_t *row_of; /* the row of each word of the frame */
    float *matrix;    /* matrix_rows x width */
    size_t matrix_rows, width;
    int64_t other;   /* the row of words that are not known */
    int64_t missing; /* the row of what is missing */
};

struct prep {
    struct prep_params params;
    const struct dataframe *frame; /* borrowed: names and words */
    enum prep_drop *drops;         /* per column of the frame */
    struct prep_number *numbers;
    size_t numbers_count, indicators;
    struct prep_words *words;
    size_t words_count;
    size_t words_cells; /* of their matrices */
    size_t features;
    float *fills, *lows, *highs, *shifts, *scales; /* of the numbers, for the graph */
    int64_t *flagged;                              /* places of those with an indicator */
    int64_t one;                                   /* a constant of the graph */
};

/* frame: borrowed until prep_destroy.  INVALID: there is no column left, one matrix is wanted and
 * there are words, or a column's name is too long for an input of a model.  CANCELLED. */
enum status prep_fit(const struct prep_lesson *lesson, const struct prep_params *params,
                     struct prep **out, struct error *err) MUST_CHECK;
void prep_destroy(struct prep *p); /* NULL is fine */
/* The features of the frame's rows, which may be another frame with the same columns and words; rows
 * NULL: the first count.  x: count x features. */
void prep_apply(const struct prep *p, const struct dataframe *f, const uint32_t *rows, size_t count,
                float *x);
/* Adds the inputs, one per raw column that is used, and the operators; the name of the [N, features]
 * tensor.  p stays until the graph is written. */
const char *prep_export(struct prep *p, struct onnx_graph *g);
/* The name of the input for a column: the raw name, but for the few that outputs have. */
const char *prep_input_name(const char *column, char *out, size_t size);

struct yyjson_mut_doc;
struct yyjson_mut_val;
/* Adds what was used and how, and what was left out and why: "inputs", "dropped", "warnings". */
void prep_json(const struct prep *p, struct yyjson_mut_doc *doc, struct yyjson_mut_val *object);
const char *prep_drop_text(enum prep_drop drop);

/* ---- prep_check.c ---- */

/* Which columns are left out, and why. */
void prep_check(const struct prep_lesson *lesson, const struct prep_params *params,
                enum prep_drop *drops);

#endif
