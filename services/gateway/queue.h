/* queue.h - the job queues: credit, batches, leases.  Pure: no sockets, no HTTP, no clock.
 *
 * One queue per model version.  A request (struct inference) is in one state, and the list
 * that holds it is the state; one function moves it:
 *
 *     WAITING --dispatch--> RUNNING --result--> (finished)
 *        ^                     |
 *        +---- engine died ----+      ahead of newer work; alone, if it was in a batch
 *
 * An engine grants credit; a job is sent only against credit, to the engine that has had it
 * longest.  When no engine has any and jobs are short, a batch that could not grow goes to one that
 * runs another, if it takes jobs ahead: so it need not wait for the next while it has nothing to do.
 * A job is (id, attempt): a result whose job is not out with that engine is late and dropped.
 *
 * A request that was with an engine when it crashed is a suspect: from then on it runs alone,
 * on an engine that has nothing else to do, so that a second crash names the guilty one.  After
 * POISON_KILLS it is finished with POISON.
 */
#ifndef SERVICES_GATEWAY_QUEUE_H
#define SERVICES_GATEWAY_QUEUE_H

#include "common/base/heap.h"
#include "common/msg/codec.h"
#include "common/msg/tensor.h"
#include "common/net/sock.h"
#include "services/gateway/slab.h"

#define POISON_KILLS     2
#define PRIORITY_CLASSES 4 /* 1 is the highest; larger numbers count as the lowest */
#define PRIORITY_DEFAULT 2
#define CREDIT_MAX       64     /* that one engine may grant */
#define AHEAD_MAX        4      /* jobs beyond the credit, of one engine */
#define AHEAD_JOB_US     5000   /* jobs that take longer are not sent ahead: it would gain little */
#define SOON_JOB_US      300    /* the answer to a job that takes no longer is soon there */
#define SOON_US          100    /* and is worth looking for, without sleeping, for so long */
#define BATCH_MAX        4096   /* rows in one job */
#define ENGINES_MAX      4096   /* of one gateway */
#define LANES_MAX        100000 /* that only engines have told of: others are in the catalog */

struct queue;
struct lane;

/* What a finished request is told.  Everything is good until the callback returns. */
struct outcome {
    enum status status;
    const char *text;                 /* when status is not OK */
    const struct msg_tensor *outputs; /* shapes as for this request alone */
    const struct bytes *data;         /* of each output */
    const struct frame *frames;       /* of each output: what data is a part of */
    size_t outputs_count;
    uint64_t compute_us;
    uint64_t transfer_us; /* to the engine and back */
};

struct inference;
typedef void inference_done_fn(struct inference *r, const struct outcome *outcome);

enum inference_state { INFERENCE_IDLE, INFERENCE_WAITING, INFERENCE_RUNNING };

struct inference {
    /* the caller's, before queue_submit */
    struct lane *lane;                     /* set by submit */
    struct msg_tensor inputs[MAX_TENSORS]; /* names borrow from the lane's signature */
    int64_t shapes[MAX_TENSORS][MAX_RANK];
    struct frame data[MAX_TENSORS]; /* inputs_count are initialised; owned */
    size_t inputs_count;
    uint32_t rows;     /* first dimension; 1 when the model is not batchable */
    bool alone;        /* shares its job with no other request; the queue sets it too */
    bool pinned;       /* the client named the version: never moved to another */
    bool copy;         /* nobody waits for it: counts as no request, and ends with its engine */
    uint32_t priority; /* 0: PRIORITY_DEFAULT */
    uint64_t deadline_ms;
    inference_done_fn *done;
    void *user;

    /* read-only */
    enum inference_state state;
    uint64_t submitted_us;
    uint64_t sent_us; /* when it last left the queue, 0: never */

    /* private */
    struct inference *next, *prev;
    struct heap_node deadline;
    struct job *job;
    uint32_t kills;
    uint64_t bytes;
};

/* How a queue speaks to the world. */
struct queue_events {
    /* Sends the job of so many rows to the engine.  frames: the input tensors, moved out on OK.
     * Any other status: nothing was sent; the engine is considered gone. */
    enum status (*send)(void *arg, void *peer, const struct msg_job *job, uint32_t rows,
                        struct frames *frames);
    /* No job is out any more with an engine that is leaving. */
    void (*parted)(void *arg, void *peer);
};

struct queue_limits {
    uint32_t waiting_max;       /* requests per lane: BUSY beyond */
    uint64_t waiting_bytes_max; /* per lane */
};

