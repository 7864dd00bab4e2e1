/* fcall.h - the arguments of a call to one of our Redis functions.
 *
 *     struct fcall call;
 *     fcall_begin(&call, "maas_deploy");
 *     fcall_add(&call, m->model);
 *     fcall_add_number(&call, m->version);
 *
 * Borrows what is added; name and numbers are kept inside, so the struct must not be copied.
 */
#ifndef SERVICES_REGISTRY_FCALL_H
#define SERVICES_REGISTRY_FCALL_H

#include "services/registry/redis.h"

#define FCALL_NUMBERS_MAX 10
#define FCALL_NUMBER_SIZE 24 /* a 64-bit number as text */
#define FCALL_NAME_SIZE   48

struct fcall {
    struct bytes argv[REDIS_ARGS_MAX];
    size_t argc;
    char name[FCALL_NAME_SIZE]; /* of the function, with LIBRARY_VERSION */
    char numbers[FCALL_NUMBERS_MAX][FCALL_NUMBER_SIZE];
    size_t numbers_count;
};

void fcall_begin(struct fcall *c, const char *function);
void fcall_add(struct fcall *c, struct bytes argument);
void fcall_add_str(struct fcall *c, const char *argument);
void fcall_add_number(struct fcall *c, uint64_t argument);

#endif
