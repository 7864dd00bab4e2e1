/* trainings.h - messages of data sets and training jobs: a part of schema.h, which says how the lists
 * are read.
 */
#ifndef COMMON_MSG_TRAININGS_H
#define COMMON_MSG_TRAININGS_H

#define DATASETS_FIELDS(F, L, S) L(S, dataset, datasets, 1, MAX_LIST, "by name")

#define FILE_REF_FIELDS(F, L, S)                    \
    F(S, str, dataset, 1, MAX_NAME, "dataset name") \
    F(S, str, file, 2, MAX_NAME, "file name; empty: the whole dataset")

/* What is in a data file.  A claim gets lease and files; a trainer says RUNNING now and then, and DONE,
 * FAILED or QUEUED (it gives it back) once. */
#define PROFILE_FIELDS(F, L, S)                                               \
    F(S, str, dataset, 1, MAX_NAME, "dataset name")                           \
    F(S, str, file, 2, MAX_NAME, "file name; asked for: empty: the first")    \
    F(S, str, target, 3, MAX_NAME, "whose classes are counted, or empty")     \
    F(S, u32, state, 4, 0, "enum training_state")                             \
    F(S, str, json, 5, MAX_PROFILE, "JSON object when DONE")                  \
    F(S, str, error, 6, MAX_REASON, "why it failed")                          \
    F(S, u64, lease, 7, 0, "of who makes it; CONFLICT when it has passed on") \
    L(S, file, files, 8, MAX_FILES, "of a claim: those of the dataset")

#define SUBMIT_FIELDS(F, L, S)                                                                 \
    F(S, str, key, 1, MAX_NAME, "chosen by the caller; the same key gives the same job again") \
    F(S, str, model, 2, MAX_NAME, "model name")                                                \
    F(S, str, dataset, 3, MAX_NAME, "dataset name")                                            \
    F(S, str, target, 4, MAX_NAME, "label column, empty for IDX")                              \
    F(S, str, learner, 5, MAX_NAME, "kind of model")                                           \
    F(S, str, params, 6, MAX_JSON, "JSON object")                                              \
    F(S, u64, seed, 7, 0, "of the random numbers")                                             \
    F(S, boolean, deploy, 8, 0, "deploy the version when it is registered")                    \
    F(S, u32, max_seconds, 20, 0, "as in training")

#define TRAININGS_FIELDS(F, L, S) L(S, training, trainings, 1, MAX_LIST, "newest first")

/* A trainer's word on its job: progress while RUNNING; FAILED with error; CANCELLED; QUEUED
 * gives it back.  DONE is not said here: version_commit finishes a job. */
#define TRAINING_UPDATE_FIELDS(F, L, S)                                      \
    F(S, str, id, 1, MAX_NAME, "training job id")                            \
    F(S, u64, lease, 2, 0, "from the claim; CONFLICT when it has passed on") \
    F(S, u32, state, 3, 0, "enum training_state")                            \
    F(S, u32, epoch, 4, 0, "epochs done")                                    \
    F(S, u32, epochs, 5, 0, "epochs asked for")                              \
    F(S, f64, progress, 6, 0, "0 to 1")                                      \
    F(S, f64, train_loss, 7, 0, "mean cross-entropy of the last epoch")      \
    F(S, f64, validation_loss, 8, 0, "mean cross-entropy")                   \
    F(S, f64, validation_accuracy, 9, 0, "0 to 1")                           \
    F(S, str, history, 10, MAX_JSON, "JSON array, one object per epoch")     \
    F(S, str, error, 11, MAX_REASON, "why it failed")

/* Tells the registry of a state that was uploaded: the job goes on from there if its trainer dies. */
#define CHECKPOINT_FIELDS(F, L, S)                                                        \
    L(S, training_update, at, 1, 1, "how far the job was; id and lease as in any update") \
    F(S, bin, digest, 2, DIGEST_SIZE, "SHA-256 of the state")                             \
    F(S, u64, size_bytes, 3, 0, "of the state")                                           \
    F(S, bin, chunks, 4, MAX_CHUNKS *DIGEST_SIZE, "SHA-256 of each chunk, in order")

#endif
