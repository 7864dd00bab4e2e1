/* main.c - maas-health: asks the registry once whether a process is healthy; for the health
 * checks of containers.  Exit status 0: it is; 1: it is not, and a sentence says why. */
#include "common/base/options.h"
#include "common/net/rpc.h"

#include <stdio.h>
#include <unistd.h>

struct config {
    const char *registry;
    const char *role;
    const char *name;
    uint32_t timeout_ms;
};

static const struct option rows[] = {
    { "registry", OPT_AT(struct config, registry), OPT_STR, "tcp://127.0.0.1:5571",
      "ZeroMQ endpoint of the registry's requests" },
    { "role", OPT_AT(struct config, role), OPT_STR, "registry",
      "what is asked about: registry, gateway, worker or trainer" },
    { "name", OPT_AT(struct config, name), OPT_STR, "",
      "the host it runs on; this host when empty" },
    { "timeout-ms", OPT_AT(struct config, timeout_ms), OPT_U32, "3000",
      "how long the registry may take to answer" },
    OPTIONS_END,
};

struct health {
    struct loop *loop;
    int exit_status;
};

static void on_answer(void *arg, const struct rpc_reply *reply)
{
    struct health *h = arg;
    h->exit_status = reply->status ? 1 : 0;
    if (reply->status)
        fprintf(stderr, "unhealthy: %s\n", reply->text);
    loop_stop(h->loop);
}

int main(int argc, char **argv)
{
    struct config config;
    char host[MAX_NAME + 1] = "";
    options_start(rows, "health", "asks the registry whether a process is healthy", argc, argv,
                  &config);
    enum role role = role_parse(bytes_str(config.role));
    if (role == ROLE_NONE)
        die("\"%s\" is not a role: registry, gateway, worker or trainer", config.role);
    if (gethostname(host, 65) != 0)
        die("the host's name is not known; give it with --name");
    if (config.name[0] && bytes_copy_str(bytes_str(config.name), host, sizeof host))
        die("a host name has at most %d bytes", MAX_NAME);
    struct health h = { loop_create(), 1 };
    struct rpc_client *registry = rpc_client_create(h.loop, config.registry);
    struct msg_name body = { .name = bytes_str(host), .role = (uint32_t)role };
    if (!rpc_call(registry, MSG_HEALTH, &body, NULL, config.timeout_ms, on_answer, &h))
        die("the question cannot be sent");
    loop_run(h.loop);
    rpc_client_destroy(registry);
    loop_destroy(h.loop);
    if (h.exit_status == 0)
        printf("%s on %s: healthy\n", config.role, host);
    return h.exit_status;
}
