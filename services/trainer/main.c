/* main.c - the trainer process: options, init, run, finish. */
#include "common/base/options.h"
#include "common/base/resources.h"
#include "services/trainer/data/profile.h"
#include "services/trainer/trainer.h"

#include <cblas.h>
#include <malloc.h>
#include <stdio.h>
#include <uv.h>

#define LARGE_BYTES (4 << 20) /* blocks of memory that go back when they are freed */

static const struct option rows[] = {
    { "registry", OPT_AT(struct trainer_config, registry), OPT_STR, "tcp://127.0.0.1:5571",
      "the registry's endpoint for requests; of several registries with commas" },
    { "cache", OPT_AT(struct trainer_config, cache), OPT_STR, "cache", "folder for data sets" },
    { "cache-bytes", OPT_AT(struct trainer_config, cache_bytes), OPT_BYTES, "16GiB",
      "after a job the longest unused data files go until the rest is no more; 0: never" },
    { "predictions", OPT_AT(struct trainer_config, predictions), OPT_STR, "",
      "folder that gets each job's held-out probabilities as JOB.f32; empty: none" },
    { "threads", OPT_AT(struct trainer_config, threads), OPT_U32, "0",
      "threads of a training; another number gives another model; 0: one per core" },
    { "poll-ms", OPT_AT(struct trainer_config, poll_ms), OPT_U32, "500",
      "between questions for work" },
    { "checkpoint-ms", OPT_AT(struct trainer_config, checkpoint_ms), OPT_U32, "5000",
      "a job's state goes to the registry at most so often, for the trainer that has to go on" },
    { "max-artifact-bytes", OPT_AT(struct trainer_config, max_artifact_bytes), OPT_BYTES, "8GiB",
      "larger data files are not fetched" },
    { "memory-bytes", OPT_AT(struct trainer_config, memory_bytes), OPT_BYTES, "0",
      "memory of a training; a job that needs more is refused; 0: 80 % of what is available" },
    { "profile", OPT_AT(struct trainer_config, profile), OPT_STR, "",
      "prints what is in this CSV file, as JSON, and ends" },
    OPTIONS_LOG(struct trainer_config),
    OPTIONS_END,
};

static int print_profile(const char *path)
{
    const struct source_file file = { path, path, NULL, 0 };
    const struct profile_options options = { .target = "" };
    struct buf json = { 0 };
    struct error err;
    if (profile_csv(&file, &options, &json, &err))
        die("%s", err.text);
    puts(buf_cstr(&json));
    buf_finish(&json);
    return 0;
}

int main(int argc, char **argv)
{
    struct trainer_config config;
    struct trainer trainer;
    options_start(rows, "trainer", "trains models and publishes them as versions", argc, argv,
                  &config);
    if (config.profile[0])
        return print_profile(config.profile);
    config.memory_bytes = resources_budget(config.memory_bytes, resources_memory_available(),
                                           resources_memory_limit());
    if (!config.threads)
        config.threads = uv_available_parallelism();
    /* Learners share the work themselves: on a machine that is shared, two threads of OpenBLAS that
     * wait for each other at every product took 110 s where one took 25. */
    openblas_set_num_threads(1);
    /* glibc learns from the first ones to keep blocks of up to 32 MiB: trees took half as much again. */
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
    struct loop *loop = loop_create();
    trainer_init(&trainer, &config, loop);
    log_info("started", LOG_S("id", reporter_id(trainer.reporter)));
    loop_run(loop);
    trainer_finish(&trainer);
    loop_destroy(loop);
    log_info("stopped");
    return 0;
}
