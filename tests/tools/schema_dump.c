/* schema_dump.c - prints the messages as JSON, for the peers in Python. */
#include "common/msg/codec.h"

#include <stdio.h>

int main(void)
{
    struct buf out = { 0 };
    schema_json(&out);
    fwrite(out.data, 1, out.len, stdout);
    buf_finish(&out);
    return 0;
}
