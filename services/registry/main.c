/* main.c - the registry process: options, init, run, finish. */
#include "common/base/options.h"
#include "services/registry/registry.h"

#include <malloc.h>

static const struct option rows[] = {
    { "redis", OPT_AT(struct registry_config, redis.address), OPT_STR, "unix:redis.sock",
      "unix:PATH, tcp:HOST:PORT, redis[s]://[USER@]HOST[:PORT] or sentinel:HOST:PORT,.../NAME" },
    { "redis-user", OPT_AT(struct registry_config, redis.user), OPT_STR, "",
      "ACL user of Redis; empty: the default one" },
    { "redis-password-file", OPT_AT(struct registry_config, redis.password_file), OPT_STR, "",
      "file with the password for Redis, read for each connection; empty: none" },
    { "redis-sentinel-password-file", OPT_AT(struct registry_config, redis.sentinel_password_file),
      OPT_STR, "", "file with the password for the sentinels; empty: none" },
    { "redis-tls", OPT_AT(struct registry_config, redis.use_tls), OPT_BOOL, "false",
      "TLS with Redis and its sentinels, as rediss:// does" },
    { "redis-tls-ca", OPT_AT(struct registry_config, redis.tls.ca), OPT_STR, "",
      "file of the certificates to trust; empty: the system's" },
    { "redis-tls-cert", OPT_AT(struct registry_config, redis.tls.cert), OPT_STR, "",
      "file of this registry's certificate, with its chain; empty: none" },
    { "redis-tls-key", OPT_AT(struct registry_config, redis.tls.key), OPT_STR, "",
      "file of that certificate's key" },
    { "redis-tls-name", OPT_AT(struct registry_config, redis.tls.name), OPT_STR, "",
      "name that Redis' certificate must have; empty: the host it is reached by" },
    { "rpc", OPT_AT(struct registry_config, rpc), OPT_STR, "tcp://127.0.0.1:5571",
      "ZeroMQ endpoint for requests" },
    { "events", OPT_AT(struct registry_config, events), OPT_STR, "tcp://127.0.0.1:5572",
      "ZeroMQ endpoint for changes of the catalog" },
    { "artifact-store", OPT_AT(struct registry_config, artifact_store), OPT_STR, "redis",
      "where artifacts are: redis, or file:DIR, a folder that all registries share" },
    { "artifact-ttl-ms", OPT_AT(struct registry_config, artifact_ttl_ms), OPT_U32, "86400000",
      "an upload that nobody goes on with is given up, and what nobody keeps removed, after this" },
    { "artifact-sweep-ms", OPT_AT(struct registry_config, artifact_sweep_ms), OPT_U32, "600000",
      "how often file:DIR is searched for files that nobody keeps" },
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
