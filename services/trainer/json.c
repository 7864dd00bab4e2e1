/* json.c - see json.h. */
#include "services/trainer/json.h"

#include <math.h>
#include <stdlib.h>
#include <yyjson.h>

yyjson_mut_val *json_rounded(yyjson_mut_doc *doc, double value)
{
    if (!isfinite(value))
        return yyjson_mut_null(doc);
    return yyjson_mut_real(doc, fabs(value) < 1e9 ? round(value * 1e6) / 1e6 : value);
}

void json_append(yyjson_mut_doc *doc, struct buf *out)
{
    size_t len = 0;
    char *text = yyjson_mut_write(
        doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE | YYJSON_WRITE_INF_AND_NAN_AS_NULL, &len);
    buf_append(out, text, len);
    free(text);
    yyjson_mut_doc_free(doc);
}
