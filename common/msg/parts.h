/* parts.h - the parts that occur inside messages: the first half of schema.h, which says how the lists
 * are read.
 */
#ifndef COMMON_MSG_PARTS_H
#define COMMON_MSG_PARTS_H

#define TENSOR_FIELDS(F, L, S)                                  \
    F(S, str, name, 1, MAX_NAME, "name of the input or output") \
    F(S, u32, datatype, 2, 0, "enum datatype")                  \
    F(S, i64s, shape, 3, MAX_RANK, "dimensions; -1 in a signature: any size")

#define VERSION_FIELDS(F, L, S)                                                                \
    F(S, str, model, 1, MAX_NAME, "model name")                                                \
    F(S, u32, number, 2, 0, "1, 2, 3 ... within the model")                                    \
    F(S, str, format, 3, MAX_NAME, "onnx or fake")                                             \
    F(S, bin, digest, 4, DIGEST_SIZE, "SHA-256 of the artifact")                               \
    F(S, u64, size_bytes, 5, 0, "of the artifact")                                             \
    F(S, u32, check, 6, 0, "enum version_check: has an engine loaded it once?")                \
    F(S, str, reason, 7, MAX_REASON, "why the check failed")                                   \
    L(S, tensor, inputs, 8, MAX_TENSORS, "signature; empty while the check is pending")        \
    L(S, tensor, outputs, 9, MAX_TENSORS, "signature")                                         \
    F(S, str, metrics, 10, MAX_JSON, "JSON object, or empty")                                  \
    F(S, str, lineage, 11, MAX_JSON, "JSON object: training job, dataset digests, parameters") \
    F(S, str, tags, 12, MAX_JSON, "JSON object, or empty")                                     \
    F(S, str, source, 13, MAX_NAME, "upload or training")                                      \
    F(S, u64, created_ms, 14, 0, "wall time")                                                  \
    F(S, u32, batchable, 15, 0, "1: rows of several requests may share one run")               \
    F(S, str, description, 16, MAX_DESCRIPTION, "for people; it and the tags may change")      \
    F(S, boolean, deleted, 18, 0, "it is gone; nothing else of it is told")                    \
    F(S, u64, revision, 19, 0, "grows with each change of this version's record")              \
    L(S, file, files, 30, MAX_VERSION_FILES, "all, the main one first; empty: it has no name")

#define SHARE_FIELDS(F, L, S)                 \
    F(S, u32, version, 1, 0, "model version") \
    F(S, u32, weight, 2, 0, "of SHARES_WHOLE: hundredths of a percent of the requests")

#define DEPLOYMENT_FIELDS(F, L, S)                                                                \
    F(S, str, model, 1, MAX_NAME, "model name")                                                   \
    F(S, u32, version, 2, 0, "what the plain name shall serve: the largest share")                \
    F(S, u32, previous, 3, 0, "what serves until that version is warm; 0: nothing")               \
    F(S, u64, revision, 4, 0, "grows by one with each change of this model's deployment")         \
    F(S, u64, changed_ms, 5, 0, "wall time")                                                      \
    F(S, u32, max_batch, 6, 0, "rows in one job; 0: the worker's own limit")                      \
    F(S, u32, instances, 7, 0, "engines on each worker that serves it; 0: one")                   \
    F(S, u32, max_batch_delay_ms, 8, 0, "a request may wait so long for a larger batch")          \
    L(S, share, traffic, 9, MAX_SHARES, "who serves the plain name, and how much of it")          \
    L(S, share, previous_traffic, 10, MAX_SHARES, "who serves until those are warm")              \
    F(S, i64s, shadow, 11, MAX_SHADOWS, "versions that get copies of the requests")               \
    F(S, str, sticky, 12, MAX_NAME,                                                               \
      "header:NAME whose value chooses the version; empty: the request's id")                     \
    F(S, u32, queue_max, 13, 0, "requests that may wait per version; 0: the gateway's own limit") \
    F(S, str, pool, 14, MAX_NAME, "of workers; empty: POOL_DEFAULT")                              \
    F(S, u32, rollout, 20, 0, "version that a rollout brings in; 0: none is under way")           \
    F(S, u64, slow_us, 21, 0, "its limit: who takes longer is slow; 0: it has none")

#define ALIAS_FIELDS(F, L, S)                \
    F(S, str, name, 1, MAX_NAME, "an alias") \
    F(S, u32, version, 2, 0, "what it stands for now")

#define ALIASES_FIELDS(F, L, S)                          \
    F(S, str, model, 1, MAX_NAME, "model name")          \
    L(S, alias, aliases, 2, MAX_ALIASES, "all, by name") \
    F(S, u64, revision, 3, 0, "grows by one with each change of them")

#define ENTRY_FIELDS(F, L, S)                                                                     \
    F(S, str, id, 1, MAX_NAME, "its place in the history; ids grow")                              \
    F(S, u64, changed_ms, 2, 0, "wall time")                                                      \
    F(S, str, who, 3, MAX_NAME, "a user, a worker, a training job, or api")                       \
    F(S, str, what, 4, MAX_NAME, "register, check, alias, deploy, rollback, delete, rollout ...") \
    F(S, str, from, 5, MAX_ENTRY, "JSON: as it was; empty: it was not")                           \
    F(S, str, to, 6, MAX_ENTRY, "JSON: as it is since then; empty: it is no more")

