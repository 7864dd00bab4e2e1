/* schema.h - every message between the processes, written once.
 *
 * The parts that occur inside messages are in parts.h, those about rollouts in rollouts.h, about training in
 * trainings.h.  From these lists come the structs,
 * the codec (codec.h), the names in logs and the description that tests/tools/schema_dump
 * prints.  On the wire an envelope is the msgpack array [kind, id, body]; a body is a map
 * from the field's tag to its value.
 * Append only: a tag is never reused, unknown tags are skipped, absent fields are zero.
 *
 * F(S, type, name, tag, limit, doc)   one value; limit bounds str, bin and i64s
 * L(S, element, name, tag, limit, doc) a list of structs: element *name; size_t name_count
 *
 * type: u32 u64 i64 f64 boolean, str and bin (struct bytes), i64s (struct i64s).
 * Decoded strings borrow from the frame and lists from the decoder's arena: both are
 * good until the handler returns.
 */
#ifndef COMMON_MSG_SCHEMA_H
#define COMMON_MSG_SCHEMA_H

#include "common/base/bytes.h"
#include "common/base/digest.h"
#include "common/base/latency.h"
#include "common/msg/limits.h"
#include "common/msg/parts.h"
#include "common/msg/rollouts.h"
#include "common/msg/trainings.h"

struct i64s {
    const int64_t *at;
    size_t count;
};

/* ---- messages ------------------------------------------------------------------------- */

#define EMPTY_FIELDS(F, L, S) /* a message whose kind says it all */

#define FAILURE_FIELDS(F, L, S)            \
    F(S, u32, status, 1, 0, "enum status") \
    F(S, str, text, 2, MAX_REASON, "what is wrong and what to do next")

#define CATALOG_FIELDS(F, L, S)                                                              \
    F(S, u64, seq, 1, 0, "number of the last change contained")                              \
    L(S, version, versions, 2, MAX_PAGE, "put: replaces what was known of them")             \
    L(S, deployment, deployments, 3, MAX_PAGE, "put: replaces what was known of them")       \
    F(S, u64, history, 4, 0, "which history seq counts in; 0: the sender does not know now") \
    L(S, aliases, aliases, 5, MAX_PAGE, "put: replaces what was known of them")              \
    F(S, str, after, 6, MAX_NAME, "with more: the model to ask behind")                      \
    F(S, u32, after_version, 7, 0, "with more: and its version")                             \
    F(S, boolean, more, 8, 0, "of a snapshot: ask for what is behind the last version")

#define SNAPSHOT_FIELDS(F, L, S)                                                                \
    F(S, str, after, 1, MAX_NAME, "what the page before has ended with; empty: the first page") \
    F(S, u32, after_version, 2, 0, "the same")

#define CHUNK_FIELDS(F, L, S)                                                               \
    F(S, bin, digest, 1, DIGEST_SIZE, "SHA-256 of the attached frame")                      \
    F(S, str, upload, 2, MAX_NAME, "upload that it is a piece of, or empty")                \
    F(S, u64, offset, 3, 0, "where in the upload; a piece lies within one CHUNK_BYTES")     \
    F(S, bin, now, 4, DIGEST_SIZE, "in an answer: chunk that somebody reads now, or empty") \
    F(S, boolean, raw, 5, 0, "in CHUNK_GET: who asks verifies it, the registry need not")

#define MANIFEST_FIELDS(F, L, S)                                                     \
    F(S, bin, digest, 1, DIGEST_SIZE, "SHA-256 of the whole artifact")               \
    F(S, u64, size_bytes, 2, 0, "of the whole artifact")                             \
    F(S, bin, chunks, 3, MAX_CHUNKS *DIGEST_SIZE, "SHA-256 of each chunk, in order") \
    F(S, bin, now, 4, DIGEST_SIZE, "chunk that somebody reads now, or empty")

