/* fcall.h - the arguments of a call to one of our Redis functions.
 *
 *     struct fcall call;
 *     fcall_begin(&call, "maas_deploy");
 *     fcall_add(&call, m->model);
 *     fcall_add_number(&call, m->version);
 *
 * Borrows what is added; numbers are kept inside, so the struct must not be copied.
 */
#ifndef SERVICES_REGISTRY_FCALL_H
#define SERVICES_REGISTRY_FCALL_H

#include "services/registry/redis.h"

#define FCALL_NUMBERS_MAX 10
#define FCALL_NUMBER_SIZE 24 /* a 64-bit number as text */

struct fcall {
    struct bytes argv[REDIS_ARGS_MAX];
    size_t argc;
    char numbers[FCALL_NUMBERS_MAX][FCALL_NUMBER_SIZE];
    size_t numbers_count;
};

void fcall_begin(struct fcall *c, const char *function);
void fcall_add(struct fcall *c, struct bytes argument);
void fcall_add_str(struct fcall *c, const char *argument);
void fcall_add_number(struct fcall *c, uint64_t argument);

#endif
