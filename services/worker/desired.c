/* desired.c - see desired.h. */
#include "services/worker/desired.h"

bool desired_wants(const struct catalog_model *m, uint32_t number, bool deployed_was_ready)
{
    const struct msg_deployment *d = &m->deployment;
    const struct msg_version *v = catalog_version(m, number);
    if (!v || v->check == CHECK_FAILED)
        return false;
    return number == d->version || (number == d->previous && !deployed_was_ready);
}

bool desired_checks(const struct catalog *c)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct catalog_model *m = c->models[i];
        for (size_t n = 1; n <= m->versions_count; n++) {
            const struct msg_version *v = catalog_version(m, n);
            if (v && v->check == CHECK_PENDING)
                return true;
        }
    }
    return false;
}