#define PART_FIELDS(F, L, S)                     \
    F(S, str, name, 1, MAX_NAME, "file name")    \
    F(S, bin, digest, 2, DIGEST_SIZE, "SHA-256") \
    F(S, u64, size_bytes, 3, 0, "length")        \
    F(S, bin, chunks, 4, MAX_CHUNKS *DIGEST_SIZE, "SHA-256 of each chunk, in order")

#define VERSION_COMMIT_FIELDS(F, L, S)                                                             \
    F(S, str, key, 1, MAX_NAME, "chosen by the caller; the same key gives the same version again") \
    F(S, str, model, 2, MAX_NAME, "model name")                                                    \
    F(S, str, format, 3, MAX_NAME, "onnx or fake")                                                 \
    F(S, bin, digest, 4, DIGEST_SIZE, "SHA-256 of the artifact")                                   \
    F(S, u64, size_bytes, 5, 0, "of the artifact")                                                 \
    F(S, bin, chunks, 6, MAX_CHUNKS *DIGEST_SIZE, "SHA-256 of each chunk, in order")               \
    F(S, str, metrics, 7, MAX_JSON, "JSON object, or empty")                                       \
    F(S, str, lineage, 8, MAX_JSON, "JSON object, or empty")                                       \
    F(S, str, tags, 9, MAX_JSON, "JSON object, or empty")                                          \
    F(S, str, source, 10, MAX_NAME, "upload or training")                                          \
    F(S, str, training, 11, MAX_NAME, "training job that this commit finishes, or empty")          \
    F(S, u64, lease, 12, 0, "of that training job")                                                \
    F(S, boolean, deploy, 13, 0, "deploy it in the same step")                                     \
    F(S, str, description, 14, MAX_DESCRIPTION, "for people")                                      \
    F(S, str, process, 15, MAX_NAME, "who asks; empty: the training job, or the source")           \
    F(S, str, file, 30, MAX_NAME, "name of the artifact's file; empty: it is the only one")        \
    L(S, part, parts, 31, MAX_VERSION_FILES - 1, "the other files")                                \
    L(S, name, uploads, 32, MAX_VERSION_FILES, "uploads that have become this version")

#define VERSION_REF_FIELDS(F, L, S)             \
    F(S, str, model, 1, MAX_NAME, "model name") \
    F(S, u32, version, 2, 0, "model version")   \
    F(S, str, process, 3, MAX_NAME, "who asks") \
    F(S, str, key, 4, MAX_NAME, "of a rollback: the same key is the same one again; or empty")

/* Tags 1 to 7 are those of a version_ref that deployed one version. */
#define DEPLOY_FIELDS(F, L, S)                                                                   \
    F(S, str, model, 1, MAX_NAME, "model name")                                                  \
    F(S, u32, version, 2, 0, "gets all requests, unless traffic is there; 0: nothing is served") \
    F(S, str, process, 3, MAX_NAME, "who asks")                                                  \
    F(S, u32, instances, 4, 0, "as in deployment")                                               \
    F(S, u32, max_batch, 5, 0, "as in deployment")                                               \
    F(S, u32, max_batch_delay_ms, 6, 0, "as in deployment")                                      \
    F(S, u32, changes, 7, 0, "1 << SETTING_x for each setting that is meant; the others stay")   \
    L(S, share, traffic, 8, MAX_SHARES, "weights sum to SHARES_WHOLE")                           \
    F(S, i64s, shadow, 9, MAX_SHADOWS, "as in deployment")                                       \
    F(S, str, sticky, 10, MAX_NAME, "as in deployment")                                          \
    F(S, u32, queue_max, 11, 0, "as in deployment")                                              \
    F(S, str, pool, 12, MAX_NAME, "as in deployment")

