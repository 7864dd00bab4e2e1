/* What Redis' errors and first replies mean, and the arguments of calls. */
#include "services/registry/fcall.h"
#include "services/registry/functions.h"
#include "services/registry/sentinel.h"

#include <criterion/criterion.h>
#include <stdio.h>

static void expect_error(const char *reply, enum status st, const char *text)
{
    const char *got;
    cr_assert_eq(redis_error_status(reply, &got), st, "%s", reply);
    cr_assert_str_eq(got, text);
}

Test(redis_error, of_our_functions_begins_with_a_status)
{
    expect_error("NOT_FOUND there is no model 'x'", STATUS_NOT_FOUND, "there is no model 'x'");
    expect_error("CONFLICT it is not yours", STATUS_CONFLICT, "it is not yours");
    expect_error("INVALID no", STATUS_INVALID, "no");
    expect_error("FULL no room", STATUS_FULL, "no room");
}

Test(redis_error, of_redis_itself)
{
    const char *loading = "LOADING Redis is loading the dataset in memory";
    const char *disk = "MISCONF Errors writing to the AOF file: No space left on device";
    const char *memory = "OOM command not allowed when used memory > 'maxmemory'.";
    expect_error(loading, STATUS_UNAVAILABLE, loading);
    expect_error(disk, STATUS_UNAVAILABLE, disk);
    expect_error(memory, STATUS_FULL, memory);
    expect_error("WRONGTYPE x", STATUS_INTERNAL, "WRONGTYPE x");
    expect_error("ERR", STATUS_INTERNAL, "ERR");
    expect_error("", STATUS_INTERNAL, "");
    expect_error("OK nothing", STATUS_INTERNAL, "OK nothing"); /* an error is never OK */
}

Test(fcall, lists_its_arguments)
{
    struct fcall call;
    fcall_begin(&call, "maas_deploy");
    fcall_add(&call, bytes_of("m\0del", 5));
    fcall_add_number(&call, UINT64_MAX);
    fcall_add_number(&call, 7);
    fcall_add_str(&call, "");
    cr_assert_eq(call.argc, 7);
    cr_assert(bytes_equal_str(call.argv[0], "FCALL"));
    char name[64];
    snprintf(name, sizeof name, "maas_deploy_%d", LIBRARY_VERSION);
    cr_assert(bytes_equal_str(call.argv[1], name));
    cr_assert(bytes_equal_str(call.argv[2], "0"));
    cr_assert_eq(call.argv[3].len, 5);
    cr_assert(bytes_equal_str(call.argv[4], "18446744073709551615"));
    cr_assert(bytes_equal_str(call.argv[5], "7"));
    cr_assert_eq(call.argv[6].len, 0);
}

/* ---- the first replies -------------------------------------------------------------------- */

static const char primary_info[] = "# Replication\r\n"
                                   "role:master\r\n"
                                   "connected_slaves:2\r\n"
                                   "master_replid:00000000000000ff3c8a1df0b1f2a0c8d1e2f3a4\r\n"
                                   "master_replid2:0000000000000000000000000000000000000000\r\n";

Test(greeting, knows_a_primary_and_its_history)
{
    struct error err = { .text = "" };
    cr_assert_eq(greeting_primary(bytes_str(primary_info), &err), STATUS_OK);
    cr_assert_eq(greeting_history(bytes_str(primary_info)), 0xff);
    cr_assert_eq(greeting_primary(bytes_str("role:slave\r\nmaster_host:x\r\n"), &err),
                 STATUS_UNAVAILABLE);
    cr_assert_str_eq(err.text, "it is a slave, not a primary");
    cr_assert_eq(greeting_primary(bytes_str("role:sentinel"), &err), STATUS_UNAVAILABLE);
    cr_assert_eq(greeting_primary(bytes_str(""), &err), STATUS_UNAVAILABLE);
    cr_assert_eq(greeting_primary(bytes_of(NULL, 0), &err), STATUS_UNAVAILABLE);
}

Test(greeting, always_has_a_history)
{
    static const char *const odd[] = { "", "role:master\r\n", "master_replid:12\r\n",
                                       "master_replid:0000000000000000\r\n",
                                       "master_replid:zzzzzzzzzzzzzzzzzzzz\r\n" };
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        cr_assert_eq(greeting_history(bytes_str(odd[i])), 1, "%s", odd[i]);
}

Test(greeting, reads_the_version_of_functions)
{
    cr_assert_eq(greeting_version(bytes_str("12 00ff")), 12);
    cr_assert_eq(greeting_version(bytes_str("1")), 1);
    cr_assert_eq(greeting_version(bytes_str("x")), 0);
    cr_assert_eq(greeting_version(bytes_of(NULL, 0)), 0);
    cr_assert_gt(greeting_version(bytes_str("99999999999999999999")), 99999999);
}

/* ---- sentinels ---------------------------------------------------------------------------- */

static struct redisReply text_reply(const char *text)
{
    return (struct redisReply){ .type = REDIS_REPLY_STRING,
                                .str = (char *)(uintptr_t)text,
                                .len = strlen(text) };
}

static enum status place_of(const char *host, const char *port, struct redis_place *out)
{
    struct redisReply texts[] = { text_reply(host), text_reply(port) };
    struct redisReply *elements[] = { &texts[0], &texts[1] };
    struct redisReply reply = { .type = REDIS_REPLY_ARRAY, .elements = 2, .element = elements };
    return sentinel_place(&reply, out);
}

Test(sentinel, tells_the_place_of_the_primary)
{
    struct redis_place place;
    cr_assert_eq(place_of("10.0.0.7", "6380", &place), STATUS_OK);
    cr_assert_str_eq(place.host, "10.0.0.7");
    cr_assert_eq(place.port, 6380);
    cr_assert_eq(place_of("::1", "1", &place), STATUS_OK);
}

Test(sentinel, may_not_know_it_or_talk_nonsense)
{
    static const char *const ports[] = { "0", "65536", "-1", "63x", "", "99999999999999999999" };
    struct redisReply nothing = { .type = REDIS_REPLY_NIL };
    struct redisReply number = { .type = REDIS_REPLY_INTEGER };
    struct redis_place place;
    char host[REDIS_HOST_MAX + 1];
    cr_assert_eq(sentinel_place(&nothing, &place), STATUS_NOT_FOUND);
    cr_assert_eq(sentinel_place(&number, &place), STATUS_INVALID);
    for (size_t i = 0; i < sizeof ports / sizeof *ports; i++)
        cr_assert_eq(place_of("h", ports[i], &place), STATUS_INVALID, "%s", ports[i]);
    cr_assert_eq(place_of("", "1", &place), STATUS_INVALID);
    memset(host, 'h', REDIS_HOST_MAX);
    host[REDIS_HOST_MAX] = 0;
    cr_assert_neq(place_of(host, "1", &place), STATUS_OK);
}
