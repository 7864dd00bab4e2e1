/* encoding.c - see encoding.h. */
#include "services/gateway/api/encoding.h"

#include <stdlib.h>
#include <strings.h>
#include <zlib.h>

/* More is compressed or inflated on a pool thread; what inflates may become 1032 times as long. */
#define COMPRESS_INLINE_BYTES 32768
#define INFLATE_INLINE_BYTES  1024
#define WORTH_BYTES           1024  /* less is not compressed */
#define PIECE_BYTES           65536 /* the output grows by such steps, at least */
#define WINDOW_GZIP           (15 + 16)
#define WINDOW_ZLIB           15
#define WINDOW_EITHER         (15 + 32)
#define FAST                  1 /* zlib's level: the network is seldom as slow as level 6 */
#define MEMORY_DEFAULT        8

/* ---- pure ------------------------------------------------------------------------------------ */

bool encoding_none(const char *name)
{
    return !name[0] || strcasecmp(name, "identity") == 0;
}

bool encoding_known(const char *name)
{
    return strcasecmp(name, "gzip") == 0 || strcasecmp(name, "x-gzip") == 0 ||
           strcasecmp(name, "deflate") == 0;
}

/* zlib counts in unsigned int: bodies are limited to less. */
static uInt clip(size_t len)
{
    return len < (1u << 30) ? (uInt)len : 1u << 30;
}

static enum status inflate_all(z_stream *z, struct bytes in, uint64_t max, struct buf *out,
                               struct error *err)
{
    const char *from = in.data;
    int rc = Z_OK;
    z->next_in = (Bytef *)(uintptr_t)from;
    while (rc != Z_STREAM_END) {
        size_t left = in.len - (size_t)((const char *)z->next_in - from);
        buf_reserve(out, PIECE_BYTES);
        size_t room = out->cap - out->len;
        z->avail_in = clip(left);
        z->next_out = out->data + out->len;
        z->avail_out = clip(room);
        uInt before = z->avail_out;
        rc = inflate(z, Z_NO_FLUSH);
        out->len += before - z->avail_out;
        if (rc != Z_OK && rc != Z_STREAM_END)
            return error_set(err, STATUS_INVALID, "the compressed body is damaged, or cut off");
        if (out->len > max)
            return error_set(err, STATUS_TOO_LARGE,
                             "the body has more than %llu bytes when it is unpacked",
                             (unsigned long long)max);
    }
    return (const char *)z->next_in == from + in.len
               ? STATUS_OK
               : error_set(err, STATUS_INVALID, "something follows the compressed body");
}

enum status encoding_inflate(struct bytes in, uint64_t max, struct buf *out, struct error *err)
{
    z_stream z = { 0 };
    if (inflateInit2(&z, WINDOW_EITHER) != Z_OK)
        return error_set(err, STATUS_UNAVAILABLE, "there is no memory to unpack the body");
    enum status st = inflate_all(&z, in, max, out, err);
    inflateEnd(&z);
    return st;
}

/* Is the coding in the list, and not with a weight of 0? */
static bool accepts(const char *list, const char *coding)
{
    size_t len = strlen(coding);
    for (const char *at = list; (at = strcasestr(at, coding)); at += len) {
        bool begins = at == list || at[-1] == ',' || at[-1] == ' ' || at[-1] == '\t';
        const char *rest = at + len + strspn(at + len, " \t");
        if (!begins || (*rest && *rest != ',' && *rest != ';'))
            continue;
        const char *q = *rest == ';' ? strstr(rest, "q=") : NULL;
        const char *end = rest + strcspn(rest, ",");
        return !q || q >= end || strtod(q + 2, NULL) > 0;
    }
    return false;
}

enum encoding encoding_choose(const char *accept)
{
    if (accepts(accept, "gzip"))
        return ENCODING_GZIP;
    return accepts(accept, "deflate") ? ENCODING_DEFLATE : ENCODING_NONE;
}

