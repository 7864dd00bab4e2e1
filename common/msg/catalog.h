/* catalog.h - the models, versions and deployments that a process knows of.
 *
 * Built from MSG_CATALOG messages: a snapshot replaces everything, a change puts whole
 * records.  Records are owned here; pointers to them are good until the next apply.
 */
#ifndef COMMON_MSG_CATALOG_H
#define COMMON_MSG_CATALOG_H

#include "common/msg/codec.h"

struct catalog_model {
    char *name;                       /* read-only */
    struct msg_deployment deployment; /* read-only; version 0: nothing is deployed, else traffic has
                                         at least that version */
    struct msg_aliases aliases;       /* read-only; by name */
    size_t versions_count;            /* read-only; the highest number ever known */
    size_t present;                   /* read-only; how many versions there are */
    const struct msg_version **versions; /* private; [number - 1] */
    void *deployment_memory;             /* private; what deployment borrows from */
    void *aliases_memory;                /* private */
    struct msg_share share, previous;    /* private; of a deployment that tells no shares */
};

struct catalog {
    struct catalog_model **models; /* read-only; by name; not all are known: catalog_known */
    size_t count;                  /* read-only */
};

void catalog_apply(struct catalog *c, const struct msg_catalog *change, bool full);
void catalog_finish(struct catalog *c);

/* It has a version, or is deployed.  Of one that was deleted only the revisions are kept, so that
 * what comes late does not bring it back. */
bool catalog_known(const struct catalog_model *m);
/* NULL: not known. */
struct catalog_model *catalog_find(const struct catalog *c, struct bytes name);
/* The place in models of the first one whose name is greater. */
size_t catalog_after(const struct catalog *c, struct bytes name);
/* NULL: not known. */
const struct msg_version *catalog_version(const struct catalog_model *m, uint64_t number);
/* What the alias stands for; 0: there is none. */
uint32_t catalog_alias(const struct catalog_model *m, struct bytes name);

/* ---- what a deployment says of a version ---- */
/* Its share of the requests; NULL: it gets none. */
const struct msg_share *deployment_share(const struct msg_deployment *d, uint32_t version);
/* It is to have engines: for a share, until others are warm, or for copies. */
bool deployment_uses(const struct msg_deployment *d, uint32_t version);
bool deployment_shadows(const struct msg_deployment *d, uint32_t version);
static inline struct bytes deployment_pool(const struct msg_deployment *d)
{
    return d->pool.len ? d->pool : bytes_str(POOL_DEFAULT);
}

#endif
