/* frame.c - memory of frames. */
#include "services/trainer/data/frame.h"

#include <stdlib.h>

struct column *dataframe_column(const struct dataframe *f, const char *name)
{
    for (size_t i = 0; i < f->columns_count; i++)
        if (strcmp(f->columns[i].name, name) == 0)
            return &f->columns[i];
    return NULL;
}

void dataframe_finish(struct dataframe *f)
{
    for (size_t i = 0; i < f->columns_count; i++) {
        struct column *c = &f->columns[i];
        for (size_t k = 0; k < c->words_count; k++)
            free(c->words[k]);
        free(c->words);
        free(c->number);
        free(c->code);
        free(c->name);
    }
    free(f->columns);
    *f = (struct dataframe){ 0 };
}
