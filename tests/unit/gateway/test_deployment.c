/* What a client may say of a deployment, and what it is told. */
#include "services/gateway/api/deployment.h"

#include <criterion/criterion.h>

static struct msg_version_ref ref;
static struct error err;

static enum status take(const char *json)
{
    ref = (struct msg_version_ref){ 0 };
    yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
    enum status st = deployment_read(yyjson_doc_get_root(doc), &ref, &err);
    yyjson_doc_free(doc);
    return st;
}

Test(deployment, a_version_alone_changes_no_setting)
{
    cr_assert_eq(take("{\"version\":\"2\"}"), STATUS_OK);
    cr_assert_eq(ref.version, 2);
    cr_assert_eq(ref.changes, 0);
    cr_assert_eq(take("{\"version\":3}"), STATUS_OK);
    cr_assert_eq(ref.version, 3);
}

Test(deployment, settings_that_are_there_are_meant)
{
    cr_assert_eq(take("{\"instances\":4,\"version\":\"2\",\"max_batch_delay_ms\":0}"), STATUS_OK);
    cr_assert_eq(ref.instances, 4);
    cr_assert_eq(ref.max_batch_delay_ms, 0);
    cr_assert_eq(ref.changes, 1u << SETTING_INSTANCES | 1u << SETTING_MAX_BATCH_DELAY);
    cr_assert_eq(take("{\"version\":1,\"instances\":64,\"max_batch\":4096,"
                      "\"max_batch_delay_ms\":10000}"),
                 STATUS_OK);
    cr_assert_eq(ref.instances, MAX_INSTANCES);
    cr_assert_eq(ref.max_batch, MAX_BATCH_ROWS);
    cr_assert_eq(ref.max_batch_delay_ms, MAX_BATCH_DELAY_MS);
}

Test(deployment, what_is_off_is_named)
{
    static const struct {
        const char *json, *word;
    } bad[] = {
        { "{}", "\"version\"" },
        { "{\"version\":0}", "\"version\"" },
        { "{\"version\":null}", "\"version\"" },
        { "{\"version\":\"x\"}", "x" },
        { "{\"version\":1,\"instances\":65}", "\"instances\" must be a number from 0 to 64" },
        { "{\"version\":1,\"instances\":-1}", "\"instances\"" },
        { "{\"version\":1,\"instances\":\"2\"}", "\"instances\"" },
        { "{\"version\":1,\"max_batch\":4097}", "\"max_batch\"" },
        { "{\"version\":1,\"max_batch_delay_ms\":10001}", "\"max_batch_delay_ms\"" },
        { "{\"version\":1,\"max_batch_delay_ms\":0.5}", "\"max_batch_delay_ms\"" },
        { "{\"version\":1,\"replicas\":2}", "\"replicas\"" },
        { "{\"version\":1,\"Instances\":2}", "\"Instances\"" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(take(bad[i].json), STATUS_INVALID, "%s", bad[i].json);
        cr_expect(strstr(err.text, bad[i].word), "%s: %s", bad[i].json, err.text);
    }
}

Test(deployment, shows_every_setting)
{
    struct buf out = { 0 };
    struct msg_deployment d = { .instances = 2, .max_batch = 8, .max_batch_delay_ms = 5 };
    deployment_put_settings(&out, &d);
    cr_assert_str_eq(buf_cstr(&out), "\"instances\":2,\"max_batch\":8,\"max_batch_delay_ms\":5,");
    buf_finish(&out);
}
