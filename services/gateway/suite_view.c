/* suite_view.c - a copy of the registry's last word on the processes of the suite. */
#include "services/gateway/gateway.h"

#include <stdlib.h>

struct suite_view {
    struct buf packed;
    struct msg_decoder decoder;
    const struct msg_suite *suite;
};

static const struct msg_suite nobody;

struct suite_view *suite_view_create(void)
{
    struct suite_view *v = mem_zalloc(sizeof *v);
    v->suite = &nobody;
    return v;
}

void suite_view_put(struct suite_view *v, const struct msg_suite *suite)
{
    const void *body;
    v->packed.len = 0;
    msg_pack(&v->packed, &schema_suite, suite);
    v->suite =
        msg_unpack(&v->decoder, &schema_suite, buf_bytes(&v->packed), &body, NULL) ? &nobody : body;
}

void suite_view_destroy(struct suite_view *v)
{
    if (!v)
        return;
    buf_finish(&v->packed);
    msg_decoder_finish(&v->decoder);
    free(v);
}

const struct msg_suite *suite_view_get(const struct suite_view *v)
{
    return v->suite;
}
