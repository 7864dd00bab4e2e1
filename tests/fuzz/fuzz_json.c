/* fuzz_json.c - any bytes as the JSON of an inference: /predict, Open Inference Protocol v2 and
 * KServe v1.  The first byte chooses the protocol and whether the request is sent twice, so that
 * both share a job; the second one chooses the model. */
#include "tests/fuzz/infer_rig.h"

#define TWICE 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char *const patterns[] = { "/predict?model=%s", "/v2/models/%s/infer",
                                            "/v1/models/%s:predict",
                                            "/v2/models/%s/versions/1/infer",
                                            "/v1/models/%s/versions/1:predict" };
    char target[64];
    if (len < 2)
        return 0;
    if (!rig.config.timeout_ms)
        rig_start();
    rig.json = true;
    snprintf(target, sizeof target,
             patterns[(data[0] % TWICE) % (sizeof patterns / sizeof *patterns)],
             rig_models[data[1] % RIG_MODELS].model);
    rig_ask(target, "", bytes_of(data + 2, len - 2), data[0] & TWICE ? 2 : 1);
    return 0;
}
