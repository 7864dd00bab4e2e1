/* desired.c - see desired.h. */
#include "services/worker/desired.h"

bool desired_is_present(const struct msg_deployment *d, uint32_t number)
{
    return deployment_share(d, number) || deployment_shadows(d, number);
}

bool desired_in_pool(const struct msg_deployment *d, const char *pool)
{
    return bytes_equal_str(deployment_pool(d), pool);
}

bool desired_wants(const struct catalog_model *m, uint32_t number, bool deployed_were_ready)
{
    const struct msg_deployment *d = &m->deployment;
    const struct msg_version *v = catalog_version(m, number);
    if (!v || v->check == CHECK_FAILED)
        return false;
    return desired_is_present(d, number) ||
           (deployment_uses(d, number) && (d->rollout || !deployed_were_ready));
}

static size_t list_version(uint32_t *list, size_t count, uint32_t number)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == number)
            return count;
    list[count] = number;
    return count + 1;
}

size_t desired_versions(const struct msg_deployment *d, uint32_t list[DESIRED_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < d->traffic_count; i++)
        count = list_version(list, count, d->traffic[i].version);
    for (size_t i = 0; i < d->shadow.count; i++)
        count = list_version(list, count, (uint32_t)d->shadow.at[i]);
    for (size_t i = 0; i < d->previous_traffic_count; i++)
        count = list_version(list, count, d->previous_traffic[i].version);
    return count;
}

static size_t count_engines(const struct desired_engine *list, size_t count, bool stale, bool ready)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += list[i].stale == stale && list[i].ready == ready;
    return n;
}

/* Marks the youngest of a kind until no more than `keep` of them remain. */
static void stop_beyond(struct desired_engine *list, size_t count, bool stale, bool ready,
                        size_t keep)
{
    size_t left = count_engines(list, count, stale, ready);
    for (size_t i = count; i > 0 && left > keep; i--) {
        if (list[i - 1].stale != stale || list[i - 1].ready != ready)
            continue;
        list[i - 1].stop = true;
        left--;
    }
}

size_t desired_engines(struct desired_engine *list, size_t count, size_t want)
{
    size_t ready = count_engines(list, count, false, true);
    size_t fresh = count_engines(list, count, false, false) + ready;
    size_t missing = ready < want ? want - ready : 0; /* that are ready */
    stop_beyond(list, count, false, true, want);
    stop_beyond(list, count, false, false, missing);
    stop_beyond(list, count, true, true, missing);
    stop_beyond(list, count, true, false, 0);
    return fresh < want ? want - fresh : 0;
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