#define ALIAS_PUT_FIELDS(F, L, S)                                              \
    F(S, str, model, 1, MAX_NAME, "model name")                                \
    F(S, str, alias, 2, MAX_NAME, "its name")                                  \
    F(S, u32, version, 3, 0, "what it shall stand for; 0: it goes")            \
    F(S, boolean, compare, 4, 0, "CONFLICT unless it stands for expected now") \
    F(S, u32, expected, 5, 0, "a version; 0: there is no such alias")          \
    F(S, str, process, 6, MAX_NAME, "who asks")

#define DESCRIBE_FIELDS(F, L, S)                                       \
    F(S, str, model, 1, MAX_NAME, "model name")                        \
    F(S, u32, version, 2, 0, "model version")                          \
    F(S, str, process, 3, MAX_NAME, "who asks")                        \
    F(S, u32, changes, 4, 0, "1 << DESCRIBE_x for each that is meant") \
    F(S, str, tags, 5, MAX_JSON, "JSON object")                        \
    F(S, str, description, 6, MAX_DESCRIPTION, "for people")

#define HISTORY_GET_FIELDS(F, L, S)                                           \
    F(S, str, model, 1, MAX_NAME, "model name")                               \
    F(S, str, before, 2, MAX_NAME, "id of an entry; empty: the newest first") \
    F(S, u32, limit, 3, 0, "entries")

#define HISTORY_FIELDS(F, L, S)                          \
    F(S, str, model, 1, MAX_NAME, "model name")          \
    L(S, entry, entries, 2, MAX_ENTRIES, "newest first") \
    F(S, boolean, more, 3, 0, "there are older ones")

#define CHECK_CLAIM_FIELDS(F, L, S)             \
    F(S, str, name, 1, MAX_NAME, "of a worker") \
    F(S, u32, number, 2, 0, "of its claim: the same again is for the same version, for longer")

#define VERSION_CHECKED_FIELDS(F, L, S)                    \
    F(S, str, model, 1, MAX_NAME, "model name")            \
    F(S, u32, version, 2, 0, "model version")              \
    F(S, u32, check, 3, 0, "CHECK_PASSED or CHECK_FAILED") \
    F(S, str, reason, 4, MAX_REASON, "why it failed")      \
    L(S, tensor, inputs, 5, MAX_TENSORS, "signature")      \
    L(S, tensor, outputs, 6, MAX_TENSORS, "signature")     \
    F(S, u32, batchable, 7, 0, "as in version")            \
    F(S, str, process, 8, MAX_NAME, "the worker")

#define FILE_COMMIT_FIELDS(F, L, S)                                                 \
    F(S, str, dataset, 1, MAX_NAME, "dataset name")                                 \
    F(S, str, file, 2, MAX_NAME, "file name; an old file of that name is replaced") \
    F(S, bin, digest, 3, DIGEST_SIZE, "SHA-256")                                    \
    F(S, u64, size_bytes, 4, 0, "length")                                           \
    F(S, bin, chunks, 5, MAX_CHUNKS *DIGEST_SIZE, "SHA-256 of each chunk, in order")

#define NAME_FIELDS(F, L, S)                                                  \
    F(S, str, name, 1, MAX_NAME, "of a dataset, a training job or a process") \
    F(S, u32, role, 2, 0, "enum role, where a process is meant")              \
    F(S, str, pool, 3, MAX_NAME, "of a worker that says HOST")

#define REPORT_FIELDS(F, L, S)                                                               \
    L(S, process, processes, 1, 1, "the sender")                                             \
    F(S, u32, want, 2, 0, "1 << ROLE_x for each role whose processes the answer shall list") \
    F(S, boolean, leaving, 3, 0, "the process is about to end: forget it")

#define SUITE_FIELDS(F, L, S) L(S, process, processes, 1, MAX_PROCESSES, "as the sender wanted")

#define PIECE_FIELDS(F, L, S)                                    \
    F(S, u64, offset, 1, 0, "where in the upload it begins")     \
    F(S, u32, length, 2, 0, "its bytes, all in one CHUNK_BYTES") \
    F(S, bin, digest, 3, DIGEST_SIZE, "SHA-256 of them")

