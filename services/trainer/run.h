/* run.h - one training run, from files to an ONNX model; on a pool thread, without sockets.
 *
 * The owner (trainer.c) prepares the fields, calls run_execute on a thread, and meanwhile
 * reads progress and may ask to cancel; all of that goes through the lock.
 */
#ifndef SERVICES_TRAINER_RUN_H
#define SERVICES_TRAINER_RUN_H

#include "common/msg/schema.h"
#include "services/trainer/mlp.h"

#include <stdatomic.h>
#include <uv.h>

#define RUN_FILES_MAX MAX_FILES

struct run_file {
    char name[MAX_NAME + 1]; /* in the data set */
    char *path;              /* on this machine; owned */
    struct digest digest;    /* what the file must have */
    bool has_digest;
};

struct run_progress {
    double fraction;
    struct epoch last;
    uint32_t epochs;    /* asked for */
    struct buf history; /* JSON objects, comma-separated */
};

struct run {
    /* set before run_execute */
    struct run_file files[RUN_FILES_MAX];
    size_t files_count;
    char target[MAX_NAME + 1];
    struct buf params_json;
    uint64_t seed;
    char description[256];

    /* shared while it runs */
    uv_mutex_t lock;
    struct run_progress progress; /* under lock */
    atomic_bool cancel;

    /* results */
    struct error error; /* CORRUPT: fetch the files again; OK: the following are there */
    struct buf onnx;
    struct buf metrics;     /* JSON object */
    struct buf predictions; /* float32, held-out rows x classes */
    double seconds;
};

void run_init(struct run *r);
void run_finish(struct run *r);
void run_execute(struct run *r);
/* For those who want to compare what is served with what was computed: FOLDER/JOB.f32.  An empty
 * folder: nothing is kept. */
enum status run_keep_predictions(const struct run *r, const char *folder,
                                 const char *job) MUST_CHECK;
/* Appends a JSON object: where the model comes from, enough to train it again. */
void run_lineage(const struct run *r, const char *job, const char *dataset, struct buf *out);

#endif
