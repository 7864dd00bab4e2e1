/* test_catalog.c - models, versions and deployments as messages put them. */
#include "common/msg/catalog.h"
#include "tests/unit/msg/fill.h"
#include "tests/unit/tsan.h"

#include <criterion/criterion.h>
#include <stdio.h>

static void put_version(struct catalog *c, const char *model, uint32_t number, uint32_t check)
{
    struct msg_version v = { .model = bytes_str(model), .number = number, .check = check };
    catalog_apply(c, &(struct msg_catalog){ .versions = &v, .versions_count = 1 }, false);
}

static void put_deployment(struct catalog *c, const char *model, uint32_t version,
                           uint64_t revision)
{
    struct msg_deployment d = { .model = bytes_str(model),
                                .version = version,
                                .revision = revision };
    catalog_apply(c, &(struct msg_catalog){ .deployments = &d, .deployments_count = 1 }, false);
}

Test(catalog, an_empty_one_knows_nothing)
{
    struct catalog c = { 0 };
    cr_assert_null(catalog_find(&c, bytes_str("iris")));
    catalog_finish(&c);
    catalog_finish(&c);
}

Test(catalog, records_are_owned_whole)
{
    static struct fill f = { .list_max = 5, .bytes_max = 2000 };
    struct catalog c = { 0 };
    struct msg_version v, copy;
    struct fill *kept = &f;
    srand(1);
    fill_struct_version(kept, &v);
    v.model = bytes_str("iris");
    v.number = 3;
    v.deleted = false;
    catalog_apply(&c, &(struct msg_catalog){ .versions = &v, .versions_count = 1 }, false);
    copy = v;
    struct catalog_model *m = catalog_find(&c, bytes_str("iris"));
    cr_assert_not_null(m);
    cr_assert_eq(m->versions_count, 3);
    cr_assert_null(catalog_version(m, 1));
    cr_assert_null(catalog_version(m, 2));
    cr_assert_null(catalog_version(m, 0));
    cr_assert_null(catalog_version(m, 4));
    cr_assert_null(catalog_version(m, UINT64_MAX));
    const char *differs = same_struct_version(&copy, catalog_version(m, 3));
    cr_assert_null(differs, "%s", differs);
    fill_finish(kept); /* what the message borrowed from is gone */
    cr_assert(bytes_equal_str(catalog_version(m, 3)->model, "iris"));
    catalog_finish(&c);
}

Test(catalog, models_are_in_the_order_of_their_names)
{
    struct catalog c = { 0 };
    char name[16];
    for (unsigned i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "m%u", i * 7919 % 500);
        put_version(&c, name, 1, CHECK_PASSED);
    }
    put_version(&c, "m", 1, CHECK_PASSED);
    cr_assert_eq(c.count, 501);
    for (size_t i = 1; i < c.count; i++)
        cr_assert_lt(strcmp(c.models[i - 1]->name, c.models[i]->name), 0);
    for (unsigned i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "m%u", i);
        cr_assert_not_null(catalog_find(&c, bytes_str(name)));
    }
    cr_assert_null(catalog_find(&c, bytes_str("m500")));
    cr_assert_null(catalog_find(&c, bytes_of(NULL, 0)));
    cr_assert_not_null(catalog_find(&c, bytes_of("m10", 2)));
    catalog_finish(&c);
}

Test(catalog, a_snapshot_replaces_everything)
{
    struct catalog c = { 0 };
    put_version(&c, "old", 1, CHECK_PASSED);
    put_deployment(&c, "old", 1, 5);
    struct msg_version v = { .model = bytes_str("new"), .number = 1 };
    catalog_apply(&c, &(struct msg_catalog){ .versions = &v, .versions_count = 1 }, true);
    cr_assert_eq(c.count, 1);
    cr_assert_null(catalog_find(&c, bytes_str("old")));
    cr_assert_not_null(catalog_find(&c, bytes_str("new")));
    catalog_finish(&c);
}

Test(catalog, an_older_deployment_does_not_come_back)
{
    struct catalog c = { 0 };
    put_deployment(&c, "iris", 2, 7);
    put_deployment(&c, "iris", 1, 6);
    struct catalog_model *m = catalog_find(&c, bytes_str("iris"));
    cr_assert_eq(m->deployment.version, 2);
    cr_assert(bytes_equal_str(m->deployment.model, "iris"));
    put_deployment(&c, "iris", 3, 8);
    cr_assert_eq(catalog_find(&c, bytes_str("iris"))->deployment.version, 3);
    catalog_finish(&c);
}

Test(catalog, a_check_is_decided_once)
{
    struct catalog c = { 0 };
    put_version(&c, "iris", 1, CHECK_PENDING);
    put_version(&c, "iris", 1, CHECK_FAILED);
    put_version(&c, "iris", 1, CHECK_PENDING);
    cr_assert_eq(catalog_version(catalog_find(&c, bytes_str("iris")), 1)->check, CHECK_FAILED);
    catalog_finish(&c);
}

Test(catalog, nonsense_is_left_out)
{
    struct catalog c = { 0 };
    put_version(&c, "iris", 0, CHECK_PASSED);
    put_version(&c, "iris", UINT32_MAX, CHECK_PASSED);
    put_version(&c, "", 1, CHECK_PASSED);
    put_deployment(&c, "", 1, 1);
    cr_assert_eq(c.count, 0);
    catalog_finish(&c);
}

/* ---- what is told late ---- */

static void remove_version(struct catalog *c, const char *model, uint32_t number)
{
    struct msg_version v = { .model = bytes_str(model), .number = number, .deleted = true };
    catalog_apply(c, &(struct msg_catalog){ .versions = &v, .versions_count = 1 }, false);
}

