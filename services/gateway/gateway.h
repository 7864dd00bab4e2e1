/* gateway.h - the gateway: HTTP in front, the job queues behind, the catalog beside.
 *
 * It touches neither Redis nor a model.  Everything runs on one loop thread.
 */
#ifndef SERVICES_GATEWAY_GATEWAY_H
#define SERVICES_GATEWAY_GATEWAY_H

#include "common/base/metrics.h"
#include "common/net/replica.h"
#include "common/net/report.h"
#include "services/gateway/awake.h"
#include "services/gateway/http/http.h"
#include "services/gateway/queue.h"
#include "services/gateway/shadow.h"

struct gateway_config {
    const char *http;
    const char *jobs;
    const char *jobs_advertise;
    const char *registry;
    const char *events;
    uint64_t max_body_bytes;
    uint64_t max_bodies_bytes;
    uint64_t max_artifact_bytes;
    uint32_t max_connections;
    uint32_t queue_max;
    uint64_t queue_bytes;
    uint32_t timeout_ms;
    uint32_t read_timeout_ms;
    uint32_t idle_timeout_ms;
    uint32_t drain_accept_ms;
    uint32_t drain_ms;
    uint32_t forget_ms;
    bool keep_awake;
    const char *log_format;
    const char *log_level;
};

struct catch_up;
struct engines;
struct guarded;
struct held;
struct hosts;
struct suite_view;

struct gateway {
    const struct gateway_config *config;
    struct loop *loop;
    struct http_server *http;
    struct queue queue;
    struct engines *engines;
    struct shadows *shadows; /* copies of requests */
    struct hosts *hosts;     /* of workers: they start engines that requests wait for */
    struct rpc_client *registry;
    struct replica *replica;
    struct reporter *reporter;
    struct guarded *guarded;  /* versions that rollouts bring in */
    struct suite_view *suite; /* what the registry last said of the processes */
    struct held *held;        /* requests that came before their model was loaded: api/hold.c */
    size_t held_count;
    struct catch_up *behind;    /* answers that wait for the catalog: api/catch_up.c */
    size_t uploads;             /* under way: api/upload.c */
    size_t downloads;           /* api/artifact.c */
    size_t assemblies;          /* api/assemble.c */
    size_t event_streams;       /* api/events.c */
    size_t backups;             /* and restores: api/backup.c */
    bool cut_off;               /* route.c: no news from the registry */
    bool changed;               /* engines or the catalog have: who is held may go on */
    struct known_route *routes; /* route.c: what it has found since the last change */
    const char *only_model;     /* the same for requests that name none, or NULL */
    uint64_t seen_submitted;    /* of the queue's count, after the last turn */
    unsigned gathering;         /* turns in a row that have brought requests */
    struct awake awake;
    struct loop_timer *deadlines;
    uint64_t deadline_ms;    /* when that timer will fire */
    struct loop_timer *wake; /* for batches that wait to grow */
    struct loop_timer *forget;
    struct loop_timer *drain;
    uint64_t drain_since_ms;     /* 0: not draining */
    char jobs[MAX_ENDPOINT + 1]; /* where engines are to connect */
};

static inline bool gateway_draining(const struct gateway *g)
{
    return g->drain_since_ms != 0;
}

enum status gateway_init(struct gateway *g, const struct gateway_config *config, struct loop *l,
                         struct error *err) MUST_CHECK;
void gateway_finish(struct gateway *g);

/* ---- engines.c: the jobs socket ---- */
struct engines *engines_create(struct gateway *g, struct error *err);
void engines_destroy(struct engines *e);
const char *engines_endpoint(const struct engines *e);
enum status engines_send(void *arg, void *peer, const struct msg_job *job, uint32_t rows,
                         struct frames *frames);
void engines_parted(void *arg, void *peer);
/* To any peer of the jobs socket.  NOT_FOUND: it is gone; BUSY: it does not read. */
enum status engines_tell(struct engines *e, struct bytes route, enum msg_kind kind,
                         const void *body) MUST_CHECK;

