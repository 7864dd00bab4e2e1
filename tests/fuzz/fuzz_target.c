/* fuzz_target.c - any bytes as a request target, and as the parts of requests that are text: names
 * in a path, query parameters, versions, deadlines, keys.
 *
 * A target is no route for a method that nobody knows: 404, or 405 with the methods that it does
 * know.  What a part is accepted as keeps to its limits; what is refused says why. */
#include "tests/fuzz/infer_rig.h"

#define SMALL 24 /* bytes that a decoded text may have, so that the limit is met */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void ask_nowhere(struct bytes target, bool has_body)
{
    struct http_request r = { .method = "BREW", .has_body = has_body };
    rig.answered = 0;
    buf_append_bytes(&r.target, target);
    dispatch_events.begin(&rig.gateway, &r);
    assert(rig.answered == has_body);
    if (!has_body)
        dispatch_events.complete(&rig.gateway, &r);
    assert(rig.answered == 1 && !api_open());
    rig_close(&r);
}

static void decode(struct bytes text)
{
    char out[SMALL], wide[8192];
    int len = api_decode(text, wide, sizeof wide);
    assert(len < 0 || ((size_t)len <= text.len && strlen(wide) == (size_t)len));
    int some = api_decode(text, out, sizeof out);
    assert(some == (len < SMALL ? len : -1));
    assert(some < 0 || strcmp(out, wide) == 0);
}

static void query(struct bytes text)
{
    char out[SMALL];
    struct call c = { .query = text };
    enum status st = api_query(&c, "model", out, sizeof out);
    assert(st == STATUS_OK || st == STATUS_INVALID || st == STATUS_NOT_FOUND);
    assert(st == STATUS_NOT_FOUND || memmem(text.data, text.len, "model=", 6));
    assert(st || strlen(out) < sizeof out);
}

static void version(struct bytes text)
{
    struct error err = { .text = "" };
    uint32_t number = 0;
    if (api_version(text, &number, &err))
        assert(err.status == STATUS_INVALID && err.text[0]);
    else
        assert(number > 0);
}

static void keep(struct bytes text, char *out, size_t size)
{
    size_t len = text.len < size ? text.len : size - 1;
    memcpy(out, text.data, len);
    out[len] = 0;
}

static void fields(struct bytes text)
{
    struct http_request r = { 0 };
    struct error err = { .text = "" };
    char key[MAX_NAME + 1] = "";
    uint64_t ms = 1;
    keep(text, r.timeout_ms, sizeof r.timeout_ms);
    keep(text, r.idempotency_key, sizeof r.idempotency_key);
    if (api_timeout(&r, &ms, &err))
        assert(err.status == STATUS_INVALID && err.text[0]);
    else
        assert(ms > 0 && ms <= REQUEST_MS_MAX);
    err.text[0] = 0;
    if (api_key(&r, key, &err))
        assert(err.status == STATUS_INVALID && err.text[0]);
    else
        assert(!name_check(bytes_str(key), "key", &err) &&
               key[0] == (r.idempotency_key[0] ? 'c' : 'g'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (!len || len > HTTP_TARGET_MAX)
        return 0;
    struct bytes text = bytes_of(data, len);
    ask_nowhere(text, true);
    ask_nowhere(text, false);
    decode(text);
    query(text);
    version(text);
    fields(text);
    return 0;
}
