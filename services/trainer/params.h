/* params.h - the parameters of a training run: tables say what the job's JSON may set.
 *
 * A parameter is a field of a struct that its owner fills with defaults.  Reading, the limits,
 * the errors and what the lineage says of them come from one row.
 */
#ifndef SERVICES_TRAINER_PARAMS_H
#define SERVICES_TRAINER_PARAMS_H

#include "common/base/bytes.h"

#define PARAM_LIST_MAX 16 /* items of a list */

enum param_kind {
    PARAM_U32,    /* uint32_t */
    PARAM_REAL,   /* double */
    PARAM_LIST,   /* uint32_t[PARAM_LIST_MAX], and a size_t that says how many */
    PARAM_CHOICE, /* uint32_t: the index of one of `choices` */
    PARAM_FLAG,   /* bool */
    PARAM_TEXT,   /* char[high + 1] */
};

struct param {
    const char *name;
    enum param_kind kind;
    size_t offset;
    double low, high;           /* of a list: of each item */
    size_t count_offset;        /* of a list: of the size_t */
    const char *const *choices; /* words that a choice may be; ends with NULL */
};

/* A struct of parameters and the table that describes it. */
struct param_set {
    const struct param *rows;
    size_t count;
    void *at;
};

struct yyjson_mut_doc;
struct yyjson_mut_val;

/* Overrides what the structs hold; an empty text changes nothing.  INVALID: *err names the
 * parameter and what it may be. */
enum status params_parse(struct bytes json, const struct param_set *sets, size_t sets_count,
                         struct error *err) MUST_CHECK;
/* Adds each parameter with its present value to the object. */
void params_put(const struct param_set *sets, size_t sets_count, struct yyjson_mut_doc *doc,
                struct yyjson_mut_val *object);

#endif
