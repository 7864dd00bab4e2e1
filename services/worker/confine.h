/* confine.h - what an engine process gives up, and what ends it. */
#ifndef SERVICES_WORKER_CONFINE_H
#define SERVICES_WORKER_CONFINE_H

#include <stdbool.h>

/* It runs a stranger's model: no core files of other people's data, no new rights by exec. */
void confine(void);
/* The host's death ends this process too, while it loads; later it finishes its work first.
 * host_fd: its end of the pipe.  false: the host was gone before it could be watched. */
bool confine_watch_host(int host_fd);

#endif
