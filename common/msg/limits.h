/* limits.h - every size and count that a peer can choose has its bound here.
 *
 * A value beyond its limit is refused with a sentence that names the limit; it is
 * never clipped in silence.
 */
#ifndef COMMON_MSG_LIMITS_H
#define COMMON_MSG_LIMITS_H

#define MAX_NAME          128   /* bytes of a model, dataset, file, tensor or process name */
#define MAX_ENDPOINT      256   /* bytes of a ZeroMQ endpoint */
#define MAX_REASON        480   /* bytes of a sentence about a failure */
#define MAX_JSON          65536 /* bytes of metrics, lineage, tags or parameters of one version */
#define MAX_TENSORS       64    /* inputs, or outputs, of one model */
#define MAX_RANK          16    /* dimensions of a tensor */
#define MAX_DEPTH         16    /* nesting of an envelope */
#define MAX_FRAMES        (MAX_TENSORS + 2) /* route, envelope, one per tensor */
#define MAX_ENGINES       1024              /* engines that one worker reports */
#define MAX_PROCESSES     1024              /* gateways, workers and trainers of one suite */
#define MAX_COUNTERS      512               /* counters that one process reports */
#define MAX_VERSIONS      262144            /* versions of all models */
#define MAX_PAGE          2048              /* versions in one page of a snapshot */
#define MAX_LIST          1000              /* datasets or training jobs in one answer */
#define MAX_FILES         16                /* files of one dataset */
#define MAX_VERSION_FILES 64                /* files of one version */
#define MAX_GATEWAYS      64                /* gateways that one engine pulls from */
#define MAX_ROUTE         32                /* bytes of a ZeroMQ routing id (ours are 5) */

/* The file of a version that has samples for the warm-up (worker/warmup.h). */
#define WARMUP_FILE "warmup.json"
#define MAX_WARMUP_BYTES \
    (8u << 20) /* of that file: an engine that starts has ten times as much in memory */
#define MAX_WARMUP_SAMPLES 256 /* in it: each is a run before the engine is ready */

#define MAX_TRAINING_SECONDS (7 * 86400)  /* that a job may ask for */
#define MAX_PROFILE          (512u << 10) /* bytes of JSON that tell what is in a data file */

#define MAX_DESCRIPTION 4096 /* bytes of a version's description */
#define MAX_SHARES      16   /* versions among which a model's requests are split */
#define MAX_SHADOWS     4    /* versions that get copies of its requests */
#define MAX_ALIASES     64   /* of one model */
#define MAX_ENTRY       147456 /* bytes of JSON in a history's entry: tags, a description and a little */
#define MAX_ENTRIES     100       /* of a history, in one answer */
#define MAX_QUEUE       1000000   /* requests that a deployment may let wait for each version */
#define SHARES_WHOLE    10000     /* what the weights of a split sum to */
#define POOL_DEFAULT    "default" /* of workers and deployments that name none */

#define MAX_STEPS           32         /* of a rollout */
#define ROLLOUT_HOLD_MIN_MS 200        /* that one of its steps may be watched */
#define ROLLOUT_HOLD_MAX_MS 604800000u /* a week */

#define MAX_INSTANCES      64    /* engines of one version on each worker */
#define MAX_BATCH_ROWS     4096  /* rows in one job that a deployment may ask for */
#define MAX_BATCH_DELAY_MS 10000 /* that a request may wait for others to share its job */

#define CHUNK_BYTES        (1u << 20)   /* an artifact travels and rests in such pieces */
#define MAX_CHUNKS         16384u       /* of one artifact: 16 GiB */
#define UPLOAD_PAGE        256u         /* slots of CHUNK_BYTES in one answer about an upload */
#define MAX_SLOT_PIECES    64u          /* ranges that one such slot may have come in */
#define BACKUP_CHUNKS      1024u        /* digests in one answer about a backup */
#define MAX_ENVELOPE       (64u << 20)  /* bytes of an envelope frame (a snapshot is the largest) */
#define MAX_SMALL_ENVELOPE (1u << 20)   /* the same on sockets that carry no snapshot */
#define MAX_TENSOR_BYTES   (1ull << 31) /* of one tensor frame */

#endif
