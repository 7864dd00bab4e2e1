/* cnn_crew.h - threads that each do their part of the same thing, again and again. */
#ifndef SERVICES_TRAINER_CNN_CREW_H
#define SERVICES_TRAINER_CNN_CREW_H

#include <stddef.h>

struct cnn_crew;
typedef void cnn_crew_fn(void *arg, size_t member);

/* The caller is member 0; the others sleep until there is something to do. */
struct cnn_crew *cnn_crew_create(size_t members, void *arg);
void cnn_crew_destroy(struct cnn_crew *c); /* NULL is fine */
/* Returns when all members have returned from it. */
void cnn_crew_run(struct cnn_crew *c, cnn_crew_fn *run);

#endif
