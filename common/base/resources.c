/* resources.c - see resources.h.  Files: cgroups(7), proc(5), Documentation/admin-guide/cgroup-v2. */
#include "common/base/resources.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CGROUP_ROOT    "/sys/fs/cgroup"
#define FILE_MAX_BYTES 8192 /* what is read of one file */
#define THOUSANDTHS    1000

/* ---- pure ---------------------------------------------------------------------------------- */

uint64_t resources_parse_cpu_max(const char *text)
{
    unsigned long long quota_us, period_us;
    if (sscanf(text, "%llu %llu", &quota_us, &period_us) != 2 || !period_us ||
        quota_us > UINT64_MAX / THOUSANDTHS)
        return NO_LIMIT;
    return quota_us * THOUSANDTHS / period_us;
}

uint64_t resources_parse_memory_max(const char *text)
{
    char *end;
    unsigned long long bytes = strtoull(text, &end, 10);
    return end == text ? NO_LIMIT : bytes;
}

uint64_t resources_parse_kib(const char *text, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) == 0 && line[len] == ':')
            return (uint64_t)strtoull(line + len + 1, NULL, 10) * 1024;
    }
    return 0;
}

unsigned resources_threads(unsigned option, unsigned cores, size_t engines)
{
    if (option)
        return option;
    unsigned share = engines ? (unsigned)(cores / engines) : cores;
    return share ? share : 1;
}

uint64_t resources_budget(uint64_t option, uint64_t available, uint64_t limit)
{
    uint64_t most = available < limit ? available : limit;
    return option ? option : most / 5 * 4;
}

/* ---- of this process ----------------------------------------------------------------------- */

/* "": it cannot be read. */
static const char *read_file(const char *path, char text[FILE_MAX_BYTES])
{
    FILE *file = fopen(path, "re");
    size_t len = file ? fread(text, 1, FILE_MAX_BYTES - 1, file) : 0;
    text[len] = 0;
    if (file)
        fclose(file);
    return text;
}

/* The least of a limit in our cgroup and in each above it. */
static uint64_t cgroup_least(const char *file, uint64_t (*parse)(const char *text))
{
    char text[FILE_MAX_BYTES], folder[FILE_MAX_BYTES], path[FILE_MAX_BYTES + 64];
    uint64_t least = NO_LIMIT;
    const char *mine = strstr(read_file("/proc/self/cgroup", text), "0::/");
    snprintf(folder, sizeof folder, "%.*s", mine ? (int)strcspn(mine + 3, "\n") : 0,
             mine ? mine + 3 : "");
    for (;;) {
        snprintf(path, sizeof path, CGROUP_ROOT "%s/%s", folder, file);
        uint64_t limit = parse(read_file(path, text));
        least = limit < least ? limit : least;
        char *slash = strrchr(folder, '/');
        if (!slash)
            return least;
        *slash = 0;
    }
}

unsigned resources_cores(void)
{
    cpu_set_t set;
    long cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                             : sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t quota = cgroup_least("cpu.max", resources_parse_cpu_max) / THOUSANDTHS;
    if (cores < 1 || quota < 1)
        return 1;
    return (uint64_t)cores < quota ? (unsigned)cores : (unsigned)quota;
}

uint64_t resources_memory_available(void)
{
    char text[FILE_MAX_BYTES] = { 0 };
    return resources_parse_kib(read_file("/proc/meminfo", text), "MemAvailable");
}

uint64_t resources_memory_limit(void)
{
    return cgroup_least("memory.max", resources_parse_memory_max);
}
