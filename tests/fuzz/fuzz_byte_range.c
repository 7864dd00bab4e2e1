/* fuzz_byte_range.c - any text as Range and If-None-Match: what is given lies within, and is what the
 * text says. */
#include "services/gateway/http/range.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint64_t size = 1, first = 0, length = 0;
    if (len < sizeof size)
        return 0;
    memcpy(&size, data, sizeof size);
    size = size ? size : 1;
    char *text = mem_str(bytes_of(data + sizeof size, len - sizeof size));
    switch (range_parse(text, size, &first, &length)) {
    case RANGE_PART:
        assert(length > 0 && first < size && length <= size - first);
        assert(strchr(text, '-') && !strchr(text, ','));
        break;
    case RANGE_OUTSIDE:
        assert(strchr(text, '-'));
        break;
    case RANGE_WHOLE:
        break;
    }
    bool matches = range_tag_matches(text, "\"tag\"");
    assert(!matches || strcmp(text, "*") == 0 || strstr(text, "\"tag\""));
    free(text);
    return 0;
}
