/* trainer.h - the trainer process: claims jobs, runs them one at a time, publishes the result. */
#ifndef SERVICES_TRAINER_TRAINER_H
#define SERVICES_TRAINER_TRAINER_H

#include "common/net/artifact.h"
#include "common/net/report.h"
#include "services/trainer/run.h"

#define TRAINER_FILES (RUN_MADE_MAX + 1) /* of a version that it publishes */

struct trainer_config {
    const char *registry;
    const char *cache;
    uint64_t cache_bytes;    /* 0: no limit */
    const char *predictions; /* folder, or empty */
    uint32_t threads;
    uint32_t poll_ms;
    uint32_t checkpoint_ms;
    uint64_t max_artifact_bytes;
    uint64_t memory_bytes; /* of a training */
    const char *profile;
    const char *log_format;
    const char *log_level;
};

/* A job's way through this process; each state waits for one thing. */
enum trainer_state {
    TRAINER_IDLE,       /* the poll timer */
    TRAINER_CLAIMING,   /* the registry's answer */
    TRAINER_LISTING,    /* the data set's files, from the registry */
    TRAINER_FETCHING,   /* a download */
    TRAINER_RUNNING,    /* the training thread */
    TRAINER_UPLOADING,  /* the model's chunks */
    TRAINER_COMMITTING, /* the registry's answer */
    TRAINER_GIVING_UP,  /* the registry's answer to FAILED, CANCELLED or QUEUED */
    TRAINER_TRIMMING,   /* the cache, after a job */
};

struct profiler;

struct trainer {
    const struct trainer_config *config;
    struct loop *loop;
    struct rpc_client *registry;
    struct reporter *reporter;
    struct profiler *profiler;
    struct loop_timer *timer;    /* polls while idle, starts a step again */
    struct loop_timer *beat;     /* progress and lease while there is a job */
    struct loop_timer *deadline; /* of the process, once it was told to stop */
    struct rpc_call *call;       /* what the state waits for */
    struct rpc_call *update;     /* progress under way */
    struct download *download;
    struct upload *upload;                /* of the file with the number files_done */
    struct manifest files[TRAINER_FILES]; /* that are with the registry: the model first */
    size_t files_done;
    enum trainer_state state;
    bool stopping;
    bool finished;    /* a pool thread that is still at work finds nobody */
    bool lost;        /* the lease has passed on: drop the result */
    uint32_t tries;   /* of the present step */
    uint32_t damaged; /* times that a file of the cache was not what it should be */

    /* the job */
    char id[MAX_NAME + 1];
    char model[MAX_NAME + 1];
    uint64_t lease;
    uint64_t end_ms; /* clock_ms() when it will have taken too long; 0: never */
    uint32_t max_seconds;
    bool late;          /* it has */
    uint64_t cancel_ms; /* clock_ms() when the registry said that it is cancelled; 0: it has not */
    bool deploy;
    struct run run;
    bool has_run;
    size_t next_file;
    enum status kept;            /* of the held-out predictions */
    enum training_state verdict; /* of a job that is given up */
    char reason[ERROR_TEXT_MAX]; /* why */
    size_t trimmed;              /* files that went from the cache */

    /* the job's checkpoints: checkpoint.c */
    struct upload *state_upload;
    struct rpc_call *keep;
    uint64_t state_ms;                  /* clock_ms() of the last one */
    struct run_progress state_progress; /* as it was then */
};

void trainer_init(struct trainer *t, const struct trainer_config *config, struct loop *l);
/* The memory of t stays until the loop is destroyed: that waits for the training thread. */
void trainer_finish(struct trainer *t);

/* ---- for the steps that are in files of their own ---- */

/* A step failed: again in a moment, or for good. */
void trainer_retry_or_fail(struct trainer *t, enum status st, const char *text);
/* The job is done, or not ours any more. */
void trainer_go_idle(struct trainer *t);
/* The lease has passed on. */
void trainer_lost(struct trainer *t);
/* What the state wants to be started, or started again. */
void trainer_next(struct trainer *t);

#endif
