/* records.c - Redis replies to schema structs. */
#include "services/registry/records.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>

/* ---- memory ------------------------------------------------------------------------------- */

static void *keep(struct records *r, size_t size)
{
    r->blocks = mem_resize(r->blocks, (r->count + 1) * sizeof *r->blocks);
    r->blocks[r->count] = mem_zalloc(size);
    return r->blocks[r->count++];
}

static void *keep_copy(struct records *r, const void *list, size_t size)
{
    if (!size)
        return NULL;
    return memcpy(keep(r, size), list, size);
}

void records_finish(struct records *r)
{
    for (size_t i = 0; i < r->count; i++)
        free(r->blocks[i]);
    free(r->blocks);
    msg_decoder_finish(&r->decoder);
    *r = (struct records){ 0 };
}

/* body is good until the next use of the decoder. */
static enum status unpack(struct records *r, const struct schema_struct *s, struct bytes packed,
                          const void **body)
{
    bool bad = !packed.len || msg_unpack(&r->decoder, s, packed, body, NULL);
    return bad ? STATUS_CORRUPT : STATUS_OK;
}

static bool is_list(const struct redisReply *reply, size_t elements)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == elements;
}

/* ---- values ------------------------------------------------------------------------------- */

struct bytes record_text(const struct redisReply *reply)
{
    bool string = reply && (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS);
    return string ? bytes_of(reply->str, reply->len) : bytes_of(NULL, 0);
}

uint64_t record_number(const struct redisReply *reply)
{
    if (reply && reply->type == REDIS_REPLY_INTEGER)
        return reply->integer < 0 ? 0 : (uint64_t)reply->integer;
    return reply && reply->type == REDIS_REPLY_STRING ? strtoull(reply->str, NULL, 10) : 0;
}

const struct redisReply *record_field(const struct redisReply *pairs, const char *name)
{
    for (size_t i = 0; i + 1 < pairs->elements; i += 2)
        if (bytes_equal_str(record_text(pairs->element[i]), name))
            return pairs->element[i + 1];
    return NULL;
}

static struct bytes text_of(const struct redisReply *pairs, const char *name)
{
    return record_text(record_field(pairs, name));
}

static uint64_t number_of(const struct redisReply *pairs, const char *name)
{
    return record_number(record_field(pairs, name));
}

/* ---- versions ----------------------------------------------------------------------------- */

static struct msg_tensor *keep_tensors(struct records *r, const struct msg_tensor *list,
                                       size_t count)
{
    struct msg_tensor *copy = keep_copy(r, list, count * sizeof *list);
    for (size_t i = 0; i < count; i++)
        copy[i].shape.at =
            keep_copy(r, list[i].shape.at, list[i].shape.count * sizeof *list[i].shape.at);
    return copy;
}

/* The next record that is unpacked takes the memory of these. */
static void keep_files(struct records *r, struct msg_version *v)
{
    if (v->files_count)
        v->files = keep_copy(r, v->files, v->files_count * sizeof *v->files);
}

static enum status add_checked(struct records *r, struct bytes checked, struct msg_version *out)
{
    const void *body;
    enum status st = unpack(r, &schema_version_checked, checked, &body);
    if (st)
        return st;
    const struct msg_version_checked *c = body;
    out->reason = c->reason;
    out->inputs = keep_tensors(r, c->inputs, c->inputs_count);
    out->inputs_count = c->inputs_count;
    out->outputs = keep_tensors(r, c->outputs, c->outputs_count);
    out->outputs_count = c->outputs_count;
    out->batchable = c->batchable;
    return STATUS_OK;
}

static enum status make_version(struct records *r, const struct redisReply *record,
                                const struct redisReply *checked, struct msg_version *out)
{
    const void *body;
    enum status st = unpack(r, &schema_version, record_text(record), &body);
    if (st)
        return st;
    *out = *(const struct msg_version *)body;
    out->inputs = out->outputs = NULL; /* the check finds them */
    out->inputs_count = out->outputs_count = 0;
    keep_files(r, out);
    return record_text(checked).len ? add_checked(r, record_text(checked), out) : STATUS_OK;
}

enum status record_version(struct records *r, const struct redisReply *values,
                           struct msg_version *out)
{
    if (!is_list(values, 8))
        return STATUS_CORRUPT;
    struct redisReply **v = values->element;
    enum status st = make_version(r, v[2], v[4], out);
    if (st)
        return st;
    out->model = record_text(v[0]);
    out->number = (uint32_t)record_number(v[1]);
    out->check = (uint32_t)record_number(v[3]);
    if (record_text(v[5]).len) /* else what an older release has put into the record */
        out->tags = record_text(v[5]);
    out->description = record_text(v[6]);
    out->revision = record_number(v[7]);
    return STATUS_OK;
}

