/* waiting.c - what waits in a lane: a list per priority class, served in fair shares.
 *
 * Stride scheduling: a class has a pass, the smallest pass is served next, and a row that is
 * served moves the pass of its class on by the class's stride.  So a class gets four times the
 * rows of the next lower one while both wait, and none waits forever.
 */
#include "services/gateway/queue_parts.h"

static const uint64_t stride[PRIORITY_CLASSES] = { 1, 4, 16, 64 };

static size_t class_of(const struct inference *r)
{
    uint32_t priority = r->priority ? r->priority : PRIORITY_DEFAULT;
    return priority < PRIORITY_CLASSES ? priority - 1 : PRIORITY_CLASSES - 1;
}

void waiting_add(struct waiting *w, struct inference *r, bool ahead)
{
    size_t class = class_of(r);
    if (!w->list[class] && w->pass[class] < w->pass_now)
        w->pass[class] = w->pass_now; /* having waited for nothing earns nothing */
    if (ahead)
        DL_PREPEND(w->list[class], r);
    else
        DL_APPEND(w->list[class], r);
    w->count++;
    w->rows += r->rows;
    w->bytes += r->bytes;
    if (r->copy) {
        w->copies++;
        w->copied_rows += r->rows;
    }
}

void waiting_remove(struct waiting *w, struct inference *r)
{
    DL_DELETE(w->list[class_of(r)], r);
    w->count--;
    w->rows -= r->rows;
    w->bytes -= r->bytes;
    if (r->copy) {
        w->copies--;
        w->copied_rows -= r->rows;
    }
}

uint64_t waiting_before(const struct waiting *w, const struct inference *r, uint64_t *rows)
{
    *rows = w->rows - (r->copy ? 0 : w->copied_rows);
    return w->count - (r->copy ? 0 : w->copies);
}

struct inference *waiting_first(const struct waiting *w)
{
    struct inference *first = NULL;
    uint64_t least = 0;
    for (size_t class = 0; class < PRIORITY_CLASSES; class ++) {
        if (w->list[class] && (!first || w->pass[class] < least)) {
            first = w->list[class];
            least = w->pass[class];
        }
    }
    return first;
}

void waiting_served(struct waiting *w, const struct inference *r)
{
    size_t class = class_of(r);
    w->pass_now = w->pass[class];
    w->pass[class] += stride[class] * r->rows;
}

uint64_t waiting_oldest_us(const struct waiting *w)
{
    uint64_t oldest = 0;
    for (size_t class = 0; class < PRIORITY_CLASSES; class ++)
        if (w->list[class] && (!oldest || w->list[class]->submitted_us < oldest))
            oldest = w->list[class]->submitted_us;
    return oldest;
}