#define UPLOAD_FIELDS(F, L, S)                                                         \
    F(S, str, id, 1, MAX_NAME, "chosen by the caller")                                 \
    F(S, u64, size_bytes, 2, 0, "of the whole; 0: not said")                           \
    F(S, u64, created_ms, 3, 0, "wall time")                                           \
    F(S, u64, left_ms, 4, 0, "it is given up when nothing is heard of it for so long") \
    F(S, str, place, 5, 2 * MAX_NAME, "MODEL:NUMBER once it was committed")            \
    F(S, u32, slots, 6, 0, "how many parts of CHUNK_BYTES have pieces, on all pages")  \
    L(S, piece, pieces, 7, UPLOAD_PAGE *MAX_SLOT_PIECES, "by slot; of one slot the oldest first")

#define UPLOAD_REF_FIELDS(F, L, S)              \
    F(S, str, id, 1, MAX_NAME, "of the upload") \
    F(S, u64, first, 2, 0, "slot that the page begins with; it has UPLOAD_PAGE slots")

#define BACKUP_FIELDS(F, L, S)                                                                  \
    F(S, str, id, 1, MAX_NAME, "chosen by the caller")                                          \
    F(S, u64, index, 2, 0, "how many records have been read; to be sent back")                  \
    F(S, str, cursor, 3, MAX_NAME, "where in the next one, or in the list of chunks; the same") \
    F(S, bin, chunks, 4, BACKUP_CHUNKS *DIGEST_SIZE, "answers BACKUP_CHUNKS: their SHA-256")    \
    F(S, boolean, done, 5, 0, "that was all")

#define RESTORE_FIELDS(F, L, S)                        \
    F(S, str, id, 1, MAX_NAME, "chosen by the caller") \
    F(S, u64, page, 2, 0, "1, 2, 3 ...; at the end: how many there were")

#define HELLO_FIELDS(F, L, S)                                       \
    F(S, str, engine, 1, MAX_NAME, "unique per start of an engine") \
    F(S, str, worker, 2, MAX_NAME, "its worker's id")               \
    F(S, str, model, 3, MAX_NAME, "model name")                     \
    F(S, u32, version, 4, 0, "model version")                       \
    L(S, tensor, inputs, 5, MAX_TENSORS, "signature")               \
    L(S, tensor, outputs, 6, MAX_TENSORS, "signature")              \
    F(S, u32, max_batch, 7, 0, "rows in one job; 1: do not batch")  \
    F(S, u32, credit, 8, 0, "jobs that may be sent at once")        \
    F(S, u32, pid, 9, 0, "process id")                              \
    F(S, u32, ahead, 10, 0, "jobs beyond the credit that it takes while it runs")

#define JOB_FIELDS(F, L, S)                                                         \
    F(S, u64, job, 1, 0, "job id, never used twice by one gateway")                 \
    F(S, u32, attempt, 2, 0, "1, 2, ...; an answer must repeat it")                 \
    F(S, u32, timeout_ms, 3, 0, "what is left of the latest deadline in the batch") \
    L(S, tensor, inputs, 4, MAX_TENSORS, "one frame each, in this order")           \
    F(S, u32, core, 5, 0, "where the gateway runs: 1 + its number; 0: on another host, perhaps")

#define RESULT_FIELDS(F, L, S)                                                    \
    F(S, u64, job, 1, 0, "job id")                                                \
    F(S, u32, attempt, 2, 0, "as in the job")                                     \
    F(S, u32, status, 3, 0, "enum status")                                        \
    F(S, str, text, 4, MAX_REASON, "the runtime's message when status is not OK") \
    F(S, u64, compute_us, 5, 0, "time inside the runtime")                        \
    L(S, tensor, outputs, 6, MAX_TENSORS, "one frame each, in this order")        \
    F(S, u32, credit, 7, 0, "jobs that may be sent beyond those still out")       \
    F(S, boolean, more, 8, 0, "further parts of this answer follow (token streams)")

