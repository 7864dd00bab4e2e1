/* chunk_memory.h - memory for chunks on their way, used again instead of given back.
 *
 * The kernel clears each fresh page before its first use; for frames of 1 MiB that come by the
 * thousand this costs more than to copy them.  So blocks that are given back are kept, as many as
 * are in turn, and those that were not needed for a while go back to the kernel.  Any thread.
 */
#ifndef COMMON_NET_CHUNK_MEMORY_H
#define COMMON_NET_CHUNK_MEMORY_H

#include <stddef.h>

#define CHUNK_MEMORY_KEPT 4 /* blocks that wait for their next use */

/* CHUNK_BYTES, not cleared.  NULL: the kernel has no more. */
void *chunk_memory_take(void);
/* Of chunk_memory_take; a frame_free_fn. */
void chunk_memory_give(void *block, void *hint);
/* Now and then: what waits since the last time goes back to the kernel. */
void chunk_memory_tidy(void);

#endif
