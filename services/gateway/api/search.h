/* search.h - which models a list shows.  Pure: no I/O.
 *
 *     ?query=text     the name of the model, or the description of a version, contains it (in
 *                     letters of either case)
 *     ?tag=key        a version has this tag
 *     ?tag=key=value  and with this value; what is no string, as JSON writes it
 *     ?limit=N&after=NAME
 */
#ifndef SERVICES_GATEWAY_API_SEARCH_H
#define SERVICES_GATEWAY_API_SEARCH_H

#include "services/gateway/api/api.h"

#define SEARCH_LIMIT_DEFAULT 100
#define SEARCH_LIMIT_MAX     1000
#define SEARCH_TEXT_MAX      512 /* bytes of query and tag */

struct search {
    char query[SEARCH_TEXT_MAX + 1]; /* empty: any */
    char tag[SEARCH_TEXT_MAX + 1];   /* its key; empty: any */
    const char *value;               /* of the tag, inside tag; NULL: any */
    char after[MAX_NAME + 1];        /* empty: from the first on */
    size_t limit;
};

/* From the request's query.  INVALID. */
enum status search_read(const struct call *c, struct search *out, struct error *err) MUST_CHECK;
bool search_matches(const struct search *s, const struct catalog_model *m);

#endif