Test(catalog, a_deleted_version_does_not_come_back)
{
    struct catalog c = { 0 };
    put_version(&c, "iris", 1, CHECK_PASSED);
    put_version(&c, "iris", 2, CHECK_PASSED);
    remove_version(&c, "iris", 1);
    put_version(&c, "iris", 1, CHECK_PASSED);
    struct catalog_model *m = catalog_find(&c, bytes_str("iris"));
    cr_assert_null(catalog_version(m, 1));
    cr_assert_not_null(catalog_version(m, 2));
    cr_assert_eq(m->present, 1);
    remove_version(&c, "iris", 2);
    remove_version(&c, "iris", 2);
    remove_version(&c, "iris", 3); /* one that nobody has told of yet */
    put_version(&c, "iris", 3, CHECK_PASSED);
    cr_assert_eq(m->present, 0);
    cr_assert_null(catalog_find(&c, bytes_str("iris")), "a model without versions is none");
    put_version(&c, "iris", 4, CHECK_PASSED);
    cr_assert_not_null(catalog_find(&c, bytes_str("iris")));
    catalog_finish(&c);
}

static void put_revision(struct catalog *c, uint64_t revision, const char *tags)
{
    struct msg_version v = { .model = bytes_str("iris"),
                             .number = 1,
                             .revision = revision,
                             .check = CHECK_PASSED,
                             .tags = bytes_str(tags) };
    catalog_apply(c, &(struct msg_catalog){ .versions = &v, .versions_count = 1 }, false);
}

Test(catalog, older_tags_do_not_come_back)
{
    struct catalog c = { 0 };
    put_revision(&c, 3, "{\"a\":1}");
    put_revision(&c, 2, "{\"b\":1}");
    const struct msg_version *v = catalog_version(catalog_find(&c, bytes_str("iris")), 1);
    cr_assert(bytes_equal_str(v->tags, "{\"a\":1}"));
    put_revision(&c, 4, "{}");
    v = catalog_version(catalog_find(&c, bytes_str("iris")), 1);
    cr_assert(bytes_equal_str(v->tags, "{}"));
    catalog_finish(&c);
}

/* ---- aliases and shares ---- */

Test(catalog, the_newest_list_of_aliases_counts)
{
    struct catalog c = { 0 };
    struct msg_alias list[] = { { bytes_str("champion"), 7 }, { bytes_str("next"), 8 } };
    struct msg_aliases all = { bytes_str("iris"), list, 2, 5 };
    put_version(&c, "iris", 7, CHECK_PASSED);
    catalog_apply(&c, &(struct msg_catalog){ .aliases = &all, .aliases_count = 1 }, false);
    all.revision = 4;
    all.aliases_count = 1;
    catalog_apply(&c, &(struct msg_catalog){ .aliases = &all, .aliases_count = 1 }, false);
    const struct catalog_model *m = catalog_find(&c, bytes_str("iris"));
    cr_assert_eq(catalog_alias(m, bytes_str("champion")), 7);
    cr_assert_eq(catalog_alias(m, bytes_str("next")), 8);
    cr_assert_eq(catalog_alias(m, bytes_str("nex")), 0);
    catalog_finish(&c);
}

Test(catalog, a_deployment_always_has_its_shares)
{
    struct catalog c = { 0 };
    put_deployment(&c, "iris", 2, 1);
    const struct msg_deployment *d = &catalog_find(&c, bytes_str("iris"))->deployment;
    cr_assert_eq(d->traffic_count, 1);
    cr_assert_eq(d->traffic[0].weight, SHARES_WHOLE);
    cr_assert(deployment_uses(d, 2) && !deployment_uses(d, 1) && !deployment_uses(d, 0));
    struct msg_share shares[] = { { 2, 9500 }, { 3, 500 } }, before = { 1, SHARES_WHOLE };
    const int64_t shadow[] = { 9 };
    struct msg_deployment split = { .model = bytes_str("iris"),
                                    .version = 2,
                                    .revision = 2,
                                    .traffic = shares,
                                    .traffic_count = 2,
                                    .previous_traffic = &before,
                                    .previous_traffic_count = 1,
                                    .shadow = { shadow, 1 },
                                    .sticky = bytes_str("header:x-user") };
    catalog_apply(&c, &(struct msg_catalog){ .deployments = &split, .deployments_count = 1 },
                  false);
    shares[1].version = 4; /* it was copied */
    cr_assert(deployment_uses(d, 1) && deployment_uses(d, 3) && deployment_uses(d, 9));
    cr_assert_eq(deployment_share(d, 3)->weight, 500);
    cr_assert_null(deployment_share(d, 9));
    cr_assert(deployment_shadows(d, 9) && !deployment_shadows(d, 3));
    cr_assert(bytes_equal_str(d->sticky, "header:x-user"));
    catalog_finish(&c);
}

Test(catalog, the_next_page_begins_behind_a_name)
{
    struct catalog c = { 0 };
    put_version(&c, "b", 1, CHECK_PASSED);
    put_version(&c, "d", 1, CHECK_PASSED);
    cr_assert_eq(catalog_after(&c, bytes_str("")), 0);
    cr_assert_eq(catalog_after(&c, bytes_str("a")), 0);
    cr_assert_eq(catalog_after(&c, bytes_str("b")), 1);
    cr_assert_eq(catalog_after(&c, bytes_str("c")), 1);
    cr_assert_eq(catalog_after(&c, bytes_str("d")), 2);
    catalog_finish(&c);
}