/* ---- route.c: which version serves ---- */
/* What a request asks for. */
struct route_ask {
    struct bytes model;
    uint32_t version;                /* 0: the plain name */
    const struct http_request *http; /* its id, or a header of it, decides where several share */
};
/* Where it goes. */
struct routed {
    struct lane *lane;
    bool shadowed; /* other versions are to get a copy */
    bool loading;  /* the version has not been loaded once: nobody knows its inputs */
};
/* NOT_FOUND; CONFLICT (not deployed, cannot be loaded); UNAVAILABLE (no catalog yet, or loading)
 * with *err saying what to do. */
enum status route_find(struct gateway *g, const struct route_ask *ask, struct routed *to,
                       struct error *err) MUST_CHECK;
/* The lane of the version that has most of the requests beside this one, or had them before it; NULL:
 * there is none, or its inputs are not known. */
struct lane *route_beside(struct gateway *g, struct lane *l);
/* The version that the plain name serves now, the one with the largest share or what stands in for
 * it; 0: none. */
uint32_t route_serving(struct gateway *g, const struct catalog_model *m);
/* An engine serves the version, or would come for a request: it is known to load, and workers start
 * engines on demand. */
bool route_ready(struct gateway *g, const struct catalog_model *m, uint32_t version);
/* The first deployed model that is not ready; NULL: all are. */
const struct catalog_model *route_unready(struct gateway *g);
/* Engines or the catalog have changed: requests that wait where nobody will come move on. */
void route_refresh(struct gateway *g);
/* To be called now and then: is the registry still heard? */
void route_watch(struct gateway *g);
/* The lane of a version, made with what its deployment says when new. */
struct lane *route_lane(struct gateway *g, struct bytes model, uint32_t version);
void route_configure(struct gateway *g); /* the catalog has changed: so may limits of batches */
void route_forget(struct gateway *g);    /* what is remembered; as for an end */
/* The only deployed model, for a request that names none.  INVALID: there are several or none. */
enum status route_only_model(struct gateway *g, struct bytes *name, struct error *err) MUST_CHECK;

/* ---- meters.c: measurements per version ---- */
/* Where the time of a request has gone that was answered. */
struct meter_times {
    uint64_t sent_us;  /* clock_us() when it left the queue */
    uint64_t queue_us; /* before that */
    uint64_t compute_us, transfer_us;
    uint64_t answer_us; /* until the answer was written */
    uint64_t total_us;  /* from the end of the request on */
};
void meter_success(struct lane *l, const struct meter_times *t);
void meter_failure(struct lane *l, enum status st, uint64_t total_us);
void meter_gone(struct lane *l, uint64_t total_us); /* the client did not wait for the answer */
void meter_refused(struct lane *l);                 /* as in guard_count_refused */
void meter_batch(struct lane *l, uint32_t rows);
/* Appends, as Prometheus text, what lanes count themselves. */
void meter_print(struct queue *q, struct buf *out);

void meter_forget(struct lane *l); /* its series are dropped */

/* ---- forget.c ---- */
/* To be called now and then: drops the lanes of versions that were gone at the call before, too. */
void forget_gone(void *g);

/* ---- suite_view.c: the processes that the registry knows ---- */
struct suite_view *suite_view_create(void);
void suite_view_put(struct suite_view *v, const struct msg_suite *suite);
void suite_view_destroy(struct suite_view *v);
const struct msg_suite *suite_view_get(const struct suite_view *v);
/* What the workers say of their engines of a version. */
struct suite_engines {
    size_t loading;
    struct bytes reason; /* the words of one that has trouble; good until the next put */
};
struct suite_engines suite_engines(const struct suite_view *v, struct bytes model,
                                   uint32_t version);
/* Some worker of the pool starts engines only when requests wait for them. */
bool suite_on_demand(const struct suite_view *v, struct bytes pool);

#endif
