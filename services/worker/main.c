/* main.c - the worker process.  `maas-worker` is the host; it starts itself as
 * `maas-worker engine ...` for each model version. */
#include "common/base/options.h"
#include "services/worker/engine.h"
#include "services/worker/host.h"

static const struct option host_rows[] = {
    { "registry", OPT_AT(struct host_config, registry), OPT_STR, "tcp://127.0.0.1:5571",
      "the registry's endpoint for requests; of several registries with commas" },
    { "events", OPT_AT(struct host_config, events), OPT_STR, "tcp://127.0.0.1:5572",
      "the registry's endpoint for changes; of several registries with commas" },
    { "cache", OPT_AT(struct host_config, cache), OPT_STR, "cache", "folder for artifacts" },
    { "pool", OPT_AT(struct host_config, pool), OPT_STR, POOL_DEFAULT,
      "serves deployments that name this pool; the default one those that name none" },
    { "threads", OPT_AT(struct host_config, threads), OPT_U32, "0",
      "threads of one engine; 0: its share of the cores, or one where runs are short" },
    { "short-run-us", OPT_AT(struct host_config, short_run_us), OPT_U32, "2000",
      "a model whose largest batch takes less has short runs; 0: none has" },
    { "max-batch", OPT_AT(struct host_config, max_batch), OPT_U32, "64",
      "rows in one job, where the deployment says nothing" },
    { "load-timeout-ms", OPT_AT(struct host_config, load_timeout_ms), OPT_U32, "120000",
      "an engine that is not ready by then is killed" },
    { "stop-timeout-ms", OPT_AT(struct host_config, stop_timeout_ms), OPT_U32, "30000",
      "when the worker stops, engines that go on with their jobs are killed after this" },
    { "max-artifact-bytes", OPT_AT(struct host_config, max_artifact_bytes), OPT_BYTES, "8GiB",
      "larger artifacts are not fetched" },
    { "cache-bytes", OPT_AT(struct host_config, cache_bytes), OPT_BYTES, "16GiB",
      "unused artifacts go when the cache is larger; 0: never" },
    { "memory-bytes", OPT_AT(struct host_config, memory_bytes), OPT_BYTES, "0",
      "memory of all engines together, the others are on demand; 0: 80 % of what is available" },
    { "allow-fake", OPT_AT(struct host_config, allow_fake), OPT_BOOL, "false",
      "run fake models too (for tests)" },
    OPTIONS_LOG(struct host_config),
    OPTIONS_END,
};

static const struct option engine_rows[] = {
    { "model", OPT_AT(struct engine_config, model), OPT_STR, "", "model name" },
    { "version", OPT_AT(struct engine_config, version), OPT_U32, "0", "model version" },
    { "format", OPT_AT(struct engine_config, source.format), OPT_STR, "onnx",
      "format of the artifact" },
    { "path", OPT_AT(struct engine_config, source.path), OPT_STR, "", "file of the artifact" },
    { "digest", OPT_AT(struct engine_config, source.digest), OPT_STR, "",
      "SHA-256 of the artifact" },
    { "files", OPT_AT(struct engine_config, source.files), OPT_STR, "",
      "list of the version's files, when there are several" },
    { "worker", OPT_AT(struct engine_config, worker), OPT_STR, "", "id of the host" },
    { "threads", OPT_AT(struct engine_config, source.threads), OPT_U32, "1", "threads of one run" },
    { "short-run-us", OPT_AT(struct engine_config, source.short_run_us), OPT_U32, "0",
      "one thread, where the largest batch takes less" },
    { "max-batch", OPT_AT(struct engine_config, source.max_batch), OPT_U32, "64",
      "rows in one job" },
    { "check", OPT_AT(struct engine_config, check), OPT_BOOL, "false",
      "load, describe, wait for the end" },
    { "allow-fake", OPT_AT(struct engine_config, source.allow_fake), OPT_BOOL, "false",
      "fake models too" },
    OPTIONS_LOG(struct engine_config),
    OPTIONS_END,
};

static int run_engine(int argc, char **argv)
{
    struct engine_config config;
    options_start(engine_rows, "engine", "runs one model version; started by a worker's host", argc,
                  argv, &config);
    return engine_main(&config);
}

int main(int argc, char **argv)
{
    struct host_config config;
    struct host host;
    struct error err;
    if (argc > 1 && strcmp(argv[1], "engine") == 0)
        return run_engine(argc - 1, argv + 1);
    options_start(host_rows, "worker", "runs the engines of deployed model versions", argc, argv,
                  &config);
    struct loop *loop = loop_create();
    if (host_init(&host, &config, loop, &err))
        die("%s", err.text);
    log_info("started", LOG_S("id", reporter_id(host.reporter)));
    loop_run(loop);
    host_finish(&host);
    loop_destroy(loop);
    log_info("stopped");
    return 0;
}
