/* training.c - /api/training: jobs that end as a new version. */
#include "services/gateway/api/training.h"
#include "services/gateway/tensor_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void put_number(struct buf *out, const char *name, double value)
{
    if (isfinite(value))
        buf_printf(out, ",\"%s\":%.9g", name, value);
    else
        buf_printf(out, ",\"%s\":null", name);
}

void training_put(struct buf *out, const struct msg_training *t, bool whole)
{
    buf_append_str(out, "{");
    api_put_string(out, "id", t->id);
    buf_printf(out, ",\"state\":\"%s\",", training_state_name(t->state));
    api_put_string(out, "model", t->model);
    buf_append_str(out, ",");
    api_put_string(out, "dataset", t->dataset);
    buf_append_str(out, ",");
    api_put_string(out, "learner", t->learner);
    if (t->target.len) {
        buf_append_str(out, ",");
        api_put_string(out, "target", t->target);
    }
    buf_printf(out, ",\"epoch\":%u,\"epochs\":%u", t->epoch, t->epochs);
    put_number(out, "progress", t->progress);
    put_number(out, "train_loss", t->train_loss);
    put_number(out, "validation_loss", t->validation_loss);
    put_number(out, "validation_accuracy", t->validation_accuracy);
    if (t->version)
        buf_printf(out, ",\"version\":\"%u\"", t->version);
    if (t->error.len) {
        buf_append_str(out, ",");
        api_put_string(out, "error", t->error);
    }
    buf_append_str(out, ",");
    api_put_json(out, "metrics", t->metrics, "{}");
    if (t->max_seconds)
        buf_printf(out, ",\"max_seconds\":%u", t->max_seconds);
    if (whole) {
        buf_append_str(out, ",");
        api_put_json(out, "params", t->params, "{}");
        buf_printf(out, ",\"seed\":%llu,\"deploy\":%s,\"attempts\":%u,",
                   (unsigned long long)t->seed, t->deploy ? "true" : "false", t->attempts);
        api_put_json(out, "history", t->history, "[]");
        buf_append_str(out, ",");
        api_put_string(out, "trainer", t->trainer);
    }
    buf_append_str(out, ",");
    api_put_time(out, "created", t->created_ms);
    buf_append_str(out, ",");
    api_put_time(out, "started", t->started_ms);
    buf_append_str(out, ",");
    api_put_time(out, "finished", t->finished_ms);
    buf_append_str(out, "}");
}

static int answer_one(struct gateway *g, struct http_request *r, const struct rpc_reply *reply,
                      struct buf *out)
{
    (void)g;
    (void)r;
    training_put(out, reply->body, true);
    return 200;
}

static int answer_submitted(struct gateway *g, struct http_request *r,
                            const struct rpc_reply *reply, struct buf *out)
{
    const struct msg_training *t = reply->body;
    char where[MAX_NAME + 32];
    (void)g;
    snprintf(where, sizeof where, "/api/training/%.*s", (int)t->id.len, (const char *)t->id.data);
    api_add_header(r, "location", where);
    training_put(out, t, true);
    return 202;
}

static int answer_list(struct gateway *g, struct http_request *r, const struct rpc_reply *reply,
                       struct buf *out)
{
    const struct msg_trainings *m = reply->body;
    (void)g;
    (void)r;
    buf_append_str(out, "{\"training\":[");
    for (size_t i = 0; i < m->trainings_count; i++) {
        buf_append_str(out, i ? "," : "");
        training_put(out, &m->trainings[i], false);
    }
    buf_append_str(out, "]}");
    return 200;
}

/* What the trainers can learn with.  One that has not all of them says so. */
static const char *const learners[] = { "linear", "logistic", "mlp",     "cnn",
                                        "tree",   "forest",   "boosted", "auto" };

/* Parameters that may stand beside "params", too. */
static const char *const beside[] = { "task", "budget_s", "trials", "on_bad_row" };

/* One text of params and of what stands beside it; owned, or NULL. */
static enum status join_params(yyjson_val *root, yyjson_val *object, char **params, size_t *len,
                               struct error *err)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *all = object ? yyjson_val_mut_copy(doc, object) : yyjson_mut_obj(doc);
    enum status st = STATUS_OK;
    yyjson_mut_doc_set_root(doc, all);
    for (size_t i = 0; i < sizeof beside / sizeof *beside && !st; i++) {
        yyjson_val *v = yyjson_obj_get(root, beside[i]);
        if (v && yyjson_mut_obj_get(all, beside[i]))
            st = error_set(err, STATUS_INVALID, "\"%s\" is there twice: in \"params\", too",
                           beside[i]);
        else if (v)
            yyjson_mut_obj_add_val(doc, all, beside[i], yyjson_val_mut_copy(doc, v));
    }
    if (!st && yyjson_mut_obj_size(all))
        *params = yyjson_mut_write(doc, 0, len);
    yyjson_mut_doc_free(doc);
    return st;
}