struct queue {
    struct queue_limits limits;
    struct queue_events events;
    void *arg;
    struct lane *lanes; /* hash by model and version */
    bool finished;      /* there are no lanes any more */
    struct slab lane_memory, engine_memory;
    struct lane *dirty; /* lanes to look at in queue_dispatch */
    struct heap deadlines;
    struct job *jobs; /* hash by id */
    uint64_t next_job;
    struct inference *pool; /* free requests, kept for the next */
    size_t pool_count;
    struct inference **batch; /* room for the requests of a job that is being made */
    struct heap wakes;        /* lanes that wait for a larger batch */
    uint64_t soon_us;         /* until then the answer to a job is likely */
    uint64_t submitted, requeued, late, poisoned, jobs_sent, rows_sent; /* counts */
};

struct engine_link; /* an engine, as the queue knows it */

void queue_init(struct queue *q, const struct queue_limits *limits,
                const struct queue_events *events, void *arg);
void queue_finish(struct queue *q); /* open requests end with CANCELLED */

/* The lane of a version; made when new. */
struct lane *queue_lane(struct queue *q, struct bytes model, uint32_t version);
/* NULL: there is none. */
struct lane *queue_find_lane(struct queue *q, struct bytes model, uint32_t version);
/* The newest version of the model that has engines; 0: none has. */
uint32_t queue_newest(const struct queue *q, struct bytes model);
/* A request for the lane will be submitted in a moment: the memory that this takes is fetched
 * meanwhile, first the lane's own, then what it points to. */
void lane_expect(const struct lane *l);
void lane_expect_job(const struct lane *l);
size_t lane_engines(const struct lane *l); /* that take jobs */
size_t lane_waiting(const struct lane *l);
uint64_t lane_oldest_us(const struct lane *l); /* clock_us() of who has waited longest; 0: nobody */
uint32_t lane_max_batch(const struct lane *l); /* rows in one job; 0: no engine has told yet */
uint32_t lane_delay_us(const struct lane *l);  /* see struct lane_options */
/* How long the rows that wait will keep the engines busy, without copies, as far as can be known;
 * 0: no idea. */
uint64_t lane_wait_us(const struct lane *l);
struct lane_options {
    uint32_t max_batch;   /* rows in one job, 0: as the engines say */
    uint32_t delay_us;    /* how long a batch that is not full may wait for more */
    uint32_t waiting_max; /* requests that may wait, 0: the queue's own limit */
};
void lane_configure(struct queue *q, struct lane *l, const struct lane_options *options);
/* Requests that wait or run, and were submitted before then; `most` of each kind are enough. */
uint64_t lane_older(const struct lane *l, uint64_t before_us, uint64_t most);
/* Requests that were submitted in the last minute. */
uint64_t lane_recent(struct lane *l, uint64_t now_us);
/* Sets rows, and alone, of a request whose inputs are those of the lane's signature.  Rows can be
 * batched only when all inputs agree on their number; a model with one input that has none, or a
 * fixed number, may still know what to do with the request: alone.  true: they can. */
bool lane_count_rows(const struct lane *l, struct inference *r);
uint32_t lane_version(const struct lane *l);
const char *lane_model(const struct lane *l);
/* The tensors that the engines of this version take and give; counts are 0 before the first. */
const struct msg_hello *lane_signature(const struct lane *l);
/* Kept by the first call: a version is immutable.  CONFLICT: it is another one now. */
enum status lane_set_signature(struct lane *l, const struct msg_tensor *inputs, size_t inputs_count,
                               const struct msg_tensor *outputs, size_t outputs_count) MUST_CHECK;
/* Why a batch took no more: nothing else waited; it was full; the next request has another shape;
 * the request shares with nobody. */
#define BATCH_END_LIST(X) \
    X(DRAINED, "drained") \
    X(FULL, "full")       \
    X(SHAPE, "shape")     \
    X(ALONE, "alone")

enum batch_end {
#define X(name, text) BATCH_##name,
    BATCH_END_LIST(X)
#undef X
        BATCH_ENDS
};

/* Why a request was not taken. */
#define REFUSAL_LIST(X) \
    X(COUNT, "count")   \
    X(BYTES, "bytes")   \
    X(WAIT, "wait")

enum refusal {
#define X(name, text) REFUSED_##name,
    REFUSAL_LIST(X)
#undef X
        REFUSALS
};

