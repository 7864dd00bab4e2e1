/* show.h - models, versions and deployments as JSON for people and their programs. */
#ifndef SERVICES_GATEWAY_API_SHOW_H
#define SERVICES_GATEWAY_API_SHOW_H

#include "services/gateway/api/api.h"

/* The version with its inputs and outputs, also while the report of its check has not come, but an
 * engine serves here.  Borrows from both. */
struct msg_version show_known(struct gateway *g, const struct msg_version *v);
/* {"version":...}; whole: with lineage and signature. */
void show_version(struct gateway *g, struct buf *out, const struct msg_version *v, bool whole);
/* {"version":...}, or null: what is wanted, and what there is of it. */
void show_deployment(struct gateway *g, struct buf *out, const struct msg_deployment *d);
/* {"champion":"7",...} */
void show_aliases(struct buf *out, const struct msg_aliases *aliases);
/* {"name":...,"deployment":...,"aliases":...,"versions":[...]} */
void show_model(struct gateway *g, struct buf *out, const struct catalog_model *m, bool whole);

#endif
