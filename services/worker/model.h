/* model.h - a model version in this process: its artifact verified, loaded by the runtime of
 * its format, warmed up.  The engine's job thread only.
 */
#ifndef SERVICES_WORKER_MODEL_H
#define SERVICES_WORKER_MODEL_H

#include "services/worker/runtime.h"

struct model_source {
    const char *path;
    const char *digest; /* hex */
    const char *format;
    uint32_t threads; /* of one run */
    uint32_t max_batch;
    uint32_t
        short_run_us; /* one thread, where the largest batch takes less.  There threads gain little
                              time and lose much work: the same cores do more when each has a run, or
                              a gateway, of its own */
    bool allow_fake;
    const char
        *files; /* list of all files (files.h), beside the artifact; NULL or empty: no others */
};

struct model {
    struct signature signature;    /* read-only */
    const struct runtime *runtime; /* private */
    void *context;                 /* private; NULL: nothing is loaded */
};

/* CORRUPT: the file does not have its digest.  Retryable (status_retryable): this process
 * lacks something, the model may be fine.  Otherwise the model cannot be served, and *err
 * has the runtime's words. */
enum status model_load(struct model *m, const struct model_source *from,
                       struct error *err) MUST_CHECK;
void model_unload(struct model *m); /* zeroed is fine */

/* Compares a job with the signature, so that the runtime sees only what it expects.
 * OK: in[] (MAX_TENSORS) borrows from job and frames; frames begin with the envelope.
 * INVALID: *err names the input and what is off. */
enum status model_check(const struct model *m, const struct msg_job *job,
                        const struct frames *frames, struct tensor_in *in,
                        struct error *err) MUST_CHECK;

/* As runtime->run. */
enum status model_run(const struct model *m, const struct tensor_in *in, size_t in_count,
                      struct tensor_out *out, size_t *out_count, struct error *err) MUST_CHECK;
/* As runtime->interrupt; any thread. */
void model_interrupt(const struct model *m, bool on);

#endif
