/* look.c - asks the registry, page by page, which pieces of an upload are there. */
#include "services/gateway/api/assemble.h"
#include "services/gateway/pieces.h"

#define PIECES_MAX 262144 /* of one upload: what they take in memory is bounded */

static void ask_page(struct upload_look *k);

/* The last thing that a caller does: it may free k. */
static void end(struct upload_look *k, enum status st, const char *text)
{
    struct error err;
    if (st)
        error_set(&err, st == STATUS_CANCELLED ? STATUS_UNAVAILABLE : st, "%s", text);
    k->done(k->arg, st ? &err : NULL);
}

static size_t slots_of(const struct msg_upload *m)
{
    size_t count = 0;
    for (size_t i = 0; i < m->pieces_count; i++)
        count += !i || m->pieces[i].offset / CHUNK_BYTES != m->pieces[i - 1].offset / CHUNK_BYTES;
    return count;
}

static void on_page(void *arg, const struct rpc_reply *reply)
{
    struct upload_look *k = arg;
    struct upload_state *u = &k->state;
    const struct msg_upload *m = reply->body;
    size_t before = u->pieces.len;
    k->call = NULL;
    if (reply->status) {
        end(k, reply->status, reply->text);
        return;
    }
    u->size_bytes = m->size_bytes;
    u->created_ms = m->created_ms;
    u->left_ms = m->left_ms;
    if (bytes_copy_str(m->place, u->place, sizeof u->place) || !pieces_add(&u->pieces, m)) {
        end(k, STATUS_CORRUPT, "the registry's record of the upload cannot be read");
        return;
    }
    pieces_resolve(&u->pieces, before);
    k->slots += slots_of(m);
    k->next += UPLOAD_PAGE;
    if (u->pieces.len > PIECES_MAX * sizeof(struct piece))
        end(k, STATUS_CONFLICT, "the upload has too many pieces; send larger ranges again");
    else if (k->slots >= m->slots || k->next >= MAX_CHUNKS || u->place[0])
        end(k, STATUS_OK, "");
    else
        ask_page(k);
}

static void ask_page(struct upload_look *k)
{
    struct msg_upload_ref body = { .id = bytes_str(k->state.id), .first = k->next };
    k->call =
        rpc_call(k->gateway->registry, MSG_UPLOAD_GET, &body, NULL, RPC_TIMEOUT_MS, on_page, k);
    if (!k->call)
        end(k, STATUS_BUSY, "too many requests wait for the registry; try again");
}

void upload_look_start(struct upload_look *k, struct gateway *g, struct bytes id,
                       upload_looked_fn *done, void *arg)
{
    *k = (struct upload_look){ .gateway = g, .done = done, .arg = arg };
    if (bytes_copy_str(id, k->state.id, sizeof k->state.id))
        k->state.id[0] = 0; /* the registry says that there is none */
    ask_page(k);
}

void upload_look_finish(struct upload_look *k)
{
    rpc_cancel(k->call);
    k->call = NULL;
    buf_finish(&k->state.pieces);
}
