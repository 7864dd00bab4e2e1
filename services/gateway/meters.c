/* meters.c - the names of measurements per version. */
#include "services/gateway/gateway.h"

#include <stdio.h>

struct metric *lane_series(const struct lane *l, struct metric_family *f)
{
    char version[16];
    snprintf(version, sizeof version, "%u", lane_version(l));
    struct metric_label labels[] = { { "model", lane_model(l) }, { "version", version } };
    return metrics_series(f, labels, 2);
}
