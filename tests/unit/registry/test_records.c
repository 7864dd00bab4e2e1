/* Redis replies to structs: what was committed, patched with what was found out later. */
#include "services/registry/records.h"

#include <criterion/criterion.h>
#include <hiredis/hiredis.h>

/* ---- replies made by hand ---- */

static struct redisReply *text(const void *data, size_t len)
{
    struct redisReply *r = mem_zalloc(sizeof *r);
    r->type = REDIS_REPLY_STRING;
    r->str = mem_alloc(len + 1);
    memcpy(r->str, data, len);
    r->str[len] = 0;
    r->len = len;
    return r;
}

static struct redisReply *str(const char *s)
{
    return text(s, strlen(s));
}

static struct redisReply *packed(const struct schema_struct *s, const void *body)
{
    struct buf b = { 0 };
    msg_pack(&b, s, body);
    struct redisReply *r = text(b.data, b.len);
    buf_finish(&b);
    return r;
}

static struct redisReply *list(size_t count, struct redisReply *const *elements)
{
    struct redisReply *r = mem_zalloc(sizeof *r);
    r->type = REDIS_REPLY_ARRAY;
    r->elements = count;
    r->element = mem_zalloc(count * sizeof *r->element);
    memcpy(r->element, elements, count * sizeof *r->element);
    return r;
}

#define LIST(...)                                                                      \
    list(sizeof((struct redisReply *[]){ __VA_ARGS__ }) / sizeof(struct redisReply *), \
         (struct redisReply *[]){ __VA_ARGS__ })

static struct redisReply *version_reply(const char *number, const char *check,
                                        struct redisReply *checked)
{
    struct msg_version record = { .format = bytes_str("onnx"), .size_bytes = 42 };
    return LIST(str("iris"), str(number), packed(&schema_version, &record), str(check), checked,
                str("{\"team\":\"blue\"}"), str("for people"), str("4"));
}

static struct redisReply *passed(void)
{
    static const int64_t shape[] = { -1, 4 };
    struct msg_tensor tensor = { bytes_str("x"), 11, { shape, 2 } };
    struct msg_version_checked c = {
        .check = CHECK_PASSED, .inputs = &tensor, .inputs_count = 1, .batchable = 1
    };
    return packed(&schema_version_checked, &c);
}

/* ---- versions ---- */

Test(version, is_the_record_and_what_its_check_found)
{
    struct records records = { 0 };
    struct msg_version v;
    struct redisReply *reply = version_reply("3", "1", passed());
    cr_assert_eq(record_version(&records, reply, &v), STATUS_OK);
    cr_assert(bytes_equal_str(v.model, "iris"));
    cr_assert(bytes_equal_str(v.format, "onnx"));
    cr_assert_eq(v.number, 3);
    cr_assert_eq(v.size_bytes, 42);
    cr_assert_eq(v.check, CHECK_PASSED);
    cr_assert_eq(v.batchable, 1);
    cr_assert_eq(v.inputs_count, 1);
    cr_assert_eq(v.inputs[0].shape.at[1], 4);
    cr_assert(bytes_equal_str(v.tags, "{\"team\":\"blue\"}"));
    cr_assert(bytes_equal_str(v.description, "for people"));
    cr_assert_eq(v.revision, 4);
    records_finish(&records);
    freeReplyObject(reply);
}

Test(version, without_a_check_has_no_signature)
{
    struct records records = { 0 };
    struct msg_version v;
    struct redisReply *reply = version_reply("1", "0", str(""));
    cr_assert_eq(record_version(&records, reply, &v), STATUS_OK);
    cr_assert_eq(v.check, CHECK_PENDING);
    cr_assert_eq(v.inputs_count, 0);
    records_finish(&records);
    freeReplyObject(reply);
}

Test(version, of_another_shape_is_corrupt)
{
    struct records records = { 0 };
    struct msg_version v;
    struct redisReply *bad[] = { str("text"), LIST(str("iris"), str("1")),
                                 LIST(str("iris"), str("1"), str("\xc1"), str("0"), str(""),
                                      str(""), str(""), str("1")),
                                 version_reply("1", "1", str("no msgpack")) };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(record_version(&records, bad[i], &v), STATUS_CORRUPT, "%zu", i);
        freeReplyObject(bad[i]);
    }
    records_finish(&records);
}

/* ---- the catalog ---- */

static struct redisReply *deployment_reply(const char *version)
{
    return LIST(str("model"), str("iris"), str("version"), str(version), str("previous"), str("1"),
                str("revision"), str("5"), str("changed_ms"), str("1700000000000"),
                str("max_batch"), str("16"), str("instances"), str("3"), str("max_batch_delay_ms"),
                str("25"), str("traffic"), str("2:9500,3:500"), str("previous_traffic"),
                str("1:10000"), str("shadow"), str("9,10"), str("sticky"), str("header:x-user-id"),
                str("queue_max"), str("7"), str("pool"), str("gold"));
}

