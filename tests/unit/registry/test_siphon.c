/* test_siphon.c - values go past hiredis, in their order, however the bytes are cut. */
#include "services/registry/siphon.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define HIREDIS_BYTES 16384 /* what it asks for at a time */

/* A connection that has these bytes, in pieces of `piece`, and then nothing, or an end. */
static struct {
    struct buf bytes;
    size_t at, piece;
    bool ends;
} wire;

static ssize_t wire_read(struct redisContext *c, char *buf, size_t size)
{
    size_t left = wire.bytes.len - wire.at;
    size_t len = size < wire.piece ? size : wire.piece;
    (void)c;
    if (!left)
        return wire.ends ? -1 : 0;
    len = len < left ? len : left;
    memcpy(buf, wire.bytes.data + wire.at, len);
    wire.at += len;
    return (ssize_t)len;
}

static const redisContextFuncs wire_funcs = { .read = wire_read };
static struct redisContext context;
static struct siphon siphon;
static redisReader *reader;

static void init(void)
{
    context.funcs = &wire_funcs;
    wire.piece = SIZE_MAX;
    siphon_begin(&siphon, &context);
    reader = redisReaderCreate();
}

static void finish(void)
{
    siphon_finish(&siphon);
    redisReaderFree(reader);
    buf_finish(&wire.bytes);
}

TestSuite(siphon, .init = init, .fini = finish);

static void put_value(size_t len, unsigned char first)
{
    buf_printf(&wire.bytes, "$%zu\r\n", len);
    buf_reserve(&wire.bytes, len);
    for (size_t i = 0; i < len; i++)
        wire.bytes.data[wire.bytes.len++] = (unsigned char)(first + i % 50);
    buf_append_str(&wire.bytes, "\r\n");
}

/* As hiredis does it: reads once, and takes the answers that are whole. */
static redisReply *next(void)
{
    char buf[HIREDIS_BYTES];
    void *reply = NULL;
    for (;;) {
        cr_assert_eq(redisReaderGetReply(reader, &reply), REDIS_OK, "%s", reader->errstr);
        if (reply)
            return reply;
        ssize_t n = context.funcs->read(&context, buf, sizeof buf);
        if (n <= 0 && wire.at == wire.bytes.len)
            return NULL;
        if (n > 0)
            redisReaderFeed(reader, buf, (size_t)n);
    }
}

static void expect_value(size_t len, unsigned char first)
{
    struct frame data;
    redisReply *reply = next();
    cr_assert_not_null(reply);
    frame_init_empty(&data);
    cr_assert_eq(reply->type, REDIS_REPLY_INTEGER);
    cr_assert_eq(reply->integer, (long long)len);
    cr_assert(siphon_take(&siphon, &data));
    struct bytes got = frame_bytes(&data);
    cr_assert_eq(got.len, len);
    for (size_t i = 0; i < len; i++)
        cr_assert_eq(((const unsigned char *)got.data)[i], (unsigned char)(first + i % 50));
    frame_finish(&data);
    freeReplyObject(reply);
}

static void expect_text(int type, const char *text)
{
    redisReply *reply = next();
    cr_assert_not_null(reply);
    cr_assert_eq(reply->type, type);
    cr_assert_eq(reply->len, strlen(text));
    cr_assert_eq(memcmp(reply->str, text, reply->len), 0);
    freeReplyObject(reply);
}

static void expect_plain(int type, size_t len)
{
    redisReply *reply = next();
    cr_assert_not_null(reply);
    cr_assert_eq(reply->type, type);
    cr_assert_eq(reply->len, len);
    freeReplyObject(reply);
}

Test(siphon, values_and_all_else_keep_their_order_in_pieces_of_every_size)
{
    static const size_t pieces[] = { 1, 2, 3, 7, 4095, 4096, 4097, 100000, SIZE_MAX };
    char long_error[100];
    memset(long_error, 'e', sizeof long_error - 1);
    long_error[sizeof long_error - 1] = 0;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        wire.piece = pieces[i];
        buf_append_str(&wire.bytes, "+OK\r\n");
        put_value(SIPHON_MIN, 'A');
        put_value(SIPHON_MIN - 1, 'B');
        put_value(40000, 'C');
        put_value(40001, 'D');
        buf_append_str(&wire.bytes, "$-1\r\n$0\r\n\r\n$8\r\nREPAIRED\r\n:1\r\n");
        buf_printf(&wire.bytes, "-%s\r\n", long_error);
        put_value(SIPHON_MIN, 'E');
        expect_text(REDIS_REPLY_STATUS, "OK");
        expect_value(SIPHON_MIN, 'A');
        expect_plain(REDIS_REPLY_STRING, SIPHON_MIN - 1);
        expect_value(40000, 'C');
        expect_value(40001, 'D');
        expect_plain(REDIS_REPLY_NIL, 0);
        expect_text(REDIS_REPLY_STRING, "");
        expect_text(REDIS_REPLY_STRING, "REPAIRED");
        expect_plain(REDIS_REPLY_INTEGER, 0);
        expect_text(REDIS_REPLY_ERROR, long_error);
        expect_value(SIPHON_MIN, 'E');
        cr_assert_null(next());
    }
}

Test(siphon, a_whole_chunk_goes_past_and_more_than_one_does_not)
{
    put_value(CHUNK_BYTES, 'a');
    put_value(CHUNK_BYTES + 1, 'b');
    put_value(CHUNK_BYTES, 'c');
    expect_value(CHUNK_BYTES, 'a');
    expect_plain(REDIS_REPLY_STRING, CHUNK_BYTES + 1);
    expect_value(CHUNK_BYTES, 'c');
}

Test(siphon, lengths_that_are_none_are_left_to_hiredis)
{
    char buf[HIREDIS_BYTES];
    static const char text[] = "$99999999999999999999999\r\nmore";
    void *reply;
    buf_append_str(&wire.bytes, text);
    ssize_t n = context.funcs->read(&context, buf, sizeof buf);
    cr_assert_eq(n, (ssize_t)strlen(text));
    redisReaderFeed(reader, buf, (size_t)n);
    cr_assert_eq(redisReaderGetReply(reader, &reply), REDIS_ERR);
}

Test(siphon, an_end_in_the_middle_of_a_value_is_an_end)
{
    char buf[HIREDIS_BYTES];
    struct frame none;
    put_value(50000, 'x');
    put_value(50000, 'y');
    wire.bytes.len -= 10;
    wire.ends = true;
    expect_value(50000, 'x');
    cr_assert_eq(context.funcs->read(&context, buf, sizeof buf), -1);
    frame_init_empty(&none);
    cr_assert_not(siphon_take(&siphon, &none));
    frame_finish(&none);
}

Test(siphon, a_connection_that_ends_drops_what_nobody_took)
{
    char buf[HIREDIS_BYTES];
    struct frame none;
    put_value(50000, 'x');
    cr_assert_gt(context.funcs->read(&context, buf, sizeof buf), 0);
    siphon_finish(&siphon);
    frame_init_empty(&none);
    cr_assert_not(siphon_take(&siphon, &none));
    frame_finish(&none);
}
