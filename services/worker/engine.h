/* engine.h - an engine process: one model version, loaded, pulling jobs from every gateway. */
#ifndef SERVICES_WORKER_ENGINE_H
#define SERVICES_WORKER_ENGINE_H

#include "common/base/options.h"
#include "services/worker/model.h"

#define ENGINE_PIPE_FD 3 /* the socket pair to the host */

struct engine_config {
    const char *model;
    uint32_t version;
    struct model_source source;
    const char *worker; /* the host's process id string */
    bool check;         /* load, describe, wait for the end */
    const char *log_format;
    const char *log_level;
};

/* Runs until it is told to leave; the exit status. */
int engine_main(const struct engine_config *config);

#endif
