/* awake.c - see awake.h. */
#include "services/gateway/awake.h"

#include <fcntl.h>
#include <unistd.h>

#define NO_BOUND INT32_MAX /* us; as good as none */

bool awake_choose(bool held, uint64_t requests, uint64_t span_ms)
{
    return requests * 1000 >= (held ? AWAKE_LEAST : AWAKE_RATE) * span_ms;
}

static void hold(struct awake *a, bool on)
{
    int32_t latency_us = on ? 0 : NO_BOUND;
    if (pwrite(a->device, &latency_us, sizeof latency_us, 0) != sizeof latency_us)
        return; /* asked again with the next window */
    a->held = on;
    if (on)
        loop_timer_start(a->timer, AWAKE_RELEASE_MS, AWAKE_RELEASE_MS);
    else
        loop_timer_stop(a->timer);
}

static void end_window(struct awake *a)
{
    uint64_t now = loop_now_ms(a->loop);
    bool wanted = awake_choose(a->held, a->latest - a->count, now - a->window_ms);
    a->window_ms = now;
    a->count = a->latest;
    if (wanted != a->held)
        hold(a, wanted);
}

static void on_timer(void *arg)
{
    end_window(arg);
}

void awake_note(struct awake *a, uint64_t requests)
{
    a->latest = requests;
    if (!a->held && a->device >= 0 && loop_now_ms(a->loop) - a->window_ms >= AWAKE_WINDOW_MS)
        end_window(a);
}

void awake_init(struct awake *a, struct loop *l, const char *device)
{
    *a = (struct awake){ .device = device ? open(device, O_WRONLY | O_CLOEXEC) : -1, .loop = l };
    a->timer = loop_timer_create(l, on_timer, a);
    a->window_ms = loop_now_ms(l);
}

void awake_finish(struct awake *a)
{
    if (a->device >= 0)
        close(a->device); /* which gives the cores free */
    a->device = -1;
    loop_timer_destroy(a->timer);
}