enum status record_version_event(struct records *r, const struct redisReply *pairs,
                                 struct msg_version *out)
{
    enum status st = STATUS_OK;
    *out = (struct msg_version){ .deleted = true };
    if (!number_of(pairs, "deleted"))
        st = make_version(r, record_field(pairs, "record"), record_field(pairs, "checked"), out);
    out->model = text_of(pairs, "model");
    out->number = (uint32_t)number_of(pairs, "number");
    out->check = (uint32_t)number_of(pairs, "check");
    if (text_of(pairs, "tags").len)
        out->tags = text_of(pairs, "tags");
    out->description = text_of(pairs, "description");
    out->revision = number_of(pairs, "revision");
    return st;
}

/* ---- deployments and aliases -------------------------------------------------------------- */

/* "7:9500,8:500".  CORRUPT: something else. */
static enum status read_shares(struct records *r, struct bytes text, struct msg_share **list,
                               size_t *count)
{
    const char *p = text.data, *end = p + text.len;
    *list = text.len ? keep(r, MAX_SHARES * sizeof **list) : NULL;
    for (*count = 0; p < end; p++) {
        char *stop;
        if (*count == MAX_SHARES)
            return STATUS_CORRUPT;
        struct msg_share *share = &(*list)[(*count)++];
        share->version = (uint32_t)strtoul(p, &stop, 10);
        if (*stop != ':')
            return STATUS_CORRUPT;
        share->weight = (uint32_t)strtoul(stop + 1, &stop, 10);
        if (stop < end && *stop != ',')
            return STATUS_CORRUPT;
        p = stop;
    }
    return STATUS_OK;
}

/* "9,10" */
static enum status read_versions(struct records *r, struct bytes text, struct i64s *out)
{
    const char *p = text.data, *end = p + text.len;
    int64_t *list = text.len ? keep(r, MAX_SHADOWS * sizeof *list) : NULL;
    size_t count = 0;
    for (; p < end; p++) {
        char *stop;
        if (count == MAX_SHADOWS)
            return STATUS_CORRUPT;
        list[count++] = strtol(p, &stop, 10);
        if (stop == p || (stop < end && *stop != ','))
            return STATUS_CORRUPT;
        p = stop;
    }
    *out = (struct i64s){ list, count };
    return STATUS_OK;
}

enum status record_deployment(struct records *r, const struct redisReply *pairs,
                              struct msg_deployment *out)
{
    if (pairs->type != REDIS_REPLY_ARRAY)
        return STATUS_CORRUPT;
    *out = (struct msg_deployment){
        .model = text_of(pairs, "model"),
        .version = (uint32_t)number_of(pairs, "version"),
        .previous = (uint32_t)number_of(pairs, "previous"),
        .revision = number_of(pairs, "revision"),
        .changed_ms = number_of(pairs, "changed_ms"),
        .max_batch = (uint32_t)number_of(pairs, "max_batch"),
        .instances = (uint32_t)number_of(pairs, "instances"),
        .max_batch_delay_ms = (uint32_t)number_of(pairs, "max_batch_delay_ms"),
        .sticky = text_of(pairs, "sticky"),
        .queue_max = (uint32_t)number_of(pairs, "queue_max"),
        .pool = text_of(pairs, "pool"),
        .rollout = (uint32_t)number_of(pairs, "rollout"),
        .slow_us = number_of(pairs, "slow_us"),
    };
    enum status st = read_shares(r, text_of(pairs, "traffic"), &out->traffic, &out->traffic_count);
    if (!st)
        st = read_shares(r, text_of(pairs, "previous_traffic"), &out->previous_traffic,
                         &out->previous_traffic_count);
    return st ? st : read_versions(r, text_of(pairs, "shadow"), &out->shadow);
}

/* Byte by byte: Redis sorts as its locale says, and names together with their colons. */
static int by_name(const void *a, const void *b)
{
    struct bytes one = ((const struct msg_alias *)a)->name;
    struct bytes two = ((const struct msg_alias *)b)->name;
    int order = memcmp(one.data, two.data, one.len < two.len ? one.len : two.len);
    return order ? order : (one.len > two.len) - (one.len < two.len);
}

