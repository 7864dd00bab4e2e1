/* json.h - what the files that write JSON share. */
#ifndef SERVICES_TRAINER_JSON_H
#define SERVICES_TRAINER_JSON_H

#include "common/base/bytes.h"

struct yyjson_mut_doc;
struct yyjson_mut_val;

/* Six digits behind the point are enough for a metric or a curve; null where it is no number. */
struct yyjson_mut_val *json_rounded(struct yyjson_mut_doc *doc, double value);
/* Appends the document's text, and frees it.  What is no number becomes null; names go as they came. */
void json_append(struct yyjson_mut_doc *doc, struct buf *out);

#endif
