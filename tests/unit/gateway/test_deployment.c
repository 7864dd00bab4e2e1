/* What a client may say of a deployment. */
#include "services/gateway/api/deployment.h"

#include <criterion/criterion.h>

static struct deployment_ask ask;
static struct error err;
static const struct catalog_model *model; /* whose aliases are known */

static enum status take(const char *json)
{
    static yyjson_doc *doc;
    yyjson_doc_free(doc); /* what ask borrowed from it */
    ask = (struct deployment_ask){ 0 };
    doc = yyjson_read(json, strlen(json), 0);
    return deployment_read(yyjson_doc_get_root(doc), model, &ask, &err);
}

Test(deployment, a_version_alone_changes_no_setting)
{
    cr_assert_eq(take("{\"version\":\"2\"}"), STATUS_OK);
    cr_assert_eq(ask.body.version, 2);
    cr_assert_eq(ask.body.changes, 0);
    cr_assert_eq(ask.body.traffic_count, 0);
    cr_assert_eq(take("{\"version\":3}"), STATUS_OK);
    cr_assert_eq(ask.body.version, 3);
}

Test(deployment, settings_that_are_there_are_meant)
{
    const struct msg_deploy *d = &ask.body;
    cr_assert_eq(take("{\"instances\":4,\"version\":\"2\",\"max_batch_delay_ms\":0}"), STATUS_OK);
    cr_assert_eq(d->instances, 4);
    cr_assert_eq(d->max_batch_delay_ms, 0);
    cr_assert_eq(d->changes, 1u << SETTING_INSTANCES | 1u << SETTING_MAX_BATCH_DELAY);
    cr_assert_eq(take("{\"version\":1,\"instances\":64,\"max_batch\":4096,\"queue_max\":9,"
                      "\"max_batch_delay_ms\":10000,\"pool\":\"gold\",\"sticky\":\"header:x-user\","
                      "\"shadow\":[\"9\",10]}"),
                 STATUS_OK);
    cr_assert_eq(d->instances, MAX_INSTANCES);
    cr_assert_eq(d->max_batch, MAX_BATCH_ROWS);
    cr_assert_eq(d->max_batch_delay_ms, MAX_BATCH_DELAY_MS);
    cr_assert_eq(d->queue_max, 9);
    cr_assert(bytes_equal_str(d->pool, "gold"));
    cr_assert(bytes_equal_str(d->sticky, "header:x-user"));
    cr_assert(d->shadow.count == 2 && d->shadow.at[0] == 9 && d->shadow.at[1] == 10);
    cr_assert_eq(d->changes, (1u << SETTING_COUNT) - 1);
}

Test(deployment, weights_are_hundredths_of_a_percent)
{
    static const struct {
        const char *text;
        uint32_t weight;
    } good[] = { { "95", 9500 },   { "0.01", 1 },     { "33.33", 3333 },
                 { "100", 10000 }, { "99.99", 9999 }, { "1e1", 1000 } };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char json[128];
        snprintf(json, sizeof json, "{\"traffic\":[{\"version\":\"7\",\"weight\":%s}]}",
                 good[i].text);
        cr_expect_eq(take(json), STATUS_OK, "%s: %s", json, err.text);
        cr_expect_eq(ask.body.traffic_count, 1);
        cr_expect_eq(ask.traffic[0].version, 7);
        cr_expect_eq(ask.traffic[0].weight, good[i].weight, "%s", good[i].text);
    }
}

Test(deployment, an_alias_stands_for_its_version)
{
    struct catalog c = { 0 };
    struct msg_alias alias = { bytes_str("champion"), 7 };
    struct msg_version v = { .model = bytes_str("m"), .number = 7 };
    struct msg_aliases all = { .model = bytes_str("m"), .aliases = &alias, .aliases_count = 1 };
    catalog_apply(&c,
                  &(struct msg_catalog){
                      .versions = &v, .versions_count = 1, .aliases = &all, .aliases_count = 1 },
                  false);
    cr_assert_eq(take("{\"version\":\"champion\"}"), STATUS_INVALID, "nothing is known of it");
    model = catalog_find(&c, bytes_str("m"));
    cr_assert_eq(take("{\"version\":\"champion\",\"shadow\":[\"champion\"]}"), STATUS_OK);
    cr_assert_eq(ask.body.version, 7);
    cr_assert_eq(ask.shadow[0], 7);
    cr_assert_eq(take("{\"traffic\":[{\"version\":\"champion\",\"weight\":100}]}"), STATUS_OK);
    cr_assert_eq(ask.traffic[0].version, 7);
    cr_assert_eq(take("{\"version\":\"other\"}"), STATUS_INVALID);
    model = NULL;
    catalog_finish(&c);
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
        { "{\"version\":1,\"queue_max\":1000001}", "\"queue_max\"" },
        { "{\"version\":1,\"pool\":1}", "\"pool\"" },
        { "{\"version\":1,\"sticky\":null}", "\"sticky\"" },
        { "{\"version\":1,\"shadow\":\"9\"}", "\"shadow\"" },
        { "{\"version\":1,\"shadow\":[1,2,3,4,5]}", "\"shadow\"" },
        { "{\"version\":1,\"shadow\":[0]}", "\"version\"" },
        { "{\"version\":1,\"replicas\":2}", "\"replicas\"" },
        { "{\"version\":1,\"Instances\":2}", "\"Instances\"" },
        { "{\"version\":1,\"traffic\":[{\"version\":1,\"weight\":100}]}", "exclude" },
        { "{\"traffic\":[]}", "\"traffic\"" },
        { "{\"traffic\":{}}", "\"traffic\"" },
        { "{\"traffic\":[7]}", "\"traffic\"" },
        { "{\"traffic\":[{\"version\":1}]}", "\"weight\"" },
        { "{\"traffic\":[{\"weight\":100}]}", "\"version\"" },
        { "{\"traffic\":[{\"version\":1,\"weight\":0}]}", "\"weight\"" },
        { "{\"traffic\":[{\"version\":1,\"weight\":-5}]}", "\"weight\"" },
        { "{\"traffic\":[{\"version\":1,\"weight\":100.5}]}", "\"weight\"" },
        { "{\"traffic\":[{\"version\":1,\"weight\":33.333}]}", "\"weight\"" },
        { "{\"traffic\":[{\"version\":1,\"weight\":\"95\"}]}", "\"weight\"" },
        { "{\"traffic\":[{\"version\":1,\"weight\":95,\"color\":1}]}", "\"color\"" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(take(bad[i].json), STATUS_INVALID, "%s", bad[i].json);
        cr_expect(strstr(err.text, bad[i].word), "%s: %s", bad[i].json, err.text);
    }
}
