/* warmup.h - the runs before a version counts as ready.
 *
 * A version may have samples, in a file that is called warmup.json:
 *     {"samples":[{"inputs":[TENSOR, ...],"outputs":[TENSOR, ...]}, ...],"rtol":1e-3,"atol":1e-5}
 * with tensors as in the JSON of the Open Inference Protocol v2 (name, datatype, shape, data), where
 * null is a number that is not finite.  "outputs" may be left out, or name some of the model's: they
 * are compared (compare.h).  A sample that cannot be run, or whose outputs are others, fails the
 * version.  Without samples there are runs with zeros, which may fail.
 */
#ifndef SERVICES_WORKER_WARMUP_H
#define SERVICES_WORKER_WARMUP_H

#include "services/worker/compare.h"
#include "services/worker/model.h"

struct yyjson_doc;

struct warmup {
    struct yyjson_doc *doc; /* NULL: no samples */
    struct tolerance tolerance;
};

/* path: of the file, NULL: there is none.  INVALID: it is no such file. */
enum status warmup_read(const char *path, struct warmup *out, struct error *err) MUST_CHECK;
void warmup_finish(struct warmup *w); /* zeroed is fine */

/* Runs all samples, or zeros.  *row_us: how long a row takes from then on; UINT64_MAX: not known.
 * INVALID: *err names the sample, and what is wrong with it. */
enum status warmup_run(const struct warmup *w, const struct model *m, uint64_t *row_us,
                       struct error *err) MUST_CHECK;

#endif
