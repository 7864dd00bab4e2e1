/* dispatch.h - from an HTTP request to its handler: for gateway.c, api.c and hold.c. */
#ifndef SERVICES_GATEWAY_API_DISPATCH_H
#define SERVICES_GATEWAY_API_DISPATCH_H

#include "services/gateway/api/api.h"

extern const struct http_events dispatch_events;

size_t api_open(void); /* requests that are neither answered nor gone */
/* Counts the answer that is about to be sent; the request belongs to no handler any more. */
void dispatch_answered(struct http_request *r, int status);
/* Calls the handler of a request that is complete once more.  parsed: its body, or NULL. */
void dispatch_again(struct gateway *g, struct http_request *r, struct parsed_body *parsed);

#endif
