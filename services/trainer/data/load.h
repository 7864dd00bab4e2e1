/* load.h - from the files of a data set to rows that a learner takes.
 *
 * A table (one CSV file): frame -> target -> split -> preprocessing, fitted on the rows to be learnt
 * from -> numbers.  Images and matrices (IDX, NPY) are numbers already.
 */
#ifndef SERVICES_TRAINER_LOAD_H
#define SERVICES_TRAINER_LOAD_H

#include "services/trainer/data/split.h"
#include "services/trainer/data/target.h"
#include "services/trainer/prep/prep.h"

#define COLUMN_NAME_MAX 128 /* of a column that a parameter names */
#define LEAKS_SHOWN     4

enum split_kind { SPLIT_STRATIFIED, SPLIT_RANDOM };

struct data_params {
    uint32_t task;                   /* enum task */
    uint32_t on_bad_row;             /* 1: drop */
    char delimiter[2];               /* "": found out */
    uint32_t split;                  /* enum split_kind */
    char group[COLUMN_NAME_MAX + 1]; /* rows with the same value stay together */
    char order[COLUMN_NAME_MAX + 1]; /* the rows with the largest are held out */
    struct prep_params prep;
};

#define DATA_PARAMS     (6 + PREP_PARAMS)
/* Two sets, for params.h. */
#define DATA_PARAM_SETS 2
void data_param_sets(struct data_params *p, struct param_set sets[DATA_PARAM_SETS]);
extern const struct data_params data_defaults;

struct data_request {
    const struct source_file *files; /* of the data set */
    size_t files_count;
    const char *target; /* names of columns, with commas; of tables only */
    const struct data_params *params;
    struct split_shares shares;
    uint64_t seed;
};

struct data {
    struct dataframe frame; /* of tables; columns_count 0: there is none */
    struct prep *prep;      /* of tables; borrows from frame */
    struct table train;     /* all rows that are not in the data set's own test files */
    struct table test;      /* the rows that are held out */
    struct split split;     /* of train; test is 0 where the data set has test files */
    bool own_test;
};

/* INVALID, TOO_LARGE: *err says what is wrong with which file, row, and column, or how much memory
 * would be needed.  CANCELLED: the files' flag was set.  d: to be given to data_finish in any case. */
enum status data_load(const struct data_request *request, struct data *d,
                      struct error *err) MUST_CHECK;
void data_finish(struct data *d);           /* zeroed is fine */
uint64_t data_memory(const struct data *d); /* bytes */
/* Adds the graph's inputs and the preprocessing; the name of the [N, features] tensor. */
const char *data_export(struct data *d, struct onnx_graph *g);
/* Adds what was done to the data: rows that were dropped, the preprocessing, warnings. */
void data_json(const struct data *d, struct yyjson_mut_doc *doc, struct yyjson_mut_val *object);

/* ---- load_arrays.c ---- */

/* Are there files of images or matrices, not a table? */
bool data_is_arrays(const struct data_request *request);
/* Reads train, and test if there are such files. */
enum status data_read_arrays(const struct data_request *request, struct data *d,
                             struct error *err) MUST_CHECK;

#endif
