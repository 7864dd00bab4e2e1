/* main.c - the registry process: options, init, run, finish. */
#include "common/base/options.h"
#include "services/registry/registry.h"

#include <malloc.h>

static const struct option rows[] = {
    { "redis", OPT_AT(struct registry_config, redis), OPT_STR, "unix:redis.sock",
      "where Redis is: unix:PATH or tcp:HOST:PORT" },
    { "rpc", OPT_AT(struct registry_config, rpc), OPT_STR, "tcp://127.0.0.1:5571",
      "ZeroMQ endpoint for requests" },
    { "events", OPT_AT(struct registry_config, events), OPT_STR, "tcp://127.0.0.1:5572",
      "ZeroMQ endpoint for changes of the catalog" },
    OPTIONS_LOG(struct registry_config),
    OPTIONS_END,
};

/* Chunks go back to the system at once, and threads share one heap: the registry is small. */
static void keep_memory_small(void)
{
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
    mallopt(M_TRIM_THRESHOLD, 512 << 10);
}

static void stop(void *registry)
{
    log_info("stopping");
    registry_stop(registry);
}

int main(int argc, char **argv)
{
    struct registry_config config;
    struct registry registry;
    struct error err;
    keep_memory_small();
    options_start(rows, "registry", "keeps models, versions, artifacts and jobs in Redis", argc,
                  argv, &config);
    struct loop *loop = loop_create();
    if (registry_init(&registry, &config, loop, &err))
        die("%s", err.text);
    loop_on_stop_signal(loop, stop, &registry);
    log_info("listening", LOG_S("rpc", rpc_server_endpoint(registry.rpc)),
             LOG_S("events", config.events));
    loop_run(loop);
    registry_finish(&registry);
    loop_destroy(loop);
    log_info("stopped");
    return 0;
}
