/* encoding.h - bodies that are compressed on their way: gzip and deflate (RFC 9110 section 8.4.1;
 * deflate is a zlib stream).  What is large is done on a pool thread.
 */
#ifndef SERVICES_GATEWAY_API_ENCODING_H
#define SERVICES_GATEWAY_API_ENCODING_H

#include "services/gateway/api/api.h"

/* Is this a Content-Encoding that can be undone here?  "" and "identity" need nothing done. */
bool encoding_known(const char *name);
bool encoding_none(const char *name);

/* Replaces the body of a request by what it says, then calls then(g, r); or answers 400 (damaged),
 * 413 (it has more than max bytes), 503. */
typedef void encoding_then_fn(struct gateway *g, struct http_request *r);
void encoding_decode(struct gateway *g, struct http_request *r, encoding_then_fn *then);

/* Answers 200 with text and frames, compressed if the client likes that and it is worth while.
 * Takes both. */
void encoding_answer(struct gateway *g, struct http_request *r, const char *content_type,
                     struct buf *text, struct frame *parts, size_t count);

/* Pure, for these and for tests.  INVALID: damaged, or cut off.  TOO_LARGE: more than max bytes. */
enum status encoding_inflate(struct bytes in, uint64_t max, struct buf *out,
                             struct error *err) MUST_CHECK;
enum encoding { ENCODING_NONE, ENCODING_GZIP, ENCODING_DEFLATE };
/* The one that an Accept-Encoding (RFC 9110 section 12.5.3) asks for. */
enum encoding encoding_choose(const char *accept);
void encoding_compress(enum encoding how, struct bytes in, struct buf *out);

#endif
