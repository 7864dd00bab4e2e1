/* engine.h - an engine process: one model version, loaded, pulling jobs from every gateway. */
#ifndef SERVICES_WORKER_ENGINE_H
#define SERVICES_WORKER_ENGINE_H

#include "common/base/options.h"

#define ENGINE_PIPE_FD 3 /* the socket pair to the host */

struct engine_config {
    const char *model;
    uint32_t version;
    const char *format;
    const char *path;   /* of the artifact */
    const char *digest; /* that the artifact must have, hex */
    const char *worker; /* the host's process id string */
    uint32_t threads;
    uint32_t max_batch;
    bool check; /* load, describe, end */
    bool allow_fake;
    const char *log_format;
    const char *log_level;
};

/* Runs until it is told to leave; the exit status. */
int engine_main(const struct engine_config *config);

#endif