/* "champion:7,next:8", in any order */
static enum status read_aliases(struct records *r, struct bytes text, struct msg_aliases *out)
{
    const char *p = text.data, *end = p + text.len;
    out->aliases = text.len ? keep(r, MAX_ALIASES * sizeof *out->aliases) : NULL;
    for (out->aliases_count = 0; p < end; p++) {
        const char *colon = memchr(p, ':', (size_t)(end - p));
        char *stop;
        if (!colon || out->aliases_count == MAX_ALIASES)
            return STATUS_CORRUPT;
        struct msg_alias *alias = &out->aliases[out->aliases_count++];
        alias->name = bytes_of(p, (size_t)(colon - p));
        alias->version = (uint32_t)strtoul(colon + 1, &stop, 10);
        if (stop < end && *stop != ',')
            return STATUS_CORRUPT;
        p = stop;
    }
    if (out->aliases_count > 1)
        qsort(out->aliases, out->aliases_count, sizeof *out->aliases, by_name);
    return STATUS_OK;
}

enum status record_aliases(struct records *r, const struct redisReply *values,
                           struct msg_aliases *out)
{
    if (!is_list(values, 3))
        return STATUS_CORRUPT;
    *out = (struct msg_aliases){ .model = record_text(values->element[0]),
                                 .revision = record_number(values->element[1]) };
    return read_aliases(r, record_text(values->element[2]), out);
}

enum status record_aliases_event(struct records *r, const struct redisReply *pairs,
                                 struct msg_aliases *out)
{
    *out = (struct msg_aliases){ .model = text_of(pairs, "model"),
                                 .revision = number_of(pairs, "revision") };
    return read_aliases(r, text_of(pairs, "aliases"), out);
}

/* ---- the catalog -------------------------------------------------------------------------- */

#define PAGE_HEAD  4 /* seq, more, model, number */
#define MODEL_HEAD 2 /* deployment, aliases */

/* {deployment, aliases, version...}.  What a model does not have is not told. */
static enum status add_model(struct records *r, const struct redisReply *entry,
                             struct msg_catalog *out)
{
    struct msg_deployment *d = &out->deployments[out->deployments_count];
    struct msg_aliases *a = &out->aliases[out->aliases_count];
    enum status st = record_deployment(r, entry->element[0], d);
    if (!st)
        st = record_aliases(r, entry->element[1], a);
    if (st)
        return st;
    out->deployments_count += d->version != 0;
    out->aliases_count += a->revision != 0;
    for (size_t i = MODEL_HEAD; i < entry->elements && !st; i++) {
        st = record_version(r, entry->element[i], &out->versions[out->versions_count]);
        out->versions_count += !st;
    }
    return st;
}

enum status record_catalog(struct records *r, const struct redisReply *reply,
                           struct msg_catalog *out)
{
    size_t versions = 0;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < PAGE_HEAD)
        return STATUS_CORRUPT;
    struct redisReply **e = reply->element;
    for (size_t i = PAGE_HEAD; i < reply->elements; i++) {
        if (e[i]->type != REDIS_REPLY_ARRAY || e[i]->elements < MODEL_HEAD)
            return STATUS_CORRUPT;
        versions += e[i]->elements - MODEL_HEAD;
    }
    *out = (struct msg_catalog){ .seq = record_number(e[0]),
                                 .more = record_number(e[1]) != 0,
                                 .after = record_text(e[2]),
                                 .after_version = (uint32_t)record_number(e[3]) };
    out->versions = keep(r, versions * sizeof *out->versions);
    out->deployments = keep(r, reply->elements * sizeof *out->deployments);
    out->aliases = keep(r, reply->elements * sizeof *out->aliases);
    enum status st = STATUS_OK;
    for (size_t i = PAGE_HEAD; i < reply->elements && !st; i++)
        st = add_model(r, e[i], out);
    return st;
}

/* ---- history ------------------------------------------------------------------------------ */

static enum status read_entry(const struct redisReply *e, struct msg_entry *out)
{
    if (!is_list(e, 2) || e->element[1]->type != REDIS_REPLY_ARRAY)
        return STATUS_CORRUPT;
    const struct redisReply *pairs = e->element[1];
    *out = (struct msg_entry){
        .id = record_text(e->element[0]),
        .changed_ms = record_number(e->element[0]), /* what Redis puts before the '-' */
        .who = text_of(pairs, "who"),
        .what = text_of(pairs, "what"),
        .from = text_of(pairs, "from"),
        .to = text_of(pairs, "to"),
    };
    return STATUS_OK;
}

enum status record_history(struct records *r, const struct redisReply *reply,
                           struct msg_history *out)
{
    enum status st = STATUS_OK;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 1)
        return STATUS_CORRUPT;
    *out = (struct msg_history){ .more = record_number(reply->element[0]) != 0,
                                 .entries = keep(r, reply->elements * sizeof *out->entries) };
    for (size_t i = 1; i < reply->elements && !st; i++)
        st = read_entry(reply->element[i], &out->entries[out->entries_count++]);
    return st;
}

