/* deploy.c - /api/models/{m}/deployment: what the plain name serves, and the way back. */
#include "services/gateway/api/deployment.h"
#include "services/gateway/api/show.h"

static void get_deployment(struct call *c)
{
    struct buf out = { 0 };
    struct catalog_model *m = api_model(c);
    if (!m)
        return;
    buf_append_str(&out, "{");
    api_put_string(&out, "model", bytes_str(m->name));
    buf_append_str(&out, ",\"deployment\":");
    show_deployment(c->gateway, &out, &m->deployment);
    buf_append_str(&out, "}");
    api_json(c->http, 200, &out);
}

static int answer_deploy(struct gateway *g, struct http_request *r, const struct rpc_reply *reply,
                         struct buf *out)
{
    struct msg_deployment d = *(const struct msg_deployment *)reply->body;
    struct msg_catalog put = { .deployments = &d, .deployments_count = 1 };
    (void)r;
    replica_put(g->replica, &put); /* so that a GET right after this shows it */
    buf_append_str(out, "{");
    api_put_string(out, "model", d.model);
    buf_append_str(out, ",\"deployment\":");
    show_deployment(g, out, &d);
    buf_append_str(out, "}");
    return 200;
}

static void put_deployment(struct call *c)
{
    struct error err = { .status = STATUS_OK };
    struct deployment_ask ask = { .body.model = c->params[0] };
    if (!api_model_named(c) || !api_user(c, &ask.body.process))
        return;
    yyjson_doc *doc = api_body(c);
    if (!doc)
        return;
    const struct catalog *catalog = replica_catalog(c->gateway->replica);
    enum status st =
        deployment_read(yyjson_doc_get_root(doc), catalog_find(catalog, c->params[0]), &ask, &err);
    if (st)
        api_error(c->http, st, "%s", err.text);
    else
        api_ask(c, MSG_DEPLOY, &ask.body, answer_deploy);
    yyjson_doc_free(doc);
}

static void rollback(struct call *c)
{
    struct msg_version_ref ref = { .model = c->params[0] };
    char key[MAX_NAME + 1];
    struct error err;
    if (!api_model_named(c) || !api_user(c, &ref.process))
        return;
    if (api_key(c->http, key, &err)) {
        api_error(c->http, err.status, "%s", err.text);
        return;
    }
    if (c->http->idempotency_key[0]) /* a key of ours would be of use to nobody */
        ref.key = bytes_str(key);
    api_ask(c, MSG_ROLLBACK, &ref, answer_deploy);
}

const struct route deploy_routes[] = {
    { "GET", "/api/models/{}/deployment", get_deployment, NULL },
    { "PUT", "/api/models/{}/deployment", put_deployment, NULL },
    { "POST", "/api/models/{}/rollback", rollback, NULL },
    { 0 },
};
