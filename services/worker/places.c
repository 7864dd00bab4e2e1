/* places.c - see places.h. */
#include "services/worker/places.h"

#include "services/worker/files.h"

#include <stdlib.h>

struct place *places_find(struct place *places, struct bytes model, uint32_t version)
{
    struct place_key key = { .version = version };
    struct place *place = NULL;
    if (!bytes_copy_str(model, key.model, sizeof key.model))
        HASH_FIND(hh, places, &key, sizeof key, place);
    return place;
}

struct place *places_get(struct place **places, const struct msg_version *v)
{
    struct place *place = places_find(*places, v->model, v->number);
    if (place)
        return place;
    place = mem_zalloc(sizeof *place);
    place->key.version = v->number;
    place->artifact_bytes = files_bytes(v);
    if (bytes_copy_str(v->model, place->key.model, sizeof place->key.model))
        place->key.model[0] = 0; /* cannot be: the catalog has this name */
    HASH_ADD(hh, *places, key, sizeof place->key, place);
    return place;
}

void places_forget(struct place **places, bool all)
{
    struct place *place, *next;
    HASH_ITER(hh, *places, place, next)
    {
        if (place->model && !all)
            continue;
        HASH_DEL(*places, place);
        free(place);
    }
}
