/* confine.c - see confine.h. */
#include "services/worker/confine.h"

#include "common/base/log.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

void confine(void)
{
    const struct rlimit none = { 0, 0 };
    if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        log_warn("the engine keeps rights that it does not need");
}

bool confine_watch_host(int host_fd)
{
    struct pollfd host = { .fd = host_fd, .events = POLLIN };
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    return poll(&host, 1, 0) < 0 || !(host.revents & POLLHUP);
}
