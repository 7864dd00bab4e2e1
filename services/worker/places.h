/* places.h - the versions that are wanted on this host, with or without an engine: what is known
 * of each while it stays wanted.
 */
#ifndef SERVICES_WORKER_PLACES_H
#define SERVICES_WORKER_PLACES_H

#include "common/msg/catalog.h"

#include <uthash.h>

struct child;

struct place_key {
    char model[MAX_NAME + 1];
    uint32_t version;
};

struct place {
    UT_hash_handle hh; /* a list of them: place->hh.next */
    struct place_key key;
    uint64_t artifact_bytes;
    uint64_t known_bytes; /* what its engine had last; 0: not known */
    uint64_t wanted;      /* the ticket of its turn, when requests wait for it; 0: none do */
    uint64_t renewed_ms;  /* when that was said last */
    bool cold;            /* started only when wanted */
    bool evicted;         /* after it was ready, as the deployed version */

    /* of the last reconcile */
    const struct catalog_model *model; /* NULL: it is not wanted any more */
    struct child *first, *last;        /* its engines, by age; siblings */
    size_t engines;
    size_t missing;
};

/* NULL: there is none. */
struct place *places_find(struct place *places, struct bytes model, uint32_t version);
/* Made when new. */
struct place *places_get(struct place **places, const struct msg_version *v);
/* Frees those without a model, or all. */
void places_forget(struct place **places, bool all);

#endif
