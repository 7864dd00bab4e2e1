/* run.h - one training run, from files to an ONNX model; on a pool thread, without sockets.
 *
 * The owner (trainer.c) prepares the fields, calls run_execute on a thread, and meanwhile
 * reads progress and may ask to cancel; all of that goes through the lock.
 */
#ifndef SERVICES_TRAINER_RUN_H
#define SERVICES_TRAINER_RUN_H

#include "common/msg/schema.h"
#include "services/trainer/data/load.h"
#include "services/trainer/learner.h"

#include <stdatomic.h>
#include <uv.h>

#define RUN_FILES_MAX   MAX_FILES
#define RUN_HISTORY_MAX 400 /* epochs; as JSON they stay below MAX_JSON */
#define RUN_MADE_MAX    8   /* files of a version besides the model */

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

/* A file that becomes a part of the version. */
struct run_made {
    const char *name; /* static */
    struct buf data;
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
    uint64_t memory_bytes; /* that the run may take; 0: any */
    char description[256];
    char *resume_path; /* a checkpoint to go on from, or NULL; owned.  progress is as it was then */
    struct digest resume_digest;

    /* shared while it runs */
    uv_mutex_t lock;
    struct run_progress progress;       /* under lock */
    struct buf state;                   /* under lock: the newest checkpoint, to be taken */
    struct run_progress state_progress; /* under lock: how far the run was then */
    atomic_bool cancel;
    struct buf resume; /* the run's own: what is in resume_path */

    /* results */
    struct error error;         /* CORRUPT: fetch the files again; OK: the following are there */
    void *params;               /* the learner's, as they were used; owned */
    struct split_shares shares; /* as they were used */
    struct data_params data_params;
    struct split split; /* its sizes; rows is NULL */
    struct buf onnx;
    struct buf metrics;                 /* JSON object */
    struct buf predictions;             /* float32, held-out rows x classes */
    struct run_made made[RUN_MADE_MAX]; /* see run_make */
    size_t made_count;
    char refused[ERROR_TEXT_MAX]; /* why a checkpoint was of no use, or empty */
    struct buf data_report;       /* JSON object: what was done to the data (data_json) */
    struct buf report;            /* JSON, what the learner says of the model; or empty */
    double seconds;
};

void run_init(struct run *r);
void run_finish(struct run *r);
void run_execute(struct run *r);
/* One more file of the version, to be filled. */
struct buf *run_make(struct run *r, const char *name);
/* Appends the epochs so far as a JSON array.  Under the lock while the run goes on. */
void run_history(const struct run_progress *p, struct buf *out);
/* For those who want to compare what is served with what was computed: FOLDER/JOB.f32.  An empty
 * folder: nothing is kept. */
enum status run_keep_predictions(const struct run *r, const char *folder,
                                 const char *job) MUST_CHECK;

/* ---- progress.c ---- */

extern const struct learner_events run_events; /* their arg is the run */
/* Before the run: the epochs that a checkpoint has behind it, as run_history has written them. */
void run_take_history(struct run *r, struct bytes json);
/* Fills r->resume, where there is one that is whole. */
void run_read_resume(struct run *r);
/* It is of no use: the run begins at its begin. */
void run_drop_resume(struct run *r, const char *why);

/* ---- lineage.c ---- */

#define RUN_PARAM_SETS (2 + DATA_PARAM_SETS)

/* Where the run's parameters are, for params.h: the learner's, and those of the split
 * and the data. */
void run_param_sets(struct run *r, struct param_set sets[RUN_PARAM_SETS]);
/* Appends a JSON object: where the model comes from, enough to train it again.  job NULL: without
 * what differs between equal runs. */
void run_lineage(const struct run *r, const char *job, struct buf *out);
/* One digest for all files: SHA-256 of the lines that sha256sum prints, in order of name. */
void run_dataset_digest(const struct run *r, struct digest *out);
/* Writes the model's file, which says the same in short. */
void run_export(struct run *r, const void *model, struct data *d);

/* ---- warmup.c ---- */

/* Makes the version's WARMUP_FILE of some of the held-out rows and r->predictions. */
void run_warmup(struct run *r, const struct data *d);

/* ---- told.c ---- */

/* Makes the version's model_card.json, model_card.md and statistics.json.  CANCELLED. */
enum status run_tell(struct run *r, const void *model, const struct data *d,
                     struct error *err) MUST_CHECK;

#endif