static struct redisReply *aliases_reply(const char *revision, const char *aliases)
{
    return LIST(str("iris"), str(revision), str(aliases));
}

/* A page with one model, and whether more are to come. */
static struct redisReply *page(const char *more, struct redisReply *model)
{
    return LIST(str("17"), str(more), str("iris"), str("2"), model);
}

Test(aliases, come_in_the_order_of_their_names)
{
    struct records records = { 0 };
    struct msg_aliases aliases;
    static const char *const names[] = { "a", "a-b", "a.b", "a1", "b" };
    struct redisReply *reply = aliases_reply("3", "b:5,a-b:2,a1:4,a.b:3,a:1");
    cr_assert_eq(record_aliases(&records, reply, &aliases), STATUS_OK);
    cr_assert_eq(aliases.aliases_count, 5);
    for (size_t i = 0; i < 5; i++) {
        cr_assert(bytes_equal_str(aliases.aliases[i].name, names[i]));
        cr_assert_eq(aliases.aliases[i].version, i + 1);
    }
    records_finish(&records);
    freeReplyObject(reply);
}

Test(catalog, keeps_every_list_of_every_version)
{
    struct records records = { 0 };
    struct msg_catalog c;
    struct redisReply *reply =
        page("1", LIST(deployment_reply("2"), aliases_reply("3", "champion:2,next:1"),
                       version_reply("1", "1", passed()), version_reply("2", "1", passed())));
    cr_assert_eq(record_catalog(&records, reply, &c), STATUS_OK);
    cr_assert_eq(c.seq, 17);
    cr_assert_eq(c.versions_count, 2);
    cr_assert_eq(c.deployments_count, 1);
    cr_assert_eq(c.deployments[0].version, 2);
    cr_assert_eq(c.deployments[0].previous, 1);
    cr_assert_eq(c.deployments[0].changed_ms, 1700000000000ull);
    cr_assert_eq(c.deployments[0].max_batch, 16);
    cr_assert_eq(c.deployments[0].instances, 3);
    cr_assert_eq(c.deployments[0].max_batch_delay_ms, 25);
    cr_assert(c.more && c.after_version == 2 && bytes_equal_str(c.after, "iris"));
    cr_assert_eq(c.aliases_count, 1);
    cr_assert_eq(c.aliases[0].revision, 3);
    cr_assert_eq(c.aliases[0].aliases_count, 2);
    cr_assert(bytes_equal_str(c.aliases[0].aliases[0].name, "champion"));
    cr_assert_eq(c.aliases[0].aliases[1].version, 1);
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(c.versions[i].number, i + 1);
        cr_assert(bytes_equal_str(c.versions[i].inputs[0].name, "x"));
        cr_assert_eq(c.versions[i].inputs[0].shape.at[0], -1);
    }
    records_finish(&records);
    freeReplyObject(reply);
}

Test(catalog, shows_no_deployment_before_the_first)
{
    struct records records = { 0 };
    struct msg_catalog c;
    struct redisReply *reply = page(
        "0", LIST(deployment_reply("0"), aliases_reply("0", ""), version_reply("1", "0", str(""))));
    cr_assert_eq(record_catalog(&records, reply, &c), STATUS_OK);
    cr_assert_eq(c.versions_count, 1);
    cr_assert_eq(c.deployments_count + c.aliases_count, 0);
    cr_assert_not(c.more);
    records_finish(&records);
    freeReplyObject(reply);
}

Test(catalog, may_be_empty_and_may_not_be_anything)
{
    struct records records = { 0 };
    struct msg_catalog c;
    struct redisReply *empty = LIST(str("0"), str("0"), str(""), str("0"));
    struct redisReply *bad[] = { str("x"), LIST(str("1")), page("0", str("iris")),
                                 page("0", LIST(str("iris"), aliases_reply("1", ""))),
                                 page("0", LIST(deployment_reply("1"), str("champion:1"))) };
    cr_assert_eq(record_catalog(&records, empty, &c), STATUS_OK);
    cr_assert_eq(c.versions_count, 0);
    freeReplyObject(empty);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(record_catalog(&records, bad[i], &c), STATUS_CORRUPT, "%zu", i);
        freeReplyObject(bad[i]);
    }
    records_finish(&records);
}

Test(deployment, tells_who_shares_the_traffic)
{
    struct records records = { 0 };
    struct msg_deployment d;
    struct redisReply *reply = deployment_reply("2");
    cr_assert_eq(record_deployment(&records, reply, &d), STATUS_OK);
    cr_assert_eq(d.traffic_count, 2);
    cr_assert_eq(d.traffic[0].version, 2);
    cr_assert_eq(d.traffic[0].weight, 9500);
    cr_assert_eq(d.traffic[1].version, 3);
    cr_assert_eq(d.traffic[1].weight, 500);
    cr_assert_eq(d.previous_traffic_count, 1);
    cr_assert_eq(d.shadow.count, 2);
    cr_assert_eq(d.shadow.at[1], 10);
    cr_assert(bytes_equal_str(d.sticky, "header:x-user-id"));
    cr_assert(bytes_equal_str(d.pool, "gold"));
    cr_assert_eq(d.queue_max, 7);
    records_finish(&records);
    freeReplyObject(reply);
}

