/* host.h - the worker's host process: decides which engines there shall be.
 *
 * It never runs model code.  It follows the catalog, keeps one child (child.h) per model
 * version that is wanted here, and reports to the registry.
 */
#ifndef SERVICES_WORKER_HOST_H
#define SERVICES_WORKER_HOST_H

#include "common/net/replica.h"
#include "common/net/report.h"
#include "services/worker/gateways.h"

struct host_config {
    const char *registry;
    const char *events;
    const char *cache;
    const char *pool;      /* whose deployments it serves */
    uint32_t threads;      /* 0: automatic */
    uint32_t short_run_us; /* as in model.h */
    uint32_t max_batch;
    uint32_t load_timeout_ms;
    uint32_t stop_timeout_ms;
    uint64_t max_artifact_bytes;
    uint64_t cache_bytes;  /* 0: no limit */
    uint64_t memory_bytes; /* of all engines; 0: automatic */
    bool allow_fake;
    const char *log_format;
    const char *log_level;
};

struct child;
struct demand;
struct placement;
struct trim;

struct host {
    const struct host_config *config;
    struct loop *loop;
    struct rpc_client *registry;
    struct replica *replica;
    struct reporter *reporter;
    struct loop_timer *check; /* looks for versions to check */
    struct rpc_call *claim;
    uint32_t claim_number;
    uint64_t claimed_ms;    /* when that claim was last answered with a version; 0: not yet */
    struct child *children; /* utlist */
    size_t children_count;
    struct gateways gateways;
    unsigned cores;
    struct placement *placement;
    struct demand *demand;
    struct trim *trim;          /* a look at the cache under way, or NULL */
    struct msg_engine *engines; /* room for the report */
    bool stopping;
};

enum status host_init(struct host *h, const struct host_config *config, struct loop *l,
                      struct error *err) MUST_CHECK;
void host_finish(struct host *h);

/* For children: something about it has changed; a destroyed child has left the list already. */
void host_child_changed(struct host *h);
/* For children: the cache has grown, or a file of it is not used any more. */
void host_trim_cache(struct host *h);

#endif
