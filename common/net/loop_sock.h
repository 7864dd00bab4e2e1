/* loop_sock.h - what loop.c and sock.c know of each other, and nobody else. */
#ifndef COMMON_NET_LOOP_SOCK_H
#define COMMON_NET_LOOP_SOCK_H

#include "common/net/loop.h"

/* A thing that the loop drains once per turn. */
struct drain {
    bool (*take)(struct drain *d);  /* handles one message; false: there was none */
    bool (*ready)(struct drain *d); /* has one waiting, though no event may tell */
    bool wake;                      /* something happened: look at it this turn */
    bool dead;                      /* removed while the loop walks the list */
    struct drain *next;             /* private to loop.c */
};

void loop_add_drain(struct loop *l, struct drain *d);
/* Not called again afterwards.  The memory must live until the end of the prepare step: free
 * it from a uv close callback. */
void loop_remove_drain(struct loop *l, struct drain *d);

#endif