Test(deployment, of_another_form_is_corrupt)
{
    static const char *const bad[] = {
        "x",
        "1",
        "1:",
        "1:5;2:5",
        "1:2:3",
        ",",
        "1:1,",
        "1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,1:1,"
        "1:1,1:1"
    };
    struct records records = { 0 };
    struct msg_deployment d;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct redisReply *reply = LIST(str("traffic"), str(bad[i]));
        enum status st = record_deployment(&records, reply, &d);
        cr_expect(st == STATUS_CORRUPT || (i == 2 || i == 6), "%s", bad[i]);
        freeReplyObject(reply);
    }
    struct redisReply *shadows = LIST(str("shadow"), str("1,2,3,4,5"));
    cr_assert_eq(record_deployment(&records, shadows, &d), STATUS_CORRUPT);
    freeReplyObject(shadows);
    records_finish(&records);
}

Test(history, is_what_the_stream_holds)
{
    struct records records = { 0 };
    struct msg_history h;
    struct redisReply *reply =
        LIST(str("1"), LIST(str("1700000000000-3"),
                            LIST(str("who"), str("ada"), str("what"), str("deploy"), str("from"),
                                 str(""), str("to"), str("{\"version\":\"1\"}"))));
    cr_assert_eq(record_history(&records, reply, &h), STATUS_OK);
    cr_assert(h.more);
    cr_assert_eq(h.entries_count, 1);
    cr_assert_eq(h.entries[0].changed_ms, 1700000000000ull);
    cr_assert(bytes_equal_str(h.entries[0].id, "1700000000000-3"));
    cr_assert(bytes_equal_str(h.entries[0].who, "ada"));
    cr_assert(bytes_equal_str(h.entries[0].to, "{\"version\":\"1\"}"));
    records_finish(&records);
    freeReplyObject(reply);
}

/* ---- training ---- */

Test(training, is_the_submit_the_update_and_the_fields)
{
    struct records records = { 0 };
    struct msg_training t;
    struct msg_submit submit = { .model = bytes_str("iris"), .seed = 7, .deploy = true };
    struct msg_training_update update = { .epoch = 3, .epochs = 9, .train_loss = 0.5 };
    struct redisReply *reply =
        LIST(str("id"), str("t1"), str("submit"), packed(&schema_submit, &submit), str("update"),
             packed(&schema_training_update, &update), str("state"), str("1"), str("lease"),
             str("18446744073709551615"), str("cancel"), str("1"), str("history"), str("[]"));
    cr_assert_eq(record_training(&records, reply, &t), STATUS_OK);
    cr_assert(bytes_equal_str(t.id, "t1"));
    cr_assert(bytes_equal_str(t.model, "iris"));
    cr_assert_eq(t.seed, 7);
    cr_assert(t.deploy);
    cr_assert_eq(t.state, TRAINING_RUNNING);
    cr_assert_eq(t.epoch, 3);
    cr_assert_float_eq(t.train_loss, 0.5, 0);
    cr_assert_eq(t.lease, UINT64_MAX);
    cr_assert(t.cancel);
    cr_assert(bytes_equal_str(t.history, "[]"));
    records_finish(&records);
    freeReplyObject(reply);
}

Test(training, without_a_submit_is_corrupt)
{
    struct records records = { 0 };
    struct msg_training t;
    struct redisReply *reply = LIST(str("id"), str("t1"));
    cr_assert_eq(record_training(&records, reply, &t), STATUS_CORRUPT);
    records_finish(&records);
    freeReplyObject(reply);
}

/* ---- processes ---- */

Test(processes, that_cannot_be_read_are_left_out)
{
    struct records records = { 0 };
    struct msg_suite suite;
    struct msg_engine engine = { .model = bytes_str("iris"), .version = 2 };
    struct msg_process p = {
        .role = ROLE_WORKER, .id = bytes_str("w1"), .engines = &engine, .engines_count = 1
    };
    struct redisReply *reply = LIST(str("\xc1"), str("1"), packed(&schema_process, &p), str("250"));
    record_processes(&records, reply, &suite);
    cr_assert_eq(suite.processes_count, 1);
    cr_assert(bytes_equal_str(suite.processes[0].id, "w1"));
    cr_assert(bytes_equal_str(suite.processes[0].engines[0].model, "iris"));
    cr_assert_eq(suite.processes[0].age_ms, 250);
    records_finish(&records);
    freeReplyObject(reply);
}
