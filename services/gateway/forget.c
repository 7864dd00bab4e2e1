/* forget.c - what is kept of versions that are gone goes, too: their lanes, and the series of these.
 *
 * A version that the catalog has no more keeps its lane for a while, so that what was counted last can
 * still be read, and for as long as anybody works with it.  Who points to lanes: engines and requests,
 * which the queue knows; pool threads, which hold them; guarded rollouts, which lanes know of;
 * remembered routes and pairs of shadows, which are dropped here.
 */
#include "services/gateway/gateway.h"

static bool version_is_gone(struct gateway *g, const struct lane *l)
{
    const struct catalog_model *m =
        catalog_find(replica_catalog(g->replica), bytes_str(lane_model(l)));
    return !m || (!catalog_version(m, lane_version(l)) &&
                  !deployment_uses(&m->deployment, lane_version(l)));
}

static void look(void *arg, struct lane *l)
{
    struct gateway *g = arg;
    bool gone = lane_unused(l) && version_is_gone(g, l);
    if (!lane_gone(l, gone) || !shadow_forget(g->shadows, l))
        return;
    meter_forget(l);
    queue_forget(&g->queue, l);
}

void forget_gone(void *arg)
{
    struct gateway *g = arg;
    if (!replica_synced(g->replica) || !replica_live(g->replica))
        return; /* engines may bring versions that nobody has told of */
    route_forget(g);
    queue_each_lane(&g->queue, look, g);
}
