/* loop.h - one event loop per thread; hides libuv.
 *
 * Everything here belongs to the loop's thread, but for loop_post.  Handlers never
 * block: inference, training, hashing and disk go to loop_work.
 *
 * Sockets (sock.h) are drained in one place, the loop's prepare step; a service's
 * turn function runs right after, once per turn, when every read of the turn is in.
 */
#ifndef COMMON_NET_LOOP_H
#define COMMON_NET_LOOP_H

#include "common/base/status.h"

#include <stdint.h>

struct loop;
struct uv_loop_s;

typedef void loop_fn(void *arg);

struct loop *loop_create(void);
void loop_destroy(struct loop *l); /* everything on it must have been destroyed */
void loop_run(struct loop *l);     /* until loop_stop */
void loop_stop(struct loop *l);
struct uv_loop_s *loop_uv(struct loop *l); /* for code that speaks libuv itself: http, host */
uint64_t loop_now_ms(struct loop *l);      /* clock_ms() as of this turn; cheap */

/* Calls fn once per turn, after the sockets were drained.  One per loop. */
void loop_on_turn(struct loop *l, loop_fn *fn, void *arg);
/* Makes the loop take another turn without waiting for an event. */
void loop_again(struct loop *l);

/* SIGINT and SIGTERM call fn. */
void loop_on_stop_signal(struct loop *l, loop_fn *fn, void *arg);

/* From any thread: fn(arg) runs on the loop soon, in order.  BUSY: LOOP_POST_MAX wait already.
 * What still waits when the loop is destroyed never runs. */
#define LOOP_POST_MAX 4096
enum status loop_post(struct loop *l, loop_fn *fn, void *arg) MUST_CHECK;

/* Runs work(arg) on a pool thread, then done(arg) on the loop.  The pool is bounded; waiting
 * work is in order.  A loop that is destroyed waits for its work. */
void loop_work(struct loop *l, loop_fn *work, loop_fn *done, void *arg);

struct loop_timer;
struct loop_timer *loop_timer_create(struct loop *l, loop_fn *fn, void *arg); /* not started */
void loop_timer_start(struct loop_timer *t, uint64_t delay_ms, uint64_t repeat_ms);
bool loop_timer_active(const struct loop_timer *t);
void loop_timer_stop(struct loop_timer *t);
void loop_timer_destroy(struct loop_timer *t); /* NULL is fine; fn is not called again */

#endif
