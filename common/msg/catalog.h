/* catalog.h - the models, versions and deployments that a process knows of.
 *
 * Built from MSG_CATALOG messages: a snapshot replaces everything, a change puts whole
 * records.  Records are owned here; pointers to them are good until the next apply.
 */
#ifndef COMMON_MSG_CATALOG_H
#define COMMON_MSG_CATALOG_H

#include "common/msg/codec.h"

struct catalog_version {
    const struct msg_version *msg; /* read-only */
    struct buf packed;             /* private: what msg borrows from */
    struct msg_decoder decoder;    /* private */
};

struct catalog_model {
    char *name;                        /* read-only */
    struct msg_deployment deployment;  /* read-only; version 0: nothing is deployed */
    struct catalog_version **versions; /* read-only; [number - 1], NULL: not known */
    size_t versions_count;             /* read-only; the highest number known */
};

struct catalog {
    struct catalog_model **models; /* read-only; by name */
    size_t count;                  /* read-only */
};

void catalog_apply(struct catalog *c, const struct msg_catalog *change, bool full);
void catalog_finish(struct catalog *c);

/* NULL: not known. */
struct catalog_model *catalog_find(const struct catalog *c, struct bytes name);
const struct msg_version *catalog_version(const struct catalog_model *m, uint64_t number);

#endif