static enum status take_limit(yyjson_val *root, struct msg_submit *m, struct error *err)
{
    yyjson_val *v = yyjson_obj_get(root, "max_seconds");
    if (v &&
        (!yyjson_is_uint(v) || !yyjson_get_uint(v) || yyjson_get_uint(v) > MAX_TRAINING_SECONDS))
        return error_set(err, STATUS_INVALID, "\"max_seconds\" must be an integer from 1 to %d",
                         MAX_TRAINING_SECONDS);
    m->max_seconds = (uint32_t)yyjson_get_uint(v);
    return STATUS_OK;
}

/* Reads the members that are not plain strings.  params: owned text, free it. */
static enum status take_members(yyjson_val *root, struct msg_submit *m, char **params,
                                struct error *err)
{
    yyjson_val *seed = yyjson_obj_get(root, "seed");
    yyjson_val *deploy = yyjson_obj_get(root, "deploy");
    yyjson_val *object = yyjson_obj_get(root, "params");
    size_t len = 0;
    if (seed && !yyjson_is_uint(seed))
        return error_set(err, STATUS_INVALID, "\"seed\" must be an integer that is not negative");
    if (deploy && !yyjson_is_bool(deploy))
        return error_set(err, STATUS_INVALID, "\"deploy\" must be true or false");
    if (object && !yyjson_is_obj(object))
        return error_set(err, STATUS_INVALID, "\"params\" must be an object");
    m->seed = yyjson_get_uint(seed);
    m->deploy = yyjson_get_bool(deploy);
    if (take_limit(root, m, err) || join_params(root, object, params, &len, err))
        return err->status;
    if (len > MAX_JSON)
        return error_set(err, STATUS_TOO_LARGE, "\"params\" has more than %d bytes", MAX_JSON);
    m->params = bytes_of(*params, len);
    return STATUS_OK;
}

static enum status check_learner(struct bytes name, struct error *err)
{
    struct buf all = { 0 };
    for (size_t i = 0; i < sizeof learners / sizeof *learners; i++) {
        if (bytes_equal_str(name, learners[i])) {
            buf_finish(&all);
            return STATUS_OK;
        }
        buf_printf(&all, "%s%s", i ? ", " : "", learners[i]);
    }
    enum status st =
        error_set(err, STATUS_INVALID, "there is no learner '%.*s'; there are: %s",
                  (int)(name.len < 64 ? name.len : 64), (const char *)name.data, buf_cstr(&all));
    buf_finish(&all);
    return st;
}

static enum status take_submit(yyjson_val *root, struct msg_submit *m, char **params,
                               struct error *err)
{
    enum status st = api_string(root, "model", &m->model, err);
    if (!st)
        st = api_string(root, "dataset", &m->dataset, err);
    if (!st)
        st = api_string(root, "target", &m->target, err);
    if (!st)
        st = api_string(root, "learner", &m->learner, err);
    if (!st && !m->model.len)
        st = error_set(err, STATUS_INVALID, "\"model\" is missing");
    if (!st && !m->dataset.len)
        st = error_set(err, STATUS_INVALID, "\"dataset\" is missing");
    if (!st)
        st = name_check(m->model, "\"model\"", err);
    if (!st)
        st = name_check(m->dataset, "\"dataset\"", err);
    if (!st && m->target.len > MAX_NAME)
        st = error_set(err, STATUS_INVALID, "\"target\" has more than %d bytes", MAX_NAME);
    if (!st && !m->learner.len)
        m->learner = bytes_str("mlp");
    if (!st)
        st = check_learner(m->learner, err);
    return st ? st : take_members(root, m, params, err);
}

static void submit(struct call *c)
{
    struct msg_submit m = { 0 };
    struct error err = { .status = STATUS_OK };
    char *params = NULL;
    char key[MAX_NAME + 1];
    yyjson_doc *doc = api_body(c);
    if (!doc)
        return;
    enum status st = api_key(c->http, key, &err);
    m.key = bytes_str(key);
    if (st || take_submit(yyjson_doc_get_root(doc), &m, &params, &err))
        api_error(c->http, err.status, "%s", err.text);
    else
        api_ask(c, MSG_TRAINING_SUBMIT, &m, answer_submitted);
    free(params);
    yyjson_doc_free(doc);
}

static void list(struct call *c)
{
    api_ask(c, MSG_TRAINING_LIST, NULL, answer_list);
}

static void get(struct call *c)
{
    struct msg_name body = { .name = c->params[0] };
    api_ask(c, MSG_TRAINING_GET, &body, answer_one);
}

static void cancel(struct call *c)
{
    struct msg_name body = { .name = c->params[0] };
    api_ask(c, MSG_TRAINING_CANCEL, &body, answer_one);
}

const struct route training_routes[] = {
    { "POST", "/api/training", submit, NULL },
    { "GET", "/api/training", list, NULL },
    { "GET", "/api/training/{}", get, NULL },
    { "DELETE", "/api/training/{}", cancel, NULL },
    { 0 },
};