#define BEAT_FIELDS(F, L, S)                                               \
    F(S, str, engine, 1, MAX_NAME, "engine id; in a gateway's answer too") \
    F(S, u64, job, 2, 0, "the job that is running, 0: none")               \
    F(S, u64, busy_ms, 3, 0, "for how long")                               \
    F(S, boolean, known, 4, 0, "gateway's answer: false asks the engine to say hello again")

#define ENDPOINT_FIELDS(F, L, S)             \
    F(S, str, id, 1, MAX_NAME, "gateway id") \
    F(S, str, jobs, 2, MAX_ENDPOINT, "where to connect")

#define GATEWAYS_FIELDS(F, L, S) L(S, endpoint, gateways, 1, MAX_GATEWAYS, "all that live")

#define ENGINE_STATUS_FIELDS(F, L, S)                               \
    F(S, u32, state, 1, 0, "enum engine_state")                     \
    F(S, str, reason, 2, MAX_REASON, "why it failed")               \
    L(S, tensor, inputs, 3, MAX_TENSORS, "signature, once loaded")  \
    L(S, tensor, outputs, 4, MAX_TENSORS, "signature, once loaded") \
    F(S, u32, batchable, 5, 0, "as in version")                     \
    F(S, u64, bad_messages, 6, 0, "messages from gateways that made no sense, since the start")

/* The structs, in an order in which each is known before it is used.  X(name, FIELDS) */
#define STRUCT_LIST(X)                         \
    X(tensor, TENSOR_FIELDS)                   \
    X(file, FILE_FIELDS)                       \
    X(version, VERSION_FIELDS)                 \
    X(share, SHARE_FIELDS)                     \
    X(deployment, DEPLOYMENT_FIELDS)           \
    X(alias, ALIAS_FIELDS)                     \
    X(aliases, ALIASES_FIELDS)                 \
    X(entry, ENTRY_FIELDS)                     \
    X(engine, ENGINE_FIELDS)                   \
    X(counter, COUNTER_FIELDS)                 \
    X(process, PROCESS_FIELDS)                 \
    X(dataset, DATASET_FIELDS)                 \
    X(training, TRAINING_FIELDS)               \
    X(endpoint, ENDPOINT_FIELDS)               \
    X(empty, EMPTY_FIELDS)                     \
    X(failure, FAILURE_FIELDS)                 \
    X(catalog, CATALOG_FIELDS)                 \
    X(snapshot, SNAPSHOT_FIELDS)               \
    X(chunk, CHUNK_FIELDS)                     \
    X(manifest, MANIFEST_FIELDS)               \
    X(name, NAME_FIELDS)                       \
    X(part, PART_FIELDS)                       \
    X(version_commit, VERSION_COMMIT_FIELDS)   \
    X(version_ref, VERSION_REF_FIELDS)         \
    X(deploy, DEPLOY_FIELDS)                   \
    X(alias_put, ALIAS_PUT_FIELDS)             \
    X(describe, DESCRIBE_FIELDS)               \
    X(history_get, HISTORY_GET_FIELDS)         \
    X(history, HISTORY_FIELDS)                 \
    X(check_claim, CHECK_CLAIM_FIELDS)         \
    X(version_checked, VERSION_CHECKED_FIELDS) \
    X(file_commit, FILE_COMMIT_FIELDS)         \
    X(datasets, DATASETS_FIELDS)               \
    X(submit, SUBMIT_FIELDS)                   \
    X(trainings, TRAININGS_FIELDS)             \
    X(training_update, TRAINING_UPDATE_FIELDS) \
    X(checkpoint, CHECKPOINT_FIELDS)           \
    X(file_ref, FILE_REF_FIELDS)               \
    X(profile, PROFILE_FIELDS)                 \
    X(report, REPORT_FIELDS)                   \
    X(suite, SUITE_FIELDS)                     \
    X(piece, PIECE_FIELDS)                     \
    X(upload, UPLOAD_FIELDS)                   \
    X(upload_ref, UPLOAD_REF_FIELDS)           \
    X(backup, BACKUP_FIELDS)                   \
    X(restore, RESTORE_FIELDS)                 \
    X(rollout_begin, ROLLOUT_BEGIN_FIELDS)     \
    X(rollout_report, ROLLOUT_REPORT_FIELDS)   \
    X(rollout, ROLLOUT_FIELDS)                 \
    X(hello, HELLO_FIELDS)                     \
    X(job, JOB_FIELDS)                         \
    X(result, RESULT_FIELDS)                   \
    X(beat, BEAT_FIELDS)                       \
    X(gateways, GATEWAYS_FIELDS)               \
    X(engine_status, ENGINE_STATUS_FIELDS)

