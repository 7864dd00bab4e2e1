/* test_event_text.c - what a stream of events says of a job's record, and what it leaves out. */
#include "services/gateway/api/training.h"

#include <criterion/criterion.h>

#define TWO                                                                                    \
    "[{\"epoch\":1,\"train_loss\":0.5,\"validation_loss\":0.6,\"validation_accuracy\":0.7},\n" \
    "{\"epoch\":2,\"train_loss\":0.4,\"validation_loss\":0.5,\"validation_accuracy\":0.8}]"

static struct msg_training running(void)
{
    return (struct msg_training){ .id = bytes_str("t1"),
                                  .model = bytes_str("m"),
                                  .dataset = bytes_str("d"),
                                  .learner = bytes_str("mlp"),
                                  .state = TRAINING_RUNNING,
                                  .attempts = 1,
                                  .epoch = 2,
                                  .epochs = 8,
                                  .progress = 0.25,
                                  .started_ms = 1000,
                                  .history = bytes_str(TWO) };
}

static void says(struct event_mark *mark, const struct msg_training *t, uint64_t wall_ms, bool end,
                 const char *text)
{
    struct buf out = { 0 };
    cr_expect_eq(event_text(&out, mark, t, wall_ms), end);
    cr_expect_str_eq(buf_cstr(&out), text);
    buf_finish(&out);
}

#define EPOCH_2                                                                           \
    "id: 2\nevent: epoch\ndata: {\"epoch\":2,\"train_loss\":0.4,\"validation_loss\":0.5," \
    "\"validation_accuracy\":0.8}\n\n"

Test(event_text, each_epoch_is_told_once)
{
    struct event_mark mark = { .epoch = 1 };
    struct msg_training t = running();
    says(&mark, &t, 3000, false,
         EPOCH_2 "event: progress\ndata: {\"state\":\"running\",\"epoch\":2,\"epochs\":8,"
                 "\"attempts\":1,\"progress\":0.25,\"seconds_left\":6}\n\n");
    says(&mark, &t, 4000, false, "");
    t.progress = 0.5;
    says(&mark, &t, 5500, false,
         "event: progress\ndata: {\"state\":\"running\",\"epoch\":2,\"epochs\":8,\"attempts\":1,"
         "\"progress\":0.5,\"seconds_left\":5}\n\n");
}

Test(event_text, epochs_beyond_the_history_are_told_from_the_record)
{
    struct event_mark mark = { .epoch = 2, .moved = true };
    struct msg_training t = running();
    t.epoch = 3;
    t.train_loss = 0.25;
    struct buf out = { 0 };
    event_text(&out, &mark, &t, 3000);
    cr_expect(
        strstr(buf_cstr(&out), "id: 3\nevent: epoch\ndata: {\"epoch\":3,\"train_loss\":0.25,"));
    cr_expect_eq(mark.epoch, 3);
    buf_finish(&out);
}

Test(event_text, a_job_that_begins_anew_repeats_no_epoch)
{
    struct event_mark mark = { .epoch = 7, .moved = true, .state = TRAINING_RUNNING };
    struct msg_training t = running();
    t.attempts = 2;
    struct buf out = { 0 };
    event_text(&out, &mark, &t, 3000);
    cr_expect_null(strstr(buf_cstr(&out), "event: epoch"));
    cr_expect(strstr(buf_cstr(&out), "\"attempts\":2"));
    buf_finish(&out);
}

Test(event_text, the_end_has_the_record_on_one_line)
{
    struct event_mark mark = { .epoch = 2 };
    struct msg_training t = running();
    t.state = TRAINING_FAILED;
    t.error = bytes_str("a\nb");
    t.metrics = bytes_str("{\n\"x\":1}");
    struct buf out = { 0 };
    cr_assert(event_text(&out, &mark, &t, 3000));
    const char *data = strstr(buf_cstr(&out), "event: end\ndata: {\"id\":\"t1\"");
    cr_assert_eq(data, buf_cstr(&out));
    cr_expect(strstr(data, "\"error\":\"a\\u000ab\""));
    cr_expect_str_eq(strchr(data + strlen("event: end\n"), '\n'), "\n\n");
    buf_finish(&out);
}

Test(event_text, a_history_that_is_no_json_is_no_epochs)
{
    struct event_mark mark = { .epoch = 2 };
    struct msg_training t = running();
    t.state = TRAINING_DONE;
    t.history = bytes_str("[{\"epoch\":9");
    struct buf out = { 0 };
    cr_assert(event_text(&out, &mark, &t, 3000));
    cr_expect_null(strstr(buf_cstr(&out), "event: epoch"));
    buf_finish(&out);
}
