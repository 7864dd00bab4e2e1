/* cancel.h - the flag that stops long stretches of a job; any thread sets it. */
#ifndef SERVICES_TRAINER_CANCEL_H
#define SERVICES_TRAINER_CANCEL_H

#include <stdatomic.h>
#include <stdbool.h>

/* NULL: never. */
static inline bool cancel_is_set(const atomic_bool *flag)
{
    return flag && atomic_load(flag);
}

#endif
