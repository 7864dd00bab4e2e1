/* clone.h - a struct of schema.h with all that it borrows, in one piece of memory.
 *
 * For what is kept: nothing is larger than it has to be.
 */
#ifndef COMMON_MSG_CLONE_H
#define COMMON_MSG_CLONE_H

#include "common/msg/codec.h"

/* A copy of body (struct msg_x of schema_x), whose strings and lists are its own.  The caller frees
 * it with free(). */
void *msg_clone(const struct schema_struct *s, const void *body);

#endif
