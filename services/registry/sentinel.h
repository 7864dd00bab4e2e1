/* sentinel.h - where the primary is, as its sentinels tell.
 *
 * One sentinel at a time is asked, each second, and more often while the primary is away; then the
 * others are asked in turn, because one that is cut off would tell the old place for ever.  Whether
 * what is found there is a primary is the greeting's to see (greeting.h).
 * https://redis.io/docs/latest/develop/reference/sentinel-clients/
 */
#ifndef SERVICES_REGISTRY_SENTINEL_H
#define SERVICES_REGISTRY_SENTINEL_H

#include "services/registry/link.h"

struct sentinel;

/* The primary is at this place, as always or since now. */
typedef void sentinel_fn(void *arg, const struct redis_place *place);
/* true: the primary serves. */
typedef bool sentinel_content_fn(void *arg);

/* sentinels: the owner's, who destroys it later. */
struct sentinel *sentinel_create(struct redis_target *sentinels, const char *primary,
                                 sentinel_fn *found, sentinel_content_fn *content, void *arg);
void sentinel_destroy(struct sentinel *s); /* NULL is fine */

/* ---- pure ---- */

/* The reply to SENTINEL GET-MASTER-ADDR-BY-NAME.  NOT_FOUND: the sentinel does not know it;
 * INVALID: it is no such reply. */
enum status sentinel_place(const struct redisReply *reply, struct redis_place *out) MUST_CHECK;

#endif
