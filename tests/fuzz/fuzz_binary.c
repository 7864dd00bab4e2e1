/* fuzz_binary.c - any bytes as a request with the binary tensor data extension of the Open Inference
 * Protocol v2, and as its raw form.
 *
 * The first byte: is it sent twice; is the header text (of up to 23 bytes) instead of a number.
 * The second one chooses the model.  Then comes what Inference-Header-Content-Length says. */
#include "tests/fuzz/infer_rig.h"

#define TWICE        1
#define TEXT         2
#define TEXT_BYTES   23
#define NUMBER_BYTES 2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char target[64], json_length[TEXT_BYTES + 1] = "";
    size_t head = 2 + (len && data[0] & TEXT ? TEXT_BYTES : NUMBER_BYTES);
    if (len < head)
        return 0;
    if (!rig.config.timeout_ms)
        rig_start();
    if (data[0] & TEXT)
        memcpy(json_length, data + 2, TEXT_BYTES);
    else
        snprintf(json_length, sizeof json_length, "%u", data[2] | (unsigned)data[3] << 8);
    snprintf(target, sizeof target, "/v2/models/%s/infer", rig_models[data[1] % RIG_MODELS].model);
    rig_ask(target, json_length, bytes_of(data + head, len - head), data[0] & TWICE ? 2 : 1);
    return 0;
}
