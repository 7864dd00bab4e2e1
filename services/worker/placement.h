/* placement.h - which engines run on this host: compares what the catalog wants (desired.h) with
 * the children there are, starts what is missing and ends what is too much.
 */
#ifndef SERVICES_WORKER_PLACEMENT_H
#define SERVICES_WORKER_PLACEMENT_H

#include "services/worker/host.h"

/* After any change; does nothing before the first catalog or when the host is stopping. */
void placement_reconcile(struct host *h);

/* How many engines are here to stay, those that load too: not what is checked, or replaced by
 * another. */
size_t placement_engines(struct host *h);

#endif
