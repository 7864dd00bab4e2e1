/* describe.c - what is said of models and versions: aliases, tags, history; and their end. */
#include "services/registry/registry.h"

#include "common/base/log.h"
#include "services/registry/checks.h"
#include "services/registry/records.h"

#include <stdlib.h>

/* ---- aliases ------------------------------------------------------------------------------ */

static void answer_aliases(struct request *r, const struct redisReply *reply)
{
    struct records records = { 0 };
    struct msg_aliases aliases;
    if (record_aliases(&records, reply, &aliases)) {
        request_fail_corrupt(r, "list of aliases");
    } else {
        log_info("aliases changed", LOG_S("model", r->subject),
                 LOG_U("count", aliases.aliases_count), LOG_U("revision", aliases.revision));
        request_answer(r, MSG_ALIASES, &aliases, NULL);
    }
    records_finish(&records);
}

/* What looks like a number is one. */
static enum status check_alias(struct bytes alias, struct error *err)
{
    const char *p = alias.data;
    enum status st = name_check(alias, "the alias", err);
    for (size_t i = 0; i < alias.len && !st; i++)
        if (p[i] < '0' || p[i] > '9')
            return STATUS_OK;
    return st ? st : error_set(err, STATUS_INVALID, "the alias is a number, as versions have them");
}

void on_alias_put(void *arg, const struct rpc_request *from)
{
    const struct msg_alias_put *m = from->body;
    struct request *r = request_open(arg, from, m->model, answer_aliases);
    struct error err;
    struct fcall call;
    if (!r)
        return;
    enum status st = name_check(m->model, "the model's name", &err);
    if (!st)
        st = check_alias(m->alias, &err);
    if (st || check_who(m->process, &err)) {
        request_refuse(r, &err);
        return;
    }
    fcall_begin(&call, "maas_alias_put");
    fcall_add(&call, m->model);
    fcall_add(&call, m->alias);
    fcall_add_number(&call, m->version);
    fcall_add(&call, m->process);
    if (m->compare)
        fcall_add_number(&call, m->expected);
    else
        fcall_add_str(&call, "");
    request_ask(r, &call);
}

/* ---- tags and description ----------------------------------------------------------------- */

static enum status check_describe(const struct msg_describe *m, struct error *err)
{
    enum status st = name_check(m->model, "the model's name", err);
    if (!st)
        st = check_who(m->process, err);
    if (!st)
        st = check_json_object(m->tags, "tags", err);
    return st ? st : check_text(m->description, "the description", err);
}

void on_version_describe(void *arg, const struct rpc_request *from)
{
    const struct msg_describe *m = from->body;
    struct request *r = request_open(arg, from, m->model, answer_version);
    struct error err;
    struct fcall call;
    if (!r)
        return;
    if (check_describe(m, &err)) {
        request_refuse(r, &err);
        return;
    }
    fcall_begin(&call, "maas_describe");
    fcall_add(&call, m->model);
    fcall_add_number(&call, m->version);
    fcall_add(&call, m->process);
    if (m->changes & 1u << DESCRIBE_TAGS) {
        fcall_add_str(&call, "tags");
        fcall_add(&call, m->tags);
    }
    if (m->changes & 1u << DESCRIBE_DESCRIPTION) {
        fcall_add_str(&call, "description");
        fcall_add(&call, m->description);
    }
    request_ask(r, &call);
}

/* ---- deleting ----------------------------------------------------------------------------- */

/* The numbers that are gone. */
static void answer_deleted(struct request *r, const struct redisReply *reply)
{
    size_t count = reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0;
    if (count > MAX_PAGE)
        count = MAX_PAGE; /* the events tell of the others */
    struct msg_version *versions = mem_zalloc((count + 1) * sizeof *versions);
    for (size_t i = 0; i < count; i++) {
        versions[i].model = bytes_str(r->subject);
        versions[i].number = (uint32_t)record_number(reply->element[i]);
        versions[i].deleted = true;
    }
    log_info("deleted", LOG_S("model", r->subject), LOG_U("version", r->number),
             LOG_U("versions", count));
    request_answer(r, MSG_CATALOG,
                   &(struct msg_catalog){ .versions = versions, .versions_count = count }, NULL);
    free(versions);
}

static void delete_record(struct registry *g, const struct rpc_request *from, bool whole)
{
    const struct msg_version_ref *m = from->body;
    struct request *r = request_open(g, from, m->model, answer_deleted);
    struct error err;
    struct fcall call;
    if (!r)
        return;
    enum status st = name_check(m->model, "the model's name", &err);
    if (st || check_who(m->process, &err)) {
        request_refuse(r, &err);
        return;
    }
    r->number = m->version;
    fcall_begin(&call, whole ? "maas_model_delete" : "maas_version_delete");
    fcall_add(&call, m->model);
    if (!whole)
        fcall_add_number(&call, m->version);
    fcall_add(&call, m->process);
    request_ask(r, &call);
}

void on_version_delete(void *arg, const struct rpc_request *from)
{
    delete_record(arg, from, false);
}

void on_model_delete(void *arg, const struct rpc_request *from)
{
    delete_record(arg, from, true);
}

/* ---- history ------------------------------------------------------------------------------ */

static void answer_history(struct request *r, const struct redisReply *reply)
{
    struct records records = { 0 };
    struct msg_history history;
    if (record_history(&records, reply, &history)) {
        request_fail_corrupt(r, "history");
    } else {
        history.model = bytes_str(r->subject);
        request_answer(r, MSG_HISTORY, &history, NULL);
    }
    records_finish(&records);
}

#define ID_DIGITS 20 /* of 2^64; one less always fits */

static size_t digits(const char *p, const char *end)
{
    size_t n = 0;
    while (p + n < end && p[n] >= '0' && p[n] <= '9')
        n++;
    return n;
}

/* "1700000000000-0", as Redis names what is in a stream; or empty. */
static enum status check_entry_id(struct bytes id, struct error *err)
{
    const char *p = id.data, *end = p + id.len;
    size_t first = digits(p, end), second = 0;
    if (first < id.len && p[first] == '-')
        second = 1 + digits(p + first + 1, end);
    bool fits = !id.len || (first && first < ID_DIGITS && second != 1 && second <= ID_DIGITS &&
                            first + second == id.len);
    return fits ? STATUS_OK
                : error_set(err, STATUS_INVALID, "\"before\" is no id of a history's entry");
}

void on_history_get(void *arg, const struct rpc_request *from)
{
    const struct msg_history_get *m = from->body;
    struct request *r = request_open(arg, from, m->model, answer_history);
    struct error err;
    struct fcall call;
    if (!r)
        return;
    enum status st = name_check(m->model, "the model's name", &err);
    if (st || check_entry_id(m->before, &err)) {
        request_refuse(r, &err);
        return;
    }
    fcall_begin(&call, "maas_history");
    fcall_add(&call, m->model);
    fcall_add(&call, m->before);
    fcall_add_number(&call, m->limit && m->limit < MAX_ENTRIES ? m->limit : MAX_ENTRIES);
    request_ask(r, &call);
}
