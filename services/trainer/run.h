/* run.h - one training run, from files to an ONNX model; on a pool thread, without sockets.
 *
 * The owner (trainer.c) prepares the fields, calls run_execute on a thread, and meanwhile
 * reads progress and may ask to cancel; all of that goes through the lock.
 */
#ifndef SERVICES_TRAINER_RUN_H
#define SERVICES_TRAINER_RUN_H

#include "common/msg/schema.h"
#include "services/trainer/data/split.h"
#include "services/trainer/learner.h"

#include <stdatomic.h>
#include <uv.h>

#define RUN_FILES_MAX   MAX_FILES
#define RUN_HISTORY_MAX 400 /* epochs; as JSON they stay below MAX_JSON */

struct run_file {
    char name[MAX_NAME + 1]; /* in the data set */
    char *path;              /* on this machine; owned */
    struct digest digest;    /* what the file must have */
    bool has_digest;         /* else the run fills it in */
};

struct run_progress {
    double fraction;
    struct epoch last;
    uint32_t epochs; /* asked for */
    struct epoch history[RUN_HISTORY_MAX];
    size_t history_count; /* later epochs are left out */
};

struct run {
    /* set before run_execute */
    struct run_file files[RUN_FILES_MAX];
    size_t files_count;
    char dataset[MAX_NAME + 1];
    char target[MAX_NAME + 1];
    const struct learner *learner;
    struct buf params_json;
    uint64_t seed;
    uint32_t threads;
    char description[256];

    /* shared while it runs */
    uv_mutex_t lock;
    struct run_progress progress; /* under lock */
    atomic_bool cancel;

    /* results */
    struct error error;         /* CORRUPT: fetch the files again; OK: the following are there */
    void *params;               /* the learner's, as they were used; owned */
    struct split_shares shares; /* as they were used */
    struct split split;         /* its sizes; rows is NULL */
    struct buf onnx;
    struct buf metrics;     /* JSON object */
    struct buf report;      /* JSON, what the learner says of the model; or empty */
    struct buf predictions; /* float32, held-out rows x classes */
    double seconds;
};

void run_init(struct run *r);
void run_finish(struct run *r);
void run_execute(struct run *r);
/* Appends the epochs so far as a JSON array.  Under the lock while the run goes on. */
void run_history(const struct run_progress *p, struct buf *out);
/* For those who want to compare what is served with what was computed: FOLDER/JOB.f32.  An empty
 * folder: nothing is kept. */
enum status run_keep_predictions(const struct run *r, const char *folder,
                                 const char *job) MUST_CHECK;

/* ---- lineage.c ---- */

#define RUN_PARAM_SETS 2

/* Where the run's parameters are, for params.h: the learner's, and those of the split. */
void run_param_sets(struct run *r, struct param_set sets[RUN_PARAM_SETS]);
/* Appends a JSON object: where the model comes from, enough to train it again. */
void run_lineage(const struct run *r, const char *job, struct buf *out);
/* One digest for all files: SHA-256 of the lines that sha256sum prints, in order of name. */
void run_dataset_digest(const struct run *r, struct digest *out);
/* Writes the model's file, which says the same in short. */
void run_export(struct run *r, const void *model, const struct table *t);

#endif
