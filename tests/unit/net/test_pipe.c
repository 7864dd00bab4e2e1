/* test_pipe.c - envelopes over a socket pair: order, bounds, and the end of the stream. */
#include "common/net/pipe.h"
#include "tests/unit/net/rig.h"

#include <sys/socket.h>

struct end {
    struct pipe *pipe;
    unsigned received;
    unsigned ends;
    uint64_t last_job;
    bool destroy_at_once;
    bool out_of_order;
};

static void note(void *arg, const struct msg *m)
{
    struct end *e = arg;
    if (!m) {
        e->ends++;
    } else {
        const struct msg_beat *beat = m->body;
        cr_assert_eq(m->kind, MSG_BEAT);
        e->received++;
        if (beat->job != e->last_job + 1)
            e->out_of_order = true;
        e->last_job = beat->job;
    }
    if (e->destroy_at_once) {
        pipe_destroy(e->pipe);
        e->pipe = NULL;
    }
}

static enum status send_beat(struct pipe *p, uint64_t job)
{
    return pipe_send(p, MSG_BEAT, &(struct msg_beat){ .engine = bytes_str("engine"), .job = job });
}

static void open_pair(struct rig *r, struct end *a, struct end *b)
{
    int fd[2];
    *a = *b = (struct end){ 0 };
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    a->pipe = pipe_create(r->loop, fd[0], note, a);
    b->pipe = pipe_create(r->loop, fd[1], note, b);
}

/* One end is a pipe, the other is ours to write on. */
static int open_raw(struct rig *r, struct end *e)
{
    int fd[2];
    *e = (struct end){ 0 };
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    e->pipe = pipe_create(r->loop, fd[0], note, e);
    return fd[1];
}

Test(pipe, messages_pass_in_order_both_ways)
{
    struct rig r;
    struct end a, b;
    rig_init(&r);
    open_pair(&r, &a, &b);
    for (uint64_t i = 1; i <= 5000; i++) {
        rig_wait(&r, send_beat(a.pipe, i) == STATUS_OK);
        rig_wait(&r, send_beat(b.pipe, i) == STATUS_OK);
    }
    rig_wait(&r, a.received == 5000 && b.received == 5000);
    cr_assert(!a.out_of_order && !b.out_of_order);
    pipe_destroy(a.pipe);
    pipe_destroy(b.pipe);
    pipe_destroy(NULL);
    rig_finish(&r);
}

Test(pipe, the_end_is_told_once_and_sends_are_unavailable)
{
    struct rig r;
    struct end a, b;
    rig_init(&r);
    open_pair(&r, &a, &b);
    cr_assert_eq(send_beat(a.pipe, 1), STATUS_OK);
    rig_wait(&r, b.received == 1);
    pipe_destroy(a.pipe);
    rig_wait(&r, b.ends == 1);
    cr_assert_eq(send_beat(b.pipe, 1), STATUS_UNAVAILABLE);
    rig_idle(&r, 20);
    cr_assert_eq(b.ends, 1);
    pipe_destroy(b.pipe);
    rig_finish(&r);
}

Test(pipe, a_reader_that_does_not_read_makes_busy)
{
    struct rig r;
    struct end e;
    unsigned char big[60000];
    unsigned sent = 0;
    rig_init(&r);
    int fd = open_raw(&r, &e);
    memset(big, 'x', sizeof big);
    struct msg_training update = { .history = bytes_of(big, sizeof big) };
    while (pipe_send(e.pipe, MSG_TRAINING, &update) == STATUS_OK)
        cr_assert_lt(++sent, 1000);
    cr_assert_eq(pipe_send(e.pipe, MSG_TRAINING, &update), STATUS_BUSY);
    size_t received = 0;
    rig_wait(&r, (received += (size_t)recv(fd, big, sizeof big, 0)) > (size_t)sent * 60000);
    rig_wait(&r, pipe_send(e.pipe, MSG_BYE, NULL) == STATUS_OK);
    pipe_destroy(e.pipe);
    close(fd);
    rig_finish(&r);
}

Test(pipe, destroy_in_the_handler_and_with_writes_under_way)
{
    struct rig r;
    struct end a, b;
    rig_init(&r);
    open_pair(&r, &a, &b);
    b.destroy_at_once = true;
    for (uint64_t i = 1; i <= 100; i++)
        cr_assert_eq(send_beat(a.pipe, i), STATUS_OK);
    rig_wait(&r, b.received == 1 && a.ends == 1);
    cr_assert_null(b.pipe);
    pipe_destroy(a.pipe);
    rig_finish(&r);
}

Test(pipe, destroy_when_told_of_the_end)
{
    struct rig r;
    struct end a, b;
    rig_init(&r);
    open_pair(&r, &a, &b);
    b.destroy_at_once = true;
    pipe_destroy(a.pipe);
    rig_wait(&r, b.ends == 1);
    rig_finish(&r);
}

Test(pipe, a_message_that_comes_byte_by_byte)
{
    struct rig r;
    struct end e;
    struct buf b = { 0 };
    rig_init(&r);
    int fd = open_raw(&r, &e);
    buf_append(&b, "\0\0\0", 4);
    msg_encode(&b, MSG_BEAT, 0, &(struct msg_beat){ .job = 1 });
    b.data[0] = (unsigned char)(b.len - 4);
    for (int round = 1; round <= 3; round++) {
        for (size_t i = 0; i < b.len; i++) {
            cr_assert_eq(write(fd, b.data + i, 1), 1);
            cr_assert_eq(e.received, (unsigned)round - 1);
            rig_turn(&r);
        }
        rig_wait(&r, e.received == (unsigned)round);
    }
    buf_finish(&b);
    pipe_destroy(e.pipe);
    close(fd);
    rig_finish(&r);
}

Test(pipe, garbage_ends_the_pipe)
{
    static const struct {
        const char *bytes;
        size_t len;
    } garbage[] = {
        { "\xff\xff\xff\xff", 4 },                 /* far too long */
        { "\x01\x00\x10\x00", 4 },                 /* MAX_SMALL_ENVELOPE and one */
        { "\x00\x00\x00\x00", 4 },                 /* nothing is no envelope */
        { "\x03\x00\x00\x00\x93\x01\x02", 7 },     /* cut */
        { "\x04\x00\x00\x00\x93\x7f\x00\x80", 8 }, /* unknown kind */
    };
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        struct rig r;
        struct end e;
        rig_init(&r);
        int fd = open_raw(&r, &e);
        cr_assert_eq(write(fd, garbage[i].bytes, garbage[i].len), (ssize_t)garbage[i].len);
        rig_wait(&r, e.ends == 1);
        cr_assert_eq(send_beat(e.pipe, 1), STATUS_UNAVAILABLE);
        cr_assert_eq(write(fd, garbage[i].bytes, garbage[i].len), (ssize_t)garbage[i].len);
        rig_idle(&r, 20);
        cr_assert_eq(e.ends, 1);
        cr_assert_eq(e.received, 0);
        pipe_destroy(e.pipe);
        close(fd);
        rig_finish(&r);
    }
}

Test(pipe, what_is_not_open_is_unavailable)
{
    struct rig r;
    struct end e = { 0 };
    rig_init(&r);
    e.pipe = pipe_create(r.loop, 999, note, &e);
    cr_assert_eq(send_beat(e.pipe, 1), STATUS_UNAVAILABLE);
    rig_idle(&r, 20);
    pipe_destroy(e.pipe);
    rig_finish(&r);
}