/* The messages.  X(KIND, number, struct, doc) */
#define MESSAGE_LIST(X)                                                                          \
    /* answers of the registry; a failure may answer any request */                              \
    X(FAILURE, 1, failure, "the request failed")                                                 \
    X(DONE, 2, empty, "the request is carried out")                                              \
    X(CATALOG, 3, catalog, "answers SNAPSHOT; on the events socket: changes, or a tick")         \
    X(CHUNK, 4, chunk, "answers CHUNK_GET; one frame attached")                                  \
    X(MANIFEST, 5, manifest, "answers MANIFEST_GET")                                             \
    X(VERSION, 6, version, "answers VERSION_COMMIT, VERSION_DESCRIBE and CHECK_CLAIM")           \
    X(DEPLOYMENT, 7, deployment, "answers DEPLOY and ROLLBACK")                                  \
    X(DATASETS, 8, datasets, "answers DATASET_LIST, DATASET_GET and FILE_COMMIT")                \
    X(TRAINING, 9, training, "answers TRAINING_*")                                               \
    X(TRAININGS, 10, trainings, "answers TRAINING_LIST")                                         \
    X(SUITE, 11, suite, "answers REPORT")                                                        \
    X(ALIASES, 12, aliases, "answers ALIAS_PUT")                                                 \
    X(HISTORY, 13, history, "answers HISTORY_GET")                                               \
    X(ROLLOUT, 14, rollout, "answers ROLLOUT_BEGIN, ROLLOUT_GET and ROLLOUT_ABORT")              \
    X(PROFILE, 15, profile, "answers PROFILE_*")                                                 \
    X(UPLOAD, 17, upload, "answers UPLOAD_BEGIN and UPLOAD_GET")                                 \
    X(BACKUP, 18, backup,                                                                        \
      "answers BACKUP_READ, with a page of records attached, and BACKUP_CHUNKS")                 \
    /* requests to the registry */                                                               \
    X(PING, 20, empty, "DONE when Redis answers too")                                            \
    X(SNAPSHOT, 21, snapshot, "a page of the whole catalog")                                     \
    X(CHUNK_PUT, 22, chunk, "stores the attached frame; equal chunks are stored once")           \
    X(CHUNK_GET, 23, chunk, "asks for one chunk")                                                \
    X(MANIFEST_GET, 24, chunk, "asks for an artifact's manifest")                                \
    X(VERSION_COMMIT, 25, version_commit, "makes a new version visible, all at once")            \
    X(CHECK_CLAIM, 26, check_claim, "asks for a version to check; NOT_FOUND: none waits")        \
    X(VERSION_CHECKED, 27, version_checked, "how the check went")                                \
    X(DEPLOY, 28, deploy, "what the model's plain name shall serve")                             \
    X(FILE_COMMIT, 29, file_commit, "makes a dataset's file visible")                            \
    X(DATASET_LIST, 30, empty, "all datasets")                                                   \
    X(DATASET_GET, 31, name, "one dataset")                                                      \
    X(TRAINING_SUBMIT, 32, submit, "queues a training job")                                      \
    X(TRAINING_GET, 33, name, "one job")                                                         \
    X(TRAINING_LIST, 34, empty, "the newest jobs")                                               \
    X(TRAINING_CANCEL, 35, name, "asks to cancel a job")                                         \
    X(TRAINING_CLAIM, 36, name, "a trainer (name) asks for work; NOT_FOUND: none")               \
    X(TRAINING_UPDATE, 37, training_update, "progress, failure or return; renews the lease")     \
    X(REPORT, 38, report, "a process says that it lives, and how")                               \
    X(HEALTH, 39, name, "DONE if a process of this role on this host reported lately")           \
    X(ALIAS_PUT, 40, alias_put, "moves an alias, or takes it away")                              \
    X(VERSION_DESCRIBE, 41, describe, "other tags, or another description")                      \
    X(VERSION_DELETE, 42, version_ref, "for ever; CATALOG, or CONFLICT while it is in use")      \
    X(MODEL_DELETE, 43, version_ref, "with all its versions; CATALOG, or CONFLICT")              \
    X(HISTORY_GET, 44, history_get, "what was changed, by whom")                                 \
    X(ROLLBACK, 45, version_ref, "deploys again what was deployed before the present one")       \
    X(UPLOAD_BEGIN, 50, upload, "makes an upload that comes in pieces (CHUNK_PUT)")              \
    X(UPLOAD_GET, 51, upload_ref, "a page of its pieces")                                        \
    X(UPLOAD_DROP, 52, name, "nobody wants it any more")                                         \
    X(BACKUP_BEGIN, 53, backup, "all records as they are now, to be read")                       \
    X(BACKUP_READ, 54, backup, "a page of them")                                                 \
    X(BACKUP_CHUNKS, 55, backup, "which chunks they need")                                       \
    X(BACKUP_END, 56, backup, "all is read")                                                     \
    X(RESTORE_BEGIN, 57, restore, "CONFLICT: this registry is not empty")                        \
    X(RESTORE_PUT, 58, restore, "a page of records, attached; chunks come with CHUNK_PUT")       \
    X(RESTORE_END, 59, restore, "all of it becomes visible, or nothing")                         \
    X(RESTORE_DROP, 49, restore, "nothing of it is wanted any more")                             \
    X(ROLLOUT_BEGIN, 90, rollout_begin, "gives a version its share of the requests in steps")    \
    X(ROLLOUT_GET, 91, name, "the present rollout of a model, or the last one")                  \
    X(ROLLOUT_ABORT, 92, version_ref, "back to the deployment before it")                        \
    X(ROLLOUT_REPORT, 93, rollout_report, "a gateway says how the new version does")             \
    X(TRAINING_CHECKPOINT, 100, checkpoint, "keeps a job's state, in place of the one before")   \
    X(DATASET_DELETE, 101, file_ref, "DATASETS: what is left; CONFLICT while a job needs it")    \
    X(PROFILE_GET, 102, profile, "what is in a file; made if it was not")                        \
    X(PROFILE_CLAIM, 103, name, "a trainer (name) asks for one to make; NOT_FOUND: none")        \
    X(PROFILE_UPDATE, 104, profile, "it goes on, or is done")                                    \
    /* between engines and gateways */                                                           \
    X(HELLO, 60, hello, "an engine offers itself")                                               \
    X(WELCOME, 61, endpoint, "the gateway knows it now")                                         \
    X(JOB, 62, job, "gateway to engine: run this")                                               \
    X(RESULT, 63, result, "engine to gateway; tensor frames attached")                           \
    X(BEAT, 64, beat, "both ways, beside the jobs; among them: I begin with this")               \
    X(BYE, 65, empty, "engine: send nothing more")                                               \
    X(BYE_ACK, 66, empty, "gateway: nothing of mine is with you after this")                     \
    X(WHO, 67, empty, "gateway: I do not know you, say hello")                                   \
    X(PROBE, 68, empty, "gateway: nothing to do; sent to learn whether the peer is still there") \
    /* between worker hosts and gateways, on the jobs socket too */                              \
    X(HOST, 69, name, "a worker (name) starts engines when they are wanted; each second")        \
    X(WANT, 70, version_ref, "gateway to host: requests wait for it, and it has no engine")      \
    /* between a worker's host and its engines, over a pipe */                                   \
    X(GATEWAYS, 80, gateways, "host: the gateways to pull from")                                 \
    X(ENGINE_STATUS, 81, engine_status, "engine: how far it is")                                 \
    X(ENGINE_BUSY, 82, empty, "engine: it has jobs to do")                                       \
    X(ENGINE_IDLE, 83, empty, "engine: it has had none for a moment")

