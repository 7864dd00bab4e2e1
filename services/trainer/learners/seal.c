/* seal.c - see seal.h. */
#include "services/trainer/learners/seal.h"

#include <stdlib.h>
#include <yyjson.h>

void seal_put(struct buf *state, size_t begin)
{
    struct digest d;
    digest_of(bytes_of(state->data + begin, state->len - begin), &d);
    buf_append(state, d.byte, DIGEST_SIZE);
}

bool seal_take(struct bytes *state)
{
    struct digest said, is;
    if (state->len < DIGEST_SIZE)
        return false;
    state->len -= DIGEST_SIZE;
    memcpy(said.byte, (const char *)state->data + state->len, DIGEST_SIZE);
    digest_of(*state, &is);
    return digest_equal(&said, &is);
}

void seal_params(struct digest_stream *s, const struct learner *learner, const void *params)
{
    const struct param_set set = { learner->params, learner->params_count,
                                   (void *)(uintptr_t)params };
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *object = yyjson_mut_obj(doc);
    size_t len = 0;
    yyjson_mut_doc_set_root(doc, object);
    params_put(&set, 1, doc, object);
    char *text = yyjson_mut_write(doc, 0, &len);
    digest_update(s, bytes_str(learner->name));
    digest_update(s, bytes_of(text, len));
    free(text);
    yyjson_mut_doc_free(doc);
}
