/* table.c - memory of tables. */
#include "services/trainer/data/table.h"

#include <stdlib.h>

void table_finish(struct table *t)
{
    for (size_t i = 0; i < t->classes_count; i++)
        free(t->classes[i]);
    free(t->classes);
    free(t->x);
    free(t->y);
    free(t->values);
    *t = (struct table){ 0 };
}