/* ---- what the lists make -------------------------------------------------------------- */

enum msg_kind {
#define X(kind, number, body, doc) MSG_##kind = number,
    MESSAGE_LIST(X)
#undef X
        MSG_KIND_COUNT = 128
};

#define SCHEMA_TYPE_u32     uint32_t
#define SCHEMA_TYPE_u64     uint64_t
#define SCHEMA_TYPE_i64     int64_t
#define SCHEMA_TYPE_f64     double
#define SCHEMA_TYPE_boolean bool
#define SCHEMA_TYPE_str     struct bytes
#define SCHEMA_TYPE_bin     struct bytes
#define SCHEMA_TYPE_i64s    struct i64s

#define SCHEMA_MEMBER(S, type, name, tag, limit, doc) SCHEMA_TYPE_##type name;
#define SCHEMA_LIST(S, element, name, tag, limit, doc) \
    struct msg_##element *name;                        \
    size_t name##_count;
#define X(name, FIELDS)                          \
    struct msg_##name {                          \
        FIELDS(SCHEMA_MEMBER, SCHEMA_LIST, name) \
    };
STRUCT_LIST(X)
#undef X

enum role { ROLE_NONE, ROLE_REGISTRY, ROLE_GATEWAY, ROLE_WORKER, ROLE_TRAINER, ROLE_COUNT };
enum version_check { CHECK_PENDING, CHECK_PASSED, CHECK_FAILED };
enum setting {
    SETTING_INSTANCES,
    SETTING_MAX_BATCH,
    SETTING_MAX_BATCH_DELAY,
    SETTING_QUEUE_MAX,
    SETTING_POOL,
    SETTING_STICKY,
    SETTING_SHADOW,
    SETTING_COUNT
};
enum limit { LIMIT_ERRORS, LIMIT_P99, LIMIT_COUNT };
enum rollout_state { ROLLOUT_RUNNING, ROLLOUT_DONE, ROLLOUT_ABORTED };
enum describe { DESCRIBE_TAGS, DESCRIBE_DESCRIPTION };
enum engine_state { ENGINE_FETCHING, ENGINE_LOADING, ENGINE_READY, ENGINE_FAILED, ENGINE_LEAVING };
enum training_state {
    TRAINING_QUEUED,
    TRAINING_RUNNING,
    TRAINING_DONE,
    TRAINING_FAILED,
    TRAINING_CANCELLED
};

const char *msg_kind_name(unsigned kind); /* "VERSION_COMMIT"; "?" for unknown */
const char *role_name(unsigned role);     /* "gateway" */
enum role role_parse(struct bytes name);
const char *training_state_name(unsigned state); /* "queued", "running", ... */
const char *engine_state_name(unsigned state);   /* "fetching", "loading", ... */

/* Names of models, datasets and files: letters, digits, '.', '_', '-'; the first is a letter
 * or digit.  INVALID with *err naming the character or the length. */
enum status name_check(struct bytes name, const char *what, struct error *err) MUST_CHECK;

#endif
