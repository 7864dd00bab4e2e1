/* chunk_memory.c - see chunk_memory.h.  The blocks that wait are a stack: the one that was used
 * last is taken first, for it may still be in the processor's cache. */
#include "common/net/chunk_memory.h"

#include "common/msg/limits.h"

#include <pthread.h>
#include <sys/mman.h>

static struct {
    pthread_mutex_t lock;
    void *at[CHUNK_MEMORY_KEPT];
    size_t count;
    size_t idle; /* the fewest that have waited since the last tidy */
} kept = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Not by malloc: its arenas would not give back what lies between other blocks. */
static void *map_block(void)
{
    void *block =
        mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return block == MAP_FAILED ? NULL : block;
}

void *chunk_memory_take(void)
{
    void *block = NULL;
    pthread_mutex_lock(&kept.lock);
    if (kept.count)
        block = kept.at[--kept.count];
    if (kept.count < kept.idle)
        kept.idle = kept.count;
    pthread_mutex_unlock(&kept.lock);
    return block ? block : map_block();
}

void chunk_memory_give(void *block, void *hint)
{
    (void)hint;
    pthread_mutex_lock(&kept.lock);
    if (kept.count < CHUNK_MEMORY_KEPT) {
        kept.at[kept.count++] = block;
        block = NULL;
    }
    pthread_mutex_unlock(&kept.lock);
    if (block)
        munmap(block, CHUNK_BYTES);
}

void chunk_memory_tidy(void)
{
    void *gone[CHUNK_MEMORY_KEPT];
    size_t count = 0;
    pthread_mutex_lock(&kept.lock);
    for (; count < kept.idle; count++)
        gone[count] = kept.at[--kept.count];
    kept.idle = kept.count;
    pthread_mutex_unlock(&kept.lock);
    while (count)
        munmap(gone[--count], CHUNK_BYTES);
}
