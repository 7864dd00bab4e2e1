/* test_forget.c - a lane goes only when nobody has it. */
#include "tests/unit/gateway/queue_rig.h"

Test(forget, a_lane_that_somebody_has_stays)
{
    static struct answer answer;
    struct rig rig;
    struct rig_engine e;
    rig_init(&rig, 4, 1u << 20);
    cr_expect(lane_unused(rig.lane));
    rig_join(&rig, &e, 4, 1);
    cr_expect_not(lane_unused(rig.lane));
    rig_die(&rig, &e, false);
    rig_turn(&rig);
    cr_expect(lane_unused(rig.lane));
    struct inference *r = rig_request(&rig, 1, 0, rig_answered, &answer);
    cr_assert_eq(rig_submit_to(&rig, rig.lane, r), STATUS_OK);
    rig_turn(&rig);
    cr_expect_not(lane_unused(rig.lane)); /* it waits for an engine */
    queue_cancel(&rig.queue, r);
    cr_expect(lane_unused(rig.lane));
    lane_hold(rig.lane);
    cr_expect_not(lane_unused(rig.lane));
    lane_release(&rig.queue, rig.lane);
    cr_expect(lane_unused(rig.lane));
    rig_finish(&rig);
}

Test(forget, it_goes_at_the_second_look_and_comes_back_new)
{
    struct rig rig;
    rig_init(&rig, 4, 1u << 20);
    struct lane *l = queue_lane(&rig.queue, bytes_str("old"), 7);
    size_t before = queue_lanes(&rig.queue);
    lane_counts(l)->succeeded = 3;
    cr_expect_not(lane_gone(l, true));
    cr_expect_not(lane_gone(l, false)); /* it was deployed in between */
    cr_expect_not(lane_gone(l, true));
    cr_expect(lane_gone(l, true));
    queue_forget(&rig.queue, l);
    cr_expect_null(queue_find_lane(&rig.queue, bytes_str("old"), 7));
    cr_expect_eq(queue_lanes(&rig.queue), before - 1);
    l = queue_lane(&rig.queue, bytes_str("old"), 7);
    cr_expect_eq(lane_counts(l)->succeeded, 0);
    cr_expect_not(lane_gone(l, true));
    rig_finish(&rig);
}
