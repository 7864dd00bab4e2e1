/* fcall.c - see fcall.h. */
#include "services/registry/fcall.h"

#include "services/registry/functions.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

void fcall_begin(struct fcall *c, const char *function)
{
    int len = snprintf(c->name, sizeof c->name, "%s_%d", function, LIBRARY_VERSION);
    assert(len < FCALL_NAME_SIZE);
    c->argc = 0;
    c->numbers_count = 0;
    fcall_add_str(c, "FCALL");
    fcall_add_str(c, c->name);
    fcall_add_str(c, "0"); /* no keys are declared: they are composed in the function */
}

void fcall_add(struct fcall *c, struct bytes argument)
{
    assert(c->argc < REDIS_ARGS_MAX);
    c->argv[c->argc++] = argument;
}

void fcall_add_str(struct fcall *c, const char *argument)
{
    fcall_add(c, bytes_str(argument));
}

void fcall_add_number(struct fcall *c, uint64_t argument)
{
    assert(c->numbers_count < FCALL_NUMBERS_MAX);
    char *text = c->numbers[c->numbers_count++];
    snprintf(text, FCALL_NUMBER_SIZE, "%" PRIu64, argument);
    fcall_add_str(c, text);
}
