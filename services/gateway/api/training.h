/* training.h - training jobs as clients see them: as a record, and as a stream of events. */
#ifndef SERVICES_GATEWAY_API_TRAINING_H
#define SERVICES_GATEWAY_API_TRAINING_H

#include "services/gateway/api/api.h"

/* Appends the job as a JSON object; whole: with what lists leave out. */
void training_put(struct buf *out, const struct msg_training *t, bool whole);

/* ---- event_text.c ---- */

/* What a stream of events has said.  Zeroed: nothing yet. */
struct event_mark {
    uint64_t epoch; /* the last one */
    bool moved;     /* the rest is there */
    uint32_t state, shown_epoch, epochs, attempts;
    double progress;
    uint64_t since_ms; /* wall time of the first progress that was seen of this attempt */
    double since;      /* and that progress */
};

/* Appends what is new since the mark (WHATWG HTML, section 9.2): "epoch" for each epoch, "progress",
 * and "end" with the whole record.  true: that was the end. */
bool event_text(struct buf *out, struct event_mark *mark, const struct msg_training *t,
                uint64_t wall_ms);

#endif
