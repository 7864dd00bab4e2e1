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
    return LIST(str("iris"), str(number), packed(&schema_version, &record), str(check), checked);
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
                                 LIST(str("iris"), str("1"), str("\xc1"), str("0"), str("")),
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
    return LIST(str(version), str("1"), str("5"), str("1700000000000"), str("16"), str("iris"),
                str("3"), str("25"));
}

Test(catalog, keeps_every_list_of_every_version)
{
    struct records records = { 0 };
    struct msg_catalog c;
    struct redisReply *reply =
        LIST(str("17"), LIST(deployment_reply("2"), version_reply("1", "1", passed()),
                             version_reply("2", "1", passed())));
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
    struct redisReply *reply =
        LIST(str("1"), LIST(deployment_reply("0"), version_reply("1", "0", str(""))));
    cr_assert_eq(record_catalog(&records, reply, &c), STATUS_OK);
    cr_assert_eq(c.versions_count, 1);
    cr_assert_eq(c.deployments_count, 0);
    records_finish(&records);
    freeReplyObject(reply);
}

Test(catalog, may_be_empty_and_may_not_be_anything)
{
    struct records records = { 0 };
    struct msg_catalog c;
    struct redisReply *empty = LIST(str("0"));
    struct redisReply *bad[] = { str("x"), LIST(str("1"), str("iris")),
                                 LIST(str("1"), LIST(str("iris"))) };
    cr_assert_eq(record_catalog(&records, empty, &c), STATUS_OK);
    cr_assert_eq(c.versions_count, 0);
    freeReplyObject(empty);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(record_catalog(&records, bad[i], &c), STATUS_CORRUPT, "%zu", i);
        freeReplyObject(bad[i]);
    }
    records_finish(&records);
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
