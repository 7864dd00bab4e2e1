/* words.c - see words.h. */
#include "services/worker/words.h"

void words_clear(struct words *w)
{
    w->len = 0;
}

void words_add(struct words *w, struct bytes more)
{
    const char *from = more.data;
    size_t len = more.len;
    if (len > WORDS_BYTES) {
        from += len - WORDS_BYTES;
        len = WORDS_BYTES;
    }
    if (w->len + len > WORDS_BYTES) {
        size_t drop = w->len + len - WORDS_BYTES;
        memmove(w->text, w->text + drop, w->len - drop);
        w->len -= drop;
    }
    if (len)
        memcpy(w->text + w->len, from, len);
    w->len += len;
}

const char *words_last_line(struct words *w)
{
    size_t end = w->len, begin;
    while (end && (w->text[end - 1] == '\n' || w->text[end - 1] == '\r'))
        end--;
    for (begin = end; begin && w->text[begin - 1] != '\n'; begin--)
        if ((unsigned char)w->text[begin - 1] < ' ')
            w->text[begin - 1] = ' ';
    w->text[end] = 0;
    w->len = end;
    return w->text + begin;
}