#define ENGINE_FIELDS(F, L, S)                                              \
    F(S, str, model, 1, MAX_NAME, "model name")                             \
    F(S, u32, version, 2, 0, "model version")                               \
    F(S, u32, state, 3, 0, "enum engine_state")                             \
    F(S, str, reason, 4, MAX_REASON, "last words of an engine that failed") \
    F(S, u32, pid, 5, 0, "process id within the worker's host, 0: none")    \
    F(S, u64, rss_bytes, 6, 0, "resident memory")                           \
    F(S, u32, restarts, 7, 0, "how often it has been started again")

#define COUNTER_FIELDS(F, L, S)                                             \
    F(S, str, name, 1, MAX_NAME, "metric family")                           \
    F(S, str, labels, 2, MAX_REASON, "Prometheus label text, may be empty") \
    F(S, u64, value, 3, 0, "count since the process began")

#define PROCESS_FIELDS(F, L, S)                                                  \
    F(S, u32, role, 1, 0, "enum role")                                           \
    F(S, str, id, 2, MAX_NAME, "unique per start of a process")                  \
    F(S, str, host, 3, MAX_NAME, "host name")                                    \
    F(S, u32, pid, 4, 0, "process id on that host")                              \
    F(S, str, jobs, 5, MAX_ENDPOINT, "gateway: where engines connect")           \
    L(S, engine, engines, 6, MAX_ENGINES, "worker: its engines")                 \
    L(S, counter, counters, 7, MAX_COUNTERS, "what it has counted")              \
    F(S, str, training, 8, MAX_NAME, "trainer: the job it runs, or empty")       \
    F(S, u64, age_ms, 9, 0, "since its last report; filled by the registry")     \
    F(S, u64, memory_bytes, 10, 0, "worker: what its engines have")              \
    F(S, u64, memory_budget_bytes, 11, 0, "worker: what they may have together") \
    F(S, u32, on_demand, 12, 0,                                                  \
      "worker: deployed versions that it starts when they are asked for")        \
    F(S, str, pool, 13, MAX_NAME, "worker: whose deployments it serves")

#define FILE_FIELDS(F, L, S)                     \
    F(S, str, name, 1, MAX_NAME, "file name")    \
    F(S, bin, digest, 2, DIGEST_SIZE, "SHA-256") \
    F(S, u64, size_bytes, 3, 0, "length")        \
    F(S, u64, created_ms, 4, 0, "wall time")

#define DATASET_FIELDS(F, L, S)                  \
    F(S, str, name, 1, MAX_NAME, "dataset name") \
    L(S, file, files, 2, MAX_FILES, "its files")

#define TRAINING_FIELDS(F, L, S)                                                               \
    F(S, str, id, 1, MAX_NAME, "training job id")                                              \
    F(S, str, model, 2, MAX_NAME, "model that gets the new version")                           \
    F(S, str, dataset, 3, MAX_NAME, "dataset name")                                            \
    F(S, str, target, 4, MAX_NAME, "label column of a table, empty for IDX")                   \
    F(S, str, learner, 5, MAX_NAME, "kind of model")                                           \
    F(S, str, params, 6, MAX_JSON, "JSON object of the learner's parameters")                  \
    F(S, u64, seed, 7, 0, "of the random numbers")                                             \
    F(S, boolean, deploy, 8, 0, "deploy the version when it is registered")                    \
    F(S, u32, state, 9, 0, "enum training_state")                                              \
    F(S, u32, epoch, 10, 0, "epochs done")                                                     \
    F(S, u32, epochs, 11, 0, "epochs asked for")                                               \
    F(S, f64, progress, 12, 0, "0 to 1 within the whole run")                                  \
    F(S, f64, train_loss, 13, 0, "mean cross-entropy of the last epoch")                       \
    F(S, f64, validation_loss, 14, 0, "mean cross-entropy")                                    \
    F(S, f64, validation_accuracy, 15, 0, "0 to 1")                                            \
    F(S, str, history, 16, MAX_JSON, "JSON array, one object per epoch")                       \
    F(S, str, metrics, 17, MAX_JSON, "JSON object: held-out metrics when done")                \
    F(S, u32, version, 18, 0, "model version when done")                                       \
    F(S, str, error, 19, MAX_REASON, "why it failed")                                          \
    F(S, u32, attempts, 20, 0, "how many trainers have taken it")                              \
    F(S, str, trainer, 21, MAX_NAME, "process id string of the trainer that has it")           \
    F(S, u64, created_ms, 22, 0, "wall time")                                                  \
    F(S, u64, started_ms, 23, 0, "wall time of the last attempt")                              \
    F(S, u64, finished_ms, 24, 0, "wall time")                                                 \
    F(S, u64, lease, 25, 0, "token of the present attempt; a trainer shows it with each call") \
    F(S, boolean, cancel, 26, 0, "somebody asked to cancel it")                                \
    F(S, u32, max_seconds, 31, 0, "that a trainer may take for it; 0: no limit")               \
    F(S, bin, checkpoint, 30, DIGEST_SIZE, "SHA-256 of a state to go on from, or empty")       \
    F(S, u64, catalog_seq, 40, 0, "when done: the catalog has its version from there on")      \
    F(S, u64, catalog_history, 41, 0, "which history catalog_seq counts in")

#endif