void encoding_compress(enum encoding how, struct bytes in, struct buf *out)
{
    z_stream z = { 0 };
    int window = how == ENCODING_GZIP ? WINDOW_GZIP : WINDOW_ZLIB;
    if (deflateInit2(&z, FAST, Z_DEFLATED, window, MEMORY_DEFAULT, Z_DEFAULT_STRATEGY) != Z_OK)
        die("out of memory for compression");
    buf_reserve(out, deflateBound(&z, (uLong)in.len));
    z.next_in = (Bytef *)(uintptr_t)in.data;
    size_t left = in.len;
    int rc = Z_OK;
    while (rc == Z_OK) {
        z.avail_in = clip(left);
        uInt given = z.avail_in;
        z.next_out = out->data + out->len;
        z.avail_out = clip(out->cap - out->len);
        uInt before = z.avail_out;
        rc = deflate(&z, given == left ? Z_FINISH : Z_NO_FLUSH);
        out->len += before - z.avail_out;
        left -= given - z.avail_in;
    }
    deflateEnd(&z);
}

/* ---- requests and answers, on a thread when they are large --------------------------------------- */

struct work {
    struct pending base;
    struct gateway *gateway;
    struct http_request *http; /* NULL: the client has gone */
    uint64_t max_bytes;
    struct buf in, out;
    struct error err;
    encoding_then_fn *then;
    enum encoding how;
    const char *content_type;
};

static void on_gone(struct pending *p)
{
    ((struct work *)p)->http = NULL; /* the thread still works: on_worked frees */
}

static struct work *work_create(struct gateway *g, struct http_request *r)
{
    struct work *w = mem_zalloc(sizeof *w);
    w->base.gone = on_gone;
    w->gateway = g;
    w->http = r;
    w->max_bytes = g->config->max_body_bytes;
    return w;
}

static void work_destroy(struct work *w)
{
    buf_finish(&w->in);
    buf_finish(&w->out);
    free(w);
}

static void finish_decode(struct work *w)
{
    struct http_request *r = w->http;
    if (w->err.status)
        api_error(r, w->err.status, "%s", w->err.text);
    else if (http_set_body(r, &w->out))
        api_error(r, STATUS_UNAVAILABLE, "too many bodies are being received; try again");
    else
        w->then(w->gateway, r);
}

static void finish_answer(struct work *w)
{
    static const char *const names[] = { [ENCODING_GZIP] = "gzip", [ENCODING_DEFLATE] = "deflate" };
    api_add_header(w->http, "content-encoding", names[w->how]);
    api_add_header(w->http, "vary", "accept-encoding");
    api_parts(w->http, w->content_type, &w->out, NULL, 0);
}

static void work(void *arg) /* pool thread */
{
    struct work *w = arg;
    if (w->how)
        encoding_compress(w->how, buf_bytes(&w->in), &w->out);
    else
        w->err.status = encoding_inflate(buf_bytes(&w->in), w->max_bytes, &w->out, &w->err);
}

static void on_worked(void *arg)
{
    struct work *w = arg;
    if (w->http) {
        w->http->user = NULL;
        (w->how ? finish_answer : finish_decode)(w);
    }
    work_destroy(w);
}

static void start(struct work *w)
{
    if (w->in.len <= (w->how ? COMPRESS_INLINE_BYTES : INFLATE_INLINE_BYTES)) {
        work(w);
        on_worked(w);
    } else {
        w->http->user = &w->base;
        loop_work(w->gateway->loop, work, on_worked, w);
    }
}

void encoding_decode(struct gateway *g, struct http_request *r, encoding_then_fn *then)
{
    struct work *w = work_create(g, r);
    w->then = then;
    w->in = r->body;
    r->body = (struct buf){ 0 };
    start(w);
}

void encoding_answer(struct gateway *g, struct http_request *r, const char *content_type,
                     struct buf *text, struct frame *parts, size_t count)
{
    enum encoding how = r->accept_encoding[0] ? encoding_choose(r->accept_encoding) : ENCODING_NONE;
    size_t len = text->len;
    for (size_t i = 0; i < count; i++)
        len += frame_bytes(&parts[i]).len;
    if (!how || len < WORTH_BYTES) {
        api_parts(r, content_type, text, parts, count);
        return;
    }
    struct work *w = work_create(g, r);
    w->how = how;
    w->content_type = content_type;
    w->in = *text;
    *text = (struct buf){ 0 };
    for (size_t i = 0; i < count; i++) {
        buf_append_bytes(&w->in, frame_bytes(&parts[i]));
        frame_finish(&parts[i]);
    }
    start(w);
}
