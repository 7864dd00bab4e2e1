/* Addresses of Redis, what its errors mean, and the arguments of calls. */
#include "services/registry/fcall.h"

#include <criterion/criterion.h>

static void expect_address(const char *address, const char *host, int port)
{
    char got_host[REDIS_HOST_MAX];
    int got_port = -1;
    struct error err = { .text = "" };
    cr_assert_eq(redis_address(address, got_host, &got_port, &err), STATUS_OK, "%s: %s", address,
                 err.text);
    cr_assert_str_eq(got_host, host);
    cr_assert_eq(got_port, port);
}

Test(redis_address, takes_paths_and_hosts)
{
    expect_address("unix:redis.sock", "redis.sock", 0);
    expect_address("unix:/run/redis/redis:1.sock", "/run/redis/redis:1.sock", 0);
    expect_address("tcp:redis:6379", "redis", 6379);
    expect_address("tcp:127.0.0.1:65535", "127.0.0.1", 65535);
    expect_address("tcp:[::1]:6379", "::1", 6379);
}

Test(redis_address, names_what_is_wrong)
{
    static const char *const bad[] = { "",          "unix:",      "redis:6379",
                                       "tcp:",      "tcp:host",   "tcp:host:",
                                       "tcp::6379", "tcp:host:0", "tcp:h:65536",
                                       "tcp:h:12x", "tcp:h:-1",   "tcp:h: 1" };
    char host[REDIS_HOST_MAX];
    int port;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err;
        cr_assert_eq(redis_address(bad[i], host, &port, &err), STATUS_INVALID, "%s", bad[i]);
        cr_assert(strstr(err.text, "tcp:HOST:PORT"), "%s", err.text);
    }
}

Test(redis_address, bounds_the_length)
{
    char address[600] = "unix:";
    char host[REDIS_HOST_MAX];
    int port;
    struct error err;
    memset(address + 5, 'x', REDIS_HOST_MAX - 1);
    cr_assert_eq(redis_address(address, host, &port, &err), STATUS_OK);
    address[5 + REDIS_HOST_MAX - 1] = 'x';
    cr_assert_eq(redis_address(address, host, &port, &err), STATUS_INVALID);
    cr_assert(strstr(err.text, "255"), "%s", err.text);
}

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
    cr_assert(bytes_equal_str(call.argv[1], "maas_deploy"));
    cr_assert(bytes_equal_str(call.argv[2], "0"));
    cr_assert_eq(call.argv[3].len, 5);
    cr_assert(bytes_equal_str(call.argv[4], "18446744073709551615"));
    cr_assert(bytes_equal_str(call.argv[5], "7"));
    cr_assert_eq(call.argv[6].len, 0);
}
