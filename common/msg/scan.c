/* scan.c - walks MessagePack bytes (MessagePack specification, "Formats") without allocating. */
#include "common/msg/scan.h"

#include "common/msg/limits.h"

#define MAX_NODES (4u << 20) /* objects in one envelope; msgpack takes 24 bytes for each */

struct scan {
    const unsigned char *p;
    const unsigned char *end;
    size_t nodes;
};

static bool scan_number(struct scan *s, unsigned width, uint64_t *out)
{
    uint64_t n = 0;
    if ((size_t)(s->end - s->p) < width)
        return false;
    while (width--)
        n = n << 8 | *s->p++;
    *out = n;
    return true;
}

static bool scan_skip(struct scan *s, uint64_t len)
{
    if ((uint64_t)(s->end - s->p) < len)
        return false;
    s->p += len;
    return true;
}

/* The first byte of a value (MessagePack specification, "Formats"): how many bytes of
 * payload follow, or how many values are inside. */
static bool scan_head(struct scan *s, uint64_t *inside)
{
    uint64_t n;
    unsigned char head = *s->p++;
    *inside = 0;
    if (head <= 0x7f || head >= 0xe0 || head == 0xc0 || head == 0xc2 || head == 0xc3)
        return true;
    if (head <= 0x8f) {
        *inside = 2u * (head & 0x0f);
        return true;
    }
    if (head <= 0x9f) {
        *inside = head & 0x0f;
        return true;
    }
    if (head <= 0xbf)
        return scan_skip(s, head & 0x1f);
    switch (head) {
    case 0xc4: /* bin 8, 16, 32 */
    case 0xc5:
    case 0xc6:
        return scan_number(s, 1u << (head - 0xc4), &n) && scan_skip(s, n);
    case 0xd9: /* str 8, 16, 32 */
    case 0xda:
    case 0xdb:
        return scan_number(s, 1u << (head - 0xd9), &n) && scan_skip(s, n);
    case 0xca: /* float 32, 64 */
    case 0xcb:
        return scan_skip(s, 4u << (head - 0xca));
    case 0xcc: /* uint 8 to 64 */
    case 0xcd:
    case 0xce:
    case 0xcf:
        return scan_skip(s, 1u << (head - 0xcc));
    case 0xd0: /* int 8 to 64 */
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return scan_skip(s, 1u << (head - 0xd0));
    case 0xdc: /* array 16, 32 */
    case 0xdd:
        return scan_number(s, 2u << (head - 0xdc), inside);
    case 0xde: /* map 16, 32 */
    case 0xdf:
        if (!scan_number(s, 2u << (head - 0xde), inside))
            return false;
        *inside *= 2;
        return true;
    default: /* extension types are not ours */
        return false;
    }
}

static bool scan_value(struct scan *s, unsigned depth)
{
    uint64_t inside;
    if (s->p == s->end || depth > MAX_DEPTH || ++s->nodes > MAX_NODES || !scan_head(s, &inside))
        return false;
    if (inside > (uint64_t)(s->end - s->p)) /* each value takes at least one byte */
        return false;
    for (uint64_t i = 0; i < inside; i++)
        if (!scan_value(s, depth + 1))
            return false;
    return true;
}

bool msg_scan(struct bytes frame)
{
    struct scan s = { .p = frame.data, .end = (const unsigned char *)frame.data + frame.len };
    return frame.len > 0 && scan_value(&s, 0) && s.p == s.end;
}
