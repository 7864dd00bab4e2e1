/* queue_parts.h - what queue.c (requests, engines), lane.c, waiting.c, batch.c (jobs)
 * and results.c share.  Private to these. */
#ifndef SERVICES_GATEWAY_QUEUE_PARTS_H
#define SERVICES_GATEWAY_QUEUE_PARTS_H

#include "services/gateway/queue.h"
#include "services/gateway/recent.h"

#include <stdalign.h>
#include <uthash.h>
#include <utlist.h>

struct job {
    UT_hash_handle hh;
    uint64_t id;
    uint32_t attempt;
    struct engine_link *engine;
    uint64_t sent_us;
    struct job *next, *prev; /* of the engine */
    bool suspect;            /* nothing else may be with its engine */
    size_t count;
    uint32_t rows;
    struct {
        struct inference *request; /* NULL: cancelled or expired meanwhile */
        uint32_t rows;
    } items[];
};

#define LINE_BYTES 64

/* An engine is in one list of its lane; engine_place() in queue.c moves it.  One line of memory. */
struct engine_link {
    alignas(LINE_BYTES) struct engine_link *next;
    struct engine_link *prev;
    struct engine_link **list;
    struct lane *lane;
    void *peer;
    struct job *jobs;   /* the oldest first */
    uint64_t result_us; /* when the last result came; 0: never */
    uint16_t max_batch;
    uint16_t credit;
    uint8_t ahead, ahead_max; /* jobs that may still, and ever, be sent beyond the credit */
    bool leaving;
};
static_assert(sizeof(struct engine_link) == LINE_BYTES, "more than a line");
static_assert(BATCH_MAX <= UINT16_MAX && CREDIT_MAX <= UINT16_MAX && AHEAD_MAX <= UINT8_MAX,
              "what an engine has does not fit");

struct lane_key {
    char model[MAX_NAME + 1];
    uint32_t version;
};

struct waiting {
    struct inference *list[PRIORITY_CLASSES]; /* each in order */
    uint64_t pass[PRIORITY_CLASSES];
    uint64_t pass_now; /* of the class that was served last */
    uint64_t count, rows, bytes;
    uint32_t copies, copied_rows; /* of these */
};

/* What each request touches comes first, together: with thousands of versions in use its cost is
 * that of the lines of memory that no cache has. */
#define LANE_HOT_LINES 8 /* up to `signature` */
#define SHORT_NAME     24

struct lane {
    alignas(LINE_BYTES) struct waiting waiting;
    struct engine_link *ready; /* have credit, those that have had it longest first */
    struct engine_link *ahead; /* have none, but take a job in advance */
    struct engine_link *busy;  /* take no more jobs */
    size_t engines_count;      /* not leaving */
    struct lane *next_dirty;
    bool is_dirty;
    uint32_t max_batch; /* of the engine that said hello last */
    struct lane_options options;
    uint64_t job_us, job_rows; /* moving averages, both times 8: what a job takes, and brings */
    const struct msg_tensor *outputs; /* of signature */
    size_t outputs_count;
    struct {
        uint32_t datatype;
        uint32_t name_len; /* 0: the name is not short */
        char name[SHORT_NAME];
    } first_output; /* outputs[0] once more: to look at it here costs two lines less */
    struct lane_counts counts;
    struct lane_meters meters;
    struct recent recent; /* requests that were submitted */
    struct msg_hello signature;
    uint64_t rejected;
    uint32_t holds;        /* of pool threads */
    bool gone;             /* its version was, at the last look */
    struct heap_node wake; /* when a batch that waits to grow goes out */
    struct lane_key key;
    UT_hash_handle hh;
    struct buf packed; /* what signature borrows from */
    struct msg_decoder decoder;
};
static_assert(offsetof(struct lane, signature) <= LANE_HOT_LINES * LINE_BYTES,
              "what a request touches does not fit");

/* waiting.c */
void waiting_add(struct waiting *w, struct inference *r, bool ahead);
void waiting_remove(struct waiting *w, struct inference *r);
struct inference *waiting_first(const struct waiting *w); /* whose turn it is; NULL: nobody waits */
void waiting_served(struct waiting *w, const struct inference *r); /* it was, and is removed */
uint64_t waiting_oldest_us(const struct waiting *w);
/* Whom, and what, r would have to wait for: a request hardly waits for copies. */
uint64_t waiting_before(const struct waiting *w, const struct inference *r, uint64_t *rows);

/* lane.c */
/* The same for the result of a job of so many rows. */
void lane_expect_result(const struct lane *l, uint32_t rows);
void lane_mark(struct queue *q, struct lane *l); /* to be looked at in queue_dispatch */
void lane_destroy(struct queue *q, struct lane *l);
/* What passes at most, at the usual pace, from the head of the queue to the answer: a job that is
 * running, and one's own.  0: no idea. */
uint64_t lane_work_us(const struct lane *l);
/* How long so many rows will keep the engines busy; 0: no idea. */
uint64_t lane_rows_us(const struct lane *l, uint64_t rows);
/* Its jobs are so short that the way to the engine and back counts. */
bool lane_is_quick(const struct lane *l, uint64_t job_us); /* its jobs take no longer */
/* A job of so many rows took so long. */
void lane_learn(struct lane *l, uint64_t job_us, uint32_t rows);

/* queue.c */
void request_move(struct queue *q, struct inference *r, enum inference_state to, bool ahead);
void request_finish(struct queue *q, struct inference *r, const struct outcome *outcome);
void request_fail(struct queue *q, struct inference *r, enum status st, const char *text);
/* Puts the engine at the end of the list where its credit belongs. */
void engine_place(struct engine_link *e);

/* batch.c */
void job_destroy(struct queue *q, struct job *j);
/* Why the requests of a job go back to where they waited. */
enum requeue {
    REQUEUE_UNTRIED, /* no fault of theirs */
    REQUEUE_FAILED,  /* one of them may have spoiled it for all */
    REQUEUE_KILLED,  /* one of them may have crashed the engine */
};
/* Puts the requests of a job back, ahead of newer work and in their order. */
void job_requeue(struct queue *q, struct job *j, enum requeue why);
void job_fail(struct queue *q, struct job *j, enum status st, const char *text);

#endif
