/* main.c - the gateway process: options, init, run, finish. */
#include "common/base/options.h"
#include "services/gateway/gateway.h"

static const struct option rows[] = {
    { "http", OPT_AT(struct gateway_config, http), OPT_STR, "127.0.0.1:8080",
      "address for HTTP; port 0: any free one" },
    { "jobs", OPT_AT(struct gateway_config, jobs), OPT_STR, "tcp://127.0.0.1:5570",
      "ZeroMQ endpoint that engines pull jobs from" },
    { "jobs-advertise", OPT_AT(struct gateway_config, jobs_advertise), OPT_STR, "",
      "that endpoint as engines reach it; empty: as bound, with the host's name for tcp://*" },
    { "registry", OPT_AT(struct gateway_config, registry), OPT_STR, "tcp://127.0.0.1:5571",
      "the registry's endpoint for requests; of several registries with commas" },
    { "events", OPT_AT(struct gateway_config, events), OPT_STR, "tcp://127.0.0.1:5572",
      "the registry's endpoint for changes; of several registries with commas" },
    { "max-body-bytes", OPT_AT(struct gateway_config, max_body_bytes), OPT_BYTES, "64MiB",
      "of a request that is not an upload; 413 beyond" },
    { "max-bodies-bytes", OPT_AT(struct gateway_config, max_bodies_bytes), OPT_BYTES, "1GiB",
      "of all such requests, and of answers that clients have not taken; 503 beyond" },
    { "max-artifact-bytes", OPT_AT(struct gateway_config, max_artifact_bytes), OPT_BYTES, "8GiB",
      "of an uploaded model or data file; 413 beyond" },
    { "max-connections", OPT_AT(struct gateway_config, max_connections), OPT_U32, "20000",
      "HTTP connections at once" },
    { "queue-max", OPT_AT(struct gateway_config, queue_max), OPT_U32, "1024",
      "waiting requests per version before 429 is answered" },
    { "queue-bytes", OPT_AT(struct gateway_config, queue_bytes), OPT_BYTES, "256MiB",
      "waiting bytes per version before 429 is answered" },
    { "timeout-ms", OPT_AT(struct gateway_config, timeout_ms), OPT_U32, "30000",
      "deadline of a request" },
    { "read-timeout-ms", OPT_AT(struct gateway_config, read_timeout_ms), OPT_U32, "30000",
      "for the header of a request, and for a body that has stopped coming; 408 beyond" },
    { "idle-timeout-ms", OPT_AT(struct gateway_config, idle_timeout_ms), OPT_U32, "75000",
      "an idle connection is closed after this" },
    { "drain-accept-ms", OPT_AT(struct gateway_config, drain_accept_ms), OPT_U32, "300",
      "on SIGTERM, /readyz says no for so long before new connections are refused" },
    { "drain-ms", OPT_AT(struct gateway_config, drain_ms), OPT_U32, "30000",
      "on SIGTERM, open requests may take so long, from the signal on" },
    { "forget-ms", OPT_AT(struct gateway_config, forget_ms), OPT_U32, "300000",
      "measurements of a deleted version stay in /metrics for so long, and twice that at most; 0: "
      "for ever" },
    { "keep-awake", OPT_AT(struct gateway_config, keep_awake), OPT_BOOL, "true",
      "no core sleeps while thousands of requests come in a second, where the gateway may write to "
      "/dev/cpu_dma_latency; faster, and takes more power then" },
    OPTIONS_LOG(struct gateway_config),
    OPTIONS_END,
};

int main(int argc, char **argv)
{
    struct gateway_config config;
    struct gateway gateway;
    struct error err;
    options_start(rows, "gateway", "serves models over HTTP", argc, argv, &config);
    struct loop *loop = loop_create();
    if (gateway_init(&gateway, &config, loop, &err))
        die("%s", err.text);
    log_info("listening", LOG_S("address", http_address(gateway.http)),
             LOG_S("jobs", gateway.jobs));
    loop_run(loop);
    gateway_finish(&gateway);
    loop_destroy(loop);
    log_info("stopped");
    return 0;
}