/* ---- training ----------------------------------------------------------------------------- */

static void take_submit(const struct msg_submit *s, struct msg_training *out)
{
    out->model = s->model;
    out->dataset = s->dataset;
    out->target = s->target;
    out->learner = s->learner;
    out->params = s->params;
    out->seed = s->seed;
    out->deploy = s->deploy;
    out->max_seconds = s->max_seconds;
}

static void take_update(const struct msg_training_update *u, struct msg_training *out)
{
    out->epoch = u->epoch;
    out->epochs = u->epochs;
    out->progress = u->progress;
    out->train_loss = u->train_loss;
    out->validation_loss = u->validation_loss;
    out->validation_accuracy = u->validation_accuracy;
}

static void take_fields(const struct redisReply *pairs, struct msg_training *out)
{
    out->id = text_of(pairs, "id");
    out->state = (uint32_t)number_of(pairs, "state");
    out->history = text_of(pairs, "history");
    out->metrics = text_of(pairs, "metrics");
    out->version = (uint32_t)number_of(pairs, "version");
    out->error = text_of(pairs, "error");
    out->attempts = (uint32_t)number_of(pairs, "attempts");
    out->trainer = text_of(pairs, "trainer");
    out->created_ms = number_of(pairs, "created_ms");
    out->started_ms = number_of(pairs, "started_ms");
    out->finished_ms = number_of(pairs, "finished_ms");
    out->lease = number_of(pairs, "lease");
    out->cancel = number_of(pairs, "cancel") != 0;
    out->checkpoint = text_of(pairs, "checkpoint");
    out->catalog_seq = number_of(pairs, "catalog");
    if (out->state == TRAINING_DONE)
        out->progress = 1;
}

enum status record_training(struct records *r, const struct redisReply *pairs,
                            struct msg_training *out)
{
    const void *body;
    struct bytes update = text_of(pairs, "update");
    enum status st = unpack(r, &schema_submit, text_of(pairs, "submit"), &body);
    if (st)
        return st;
    *out = (struct msg_training){ 0 };
    take_submit(body, out);
    if (update.len) {
        st = unpack(r, &schema_training_update, update, &body);
        if (st)
            return st;
        take_update(body, out);
    }
    take_fields(pairs, out);
    return STATUS_OK;
}

/* ---- datasets ----------------------------------------------------------------------------- */

static enum status make_dataset(struct records *r, const struct redisReply *entry,
                                struct msg_dataset *out)
{
    if (!is_list(entry, 2) || entry->element[1]->type != REDIS_REPLY_ARRAY)
        return STATUS_CORRUPT;
    const struct redisReply *files = entry->element[1];
    *out = (struct msg_dataset){ .name = record_text(entry->element[0]) };
    out->files = keep(r, (files->elements / 2) * sizeof *out->files);
    for (size_t i = 0; i + 1 < files->elements; i += 2) {
        const void *body;
        enum status st = unpack(r, &schema_file, record_text(files->element[i + 1]), &body);
        if (st)
            return st;
        out->files[out->files_count++] = *(const struct msg_file *)body;
    }
    return STATUS_OK;
}

enum status record_datasets(struct records *r, const struct redisReply *reply,
                            struct msg_datasets *out)
{
    enum status st = STATUS_OK;
    *out = (struct msg_datasets){ .datasets = keep(r, reply->elements * sizeof *out->datasets) };
    for (size_t i = 0; i < reply->elements && !st; i++)
        st = make_dataset(r, reply->element[i], &out->datasets[out->datasets_count++]);
    return st;
}

/* ---- processes ---------------------------------------------------------------------------- */

void record_processes(struct records *r, const struct redisReply *reply, struct msg_suite *out)
{
    *out = (struct msg_suite){ .processes = keep(r, reply->elements * sizeof *out->processes) };
    for (size_t i = 0; i + 1 < reply->elements && out->processes_count < MAX_PROCESSES; i += 2) {
        const void *body;
        if (unpack(r, &schema_process, record_text(reply->element[i]), &body))
            continue;
        struct msg_process *p = &out->processes[out->processes_count++];
        *p = *(const struct msg_process *)body;
        p->engines = keep_copy(r, p->engines, p->engines_count * sizeof *p->engines);
        p->counters = keep_copy(r, p->counters, p->counters_count * sizeof *p->counters);
        p->age_ms = record_number(reply->element[i + 1]);
    }
}
