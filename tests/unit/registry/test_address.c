/* Where Redis is, as people write it. */
#include "services/registry/address.h"
#include "services/registry/lookup.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

static struct redis_address parsed(const char *text)
{
    struct redis_address a;
    struct error err = { .text = "" };
    cr_assert_eq(redis_address(text, &a, &err), STATUS_OK, "%s: %s", text, err.text);
    return a;
}

static void expect_place(const char *text, const char *host, int port)
{
    struct redis_address a = parsed(text);
    cr_assert_eq(a.places_count, 1);
    cr_assert_str_eq(a.places[0].host, host, "%s", text);
    cr_assert_eq(a.places[0].port, port, "%s", text);
    cr_assert_str_empty(a.primary);
}

static void expect_refused(const char *text, const char *because)
{
    struct redis_address a;
    struct error err = { .text = "" };
    cr_assert_eq(redis_address(text, &a, &err), STATUS_INVALID, "%s", text);
    cr_assert(strstr(err.text, because), "%s: %s", text, err.text);
    cr_assert(!strstr(err.text, "secret"), "%s", err.text);
}

Test(address, takes_paths_and_hosts)
{
    expect_place("unix:redis.sock", "redis.sock", 0);
    expect_place("unix:/run/redis/redis:1.sock", "/run/redis/redis:1.sock", 0);
    expect_place("tcp:redis:6379", "redis", 6379);
    expect_place("tcp:127.0.0.1:65535", "127.0.0.1", 65535);
    expect_place("tcp:[::1]:6379", "::1", 6379);
}

Test(address, takes_urls)
{
    expect_place("redis://redis", "redis", 6379);
    expect_place("redis://redis:7000/", "redis", 7000);
    expect_place("redis://[::1]", "::1", 6379);
    expect_place("redis://maas@[fe80::1]:7000/0", "fe80::1", 7000);
    cr_assert_str_eq(parsed("redis://maas@redis").user, "maas");
    cr_assert_str_empty(parsed("redis://redis").user);
    cr_assert(!parsed("redis://redis").tls);
    cr_assert(parsed("rediss://maas@redis").tls);
    cr_assert_str_eq(parsed("rediss://maas@redis").user, "maas");
}

Test(address, takes_sentinels)
{
    struct redis_address a = parsed("sentinel:a:1,[::1]:26379,c:3/the-primary");
    cr_assert_eq(a.places_count, 3);
    cr_assert_str_eq(a.places[0].host, "a");
    cr_assert_str_eq(a.places[1].host, "::1");
    cr_assert_eq(a.places[1].port, 26379);
    cr_assert_eq(a.places[2].port, 3);
    cr_assert_str_eq(a.primary, "the-primary");
    cr_assert_eq(parsed("sentinel:a:1/p").places_count, 1);
}

Test(address, says_what_is_wrong)
{
    static const char *const places[] = { "tcp:",         "tcp:host",
                                          "tcp:host:",    "tcp::6379",
                                          "tcp:host:0",   "tcp:h:65536",
                                          "tcp:h:12x",    "tcp:h:-1",
                                          "tcp:h: 1",     "tcp:[::1]",
                                          "tcp:[::1]x1",  "redis://",
                                          "redis://h:",   "redis://h:99999999999999999999",
                                          "redis://[]:1", "sentinel:a:1,/p",
                                          "sentinel:a/p", "sentinel:/p" };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        expect_refused(places[i], "HOST:PORT");
    expect_refused("", "unix:PATH");
    expect_refused("unix:", "unix:PATH");
    expect_refused("redis:6379", "unix:PATH");
    expect_refused("valkey://u:secret@h", "unix:PATH");
    expect_refused("redis://u:secret@h", "--redis-password-file");
    expect_refused("rediss://:secret@h", "--redis-password-file");
    expect_refused("redis://h/3", "database 0");
    expect_refused("sentinel:a:1", "name of the primary");
    expect_refused("sentinel:a:1/", "name of the primary");
    expect_refused("sentinel:a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1/p", "at most 8");
}

Test(address, bounds_the_length)
{
    char path[600] = "unix:", host[600] = "tcp:", user[600] = "redis://";
    struct redis_address a;
    struct error err;
    memset(path + 5, 'x', REDIS_HOST_MAX - 1);
    cr_assert_eq(redis_address(path, &a, &err), STATUS_OK);
    path[5 + REDIS_HOST_MAX - 1] = 'x';
    expect_refused(path, "255");
    memset(host + 4, 'x', REDIS_HOST_MAX);
    snprintf(host + 4 + REDIS_HOST_MAX, 8, ":1");
    expect_refused(host, "255");
    memset(user + 8, 'x', REDIS_USER_MAX);
    snprintf(user + 8 + REDIS_USER_MAX, 8, "@h");
    expect_refused(user, "127");
}

/* ---- the password's file ------------------------------------------------------------------ */

static enum status read_back(const char *contents, size_t len, char out[REDIS_PASSWORD_MAX],
                             struct error *err)
{
    char path[] = "/tmp/maas-unit-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, contents, len), (ssize_t)len);
    close(fd);
    enum status st = password_read(path, out, err);
    cr_assert(st == STATUS_OK || strstr(err->text, path), "%s", err->text);
    unlink(path);
    return st;
}

Test(password, is_the_first_line)
{
    char out[REDIS_PASSWORD_MAX];
    struct error err;
    cr_assert_eq(read_back("secret", 6, out, &err), STATUS_OK);
    cr_assert_str_eq(out, "secret");
    cr_assert_eq(read_back("with space \r\n", 13, out, &err), STATUS_OK);
    cr_assert_str_eq(out, "with space ");
}

Test(password, must_be_there_and_bounded)
{
    char out[REDIS_PASSWORD_MAX], large[REDIS_PASSWORD_MAX];
    struct error err;
    memset(large, 'x', sizeof large);
    cr_assert_eq(read_back("", 0, out, &err), STATUS_INVALID);
    cr_assert_eq(read_back("\nsecret", 7, out, &err), STATUS_INVALID);
    cr_assert_eq(read_back(large, sizeof large, out, &err), STATUS_INVALID);
    cr_assert_eq(read_back(large, sizeof large - 1, out, &err), STATUS_OK);
    cr_assert_eq(password_read("/nowhere/password", out, &err), STATUS_INVALID);
    cr_assert(strstr(err.text, "/nowhere/password"), "%s", err.text);
}
