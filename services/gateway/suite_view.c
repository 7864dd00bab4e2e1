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

bool suite_on_demand(const struct suite_view *v, struct bytes pool)
{
    for (size_t i = 0; i < v->suite->processes_count; i++) {
        const struct msg_process *p = &v->suite->processes[i];
        if (p->on_demand && bytes_equal(p->pool, pool))
            return true;
    }
    return false;
}

struct suite_engines suite_engines(const struct suite_view *v, struct bytes model, uint32_t version)
{
    struct suite_engines view = { 0 };
    for (size_t p = 0; p < v->suite->processes_count; p++) {
        const struct msg_process *process = &v->suite->processes[p];
        for (size_t i = 0; i < process->engines_count; i++) {
            const struct msg_engine *e = &process->engines[i];
            if (e->version != version || !bytes_equal(e->model, model))
                continue;
            view.loading += e->state == ENGINE_LOADING || e->state == ENGINE_FETCHING;
            if (e->state != ENGINE_READY && e->reason.len)
                view.reason = e->reason;
        }
    }
    return view;
}
