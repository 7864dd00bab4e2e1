/* awake.h - no core sleeps deeply while requests come fast.
 *
 * Client, gateway and engine wait for each other in turns, and whoever has something for one that
 * sleeps wakes its core.  A halted core of a virtual machine costs its waker some 25 us, a sixth of what a
 * batch of 32 small requests takes; a core of real hardware in a deep state answers as much later.
 * Linux lets a process bound that latency (PM QoS: while /dev/cpu_dma_latency is open, the number in it
 * holds for all cores).  So the gateway asks for 0 while AWAKE_RATE requests come in a second, and for
 * nothing else: cores without work then poll instead of halting, which takes power, or the hypervisor's time.
 * That device belongs to root, and containers have none: where it cannot be opened all is as it was.
 */
#ifndef SERVICES_GATEWAY_AWAKE_H
#define SERVICES_GATEWAY_AWAKE_H

#include "common/net/loop.h"

#define AWAKE_DEVICE     "/dev/cpu_dma_latency"
#define AWAKE_RATE       5000 /* requests per second from which on cores are kept awake, */
#define AWAKE_LEAST      1000 /* and below which they may sleep again */
#define AWAKE_WINDOW_MS  20   /* in which the first is counted, */
#define AWAKE_RELEASE_MS 200  /* and the second */

struct awake {
    int device; /* -1: there is none for us */
    bool held;
    uint64_t window_ms; /* when the present window began, */
    uint64_t count;     /* and the count of requests then */
    uint64_t latest;    /* count */
    struct loop *loop;
    struct loop_timer *timer; /* runs while held: it ends also when nothing comes any more */
};

/* device: AWAKE_DEVICE, or NULL to leave the cores alone. */
void awake_init(struct awake *a, struct loop *l, const char *device);
void awake_finish(struct awake *a);
/* Once per turn.  requests: a count that only grows. */
void awake_note(struct awake *a, uint64_t requests);

/* Pure: what shall be, when a window of so many ms has brought so many requests. */
bool awake_choose(bool held, uint64_t requests, uint64_t span_ms);

#endif