/* Counts since the lane was made; the queue keeps the jobs', api/infer.c the requests'. */
struct lane_counts {
    uint64_t jobs, rows;
    uint64_t ends[BATCH_ENDS];
    uint64_t refused[REFUSALS];
    uint64_t succeeded, succeeded_us;
    uint64_t failed, failed_us;
    uint64_t queue_us, compute_us, transfer_us, answer_us; /* of those that succeeded */
    uint64_t last_us; /* clock_us() of the last job that was answered */
    uint64_t crashes; /* of engines that had jobs */
    struct lane_batch {
        uint64_t jobs, compute_us, transfer_us;
    } *batches; /* by rows - 1 */
    size_t batches_count;
};
struct lane_counts *lane_counts(struct lane *l);
/* Of those that failed: what the model itself has refused (4xx).  Seldom touched. */
uint64_t *lane_rejected(struct lane *l);

/* Histograms of one version; the queue makes room for them and does not look at them. */
struct guard_counts;
struct lane_meters {
    struct metric *total, *wait, *compute, *transfer, *rows;
    struct guard_counts *guard; /* NULL: no rollout brings it in */
};
struct lane_meters *lane_meters(struct lane *l);

struct inference *inference_create(struct queue *q);       /* zeroed, but for the shapes */
void inference_drop(struct queue *q, struct inference *r); /* not submitted */

/* BUSY with *err: the lane is full, or the deadline would pass while the request waits; nothing
 * was done.  On OK the request belongs to the queue
 * until done is called, which frees it afterwards. */
enum status queue_submit(struct queue *q, struct lane *l, struct inference *r, uint64_t now_us,
                         struct error *err) MUST_CHECK;
/* Nobody wants the answer: done is not called. */
void queue_cancel(struct queue *q, struct inference *r);
/* Moves what waits, and is not pinned, to another lane of the same model, ahead of what is newer
 * there.  What the other version cannot take as it is ends with UNAVAILABLE: ask again. */
void queue_move(struct queue *q, struct lane *from, struct lane *to);
/* A pool thread works with the lane: it stays until as many releases, which may come after
 * queue_finish. */
void lane_hold(struct lane *l);
void lane_release(const struct queue *q, struct lane *l);
/* No engine, no request and no holder has it.  Others may still point to it: forget.c. */
bool lane_unused(const struct lane *l);
/* Is it to be gone, by what is known now?  true: it was so the last time, too. */
bool lane_gone(struct lane *l, bool gone);
/* It is unused, and nothing points to it any more. */
void queue_forget(struct queue *q, struct lane *l);
typedef void queue_lane_fn(void *arg, struct lane *l);
void queue_each_lane(struct queue *q, queue_lane_fn *each, void *arg);
size_t queue_lanes(const struct queue *q);
/* Is an answer so near that to sleep, and to be woken, would cost more than to look for it? */
bool queue_answer_is_near(const struct queue *q, uint64_t now_us);
/* Calls each for the lanes where requests wait, but no engine is. */
void queue_each_stranded(struct queue *q, queue_lane_fn *each, void *arg);

/* peer: the caller's handle, given back in send. */
struct engine_link *queue_engine_add(struct queue *q, struct lane *l, void *peer,
                                     uint32_t max_batch, uint32_t credit);
/* Beyond its credit it takes so many jobs while it runs others. */
void queue_engine_ahead(struct engine_link *e, uint32_t jobs);
void queue_engine_credit(struct queue *q, struct engine_link *e, uint32_t credit);
void queue_engine_leave(struct queue *q, struct engine_link *e); /* BYE: no more jobs */
/* The engine is gone.  crashed: what it had may be the reason. */
void queue_engine_remove(struct queue *q, struct engine_link *e, bool crashed);
uint64_t queue_engine_job(const struct engine_link *e);   /* a job that is out, 0: none */
bool queue_engine_suspected(const struct engine_link *e); /* that job has a suspect */

/* The result of a job.  frames: the outputs.  NOT_FOUND: late, dropped.  INVALID: it does not
 * fit the job or the signature; a request that was alone in it ends with INTERNAL, the others
 * are tried alone. */
enum status queue_result(struct queue *q, struct engine_link *e, uint64_t now_us,
                         const struct msg_result *result, const struct frame *frames,
                         size_t frames_count, struct error *err);

/* Sends what can be sent, but nothing whose deadline has passed; once per turn of the loop.
 * When to call it again for batches that wait to grow (clock_us()), or 0. */
uint64_t queue_dispatch(struct queue *q, uint64_t now_us);
/* Ends requests whose deadline has passed: TIMEOUT; or UNAVAILABLE when they have waited for an
 * engine that never came.  The next deadline, or 0 when there is none. */
uint64_t queue_expire(struct queue *q, uint64_t now_ms);

#endif
