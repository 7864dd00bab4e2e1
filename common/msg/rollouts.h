/* rollouts.h - the messages about guarded rollouts: a part of schema.h, which says how the lists are read.
 */
#ifndef COMMON_MSG_ROLLOUTS_H
#define COMMON_MSG_ROLLOUTS_H

#define ROLLOUT_BEGIN_FIELDS(F, L, S)                                             \
    F(S, str, model, 1, MAX_NAME, "model name")                                   \
    F(S, u32, version, 2, 0, "the new version")                                   \
    F(S, str, process, 3, MAX_NAME, "who asks")                                   \
    F(S, i64s, steps, 4, MAX_STEPS, "its shares, rising; the last: SHARES_WHOLE") \
    F(S, u64, hold_ms, 5, 0, "how long each step is watched")                     \
    F(S, u32, limits, 6, 0, "1 << LIMIT_x for each limit that is meant")          \
    F(S, f64, error_rate, 7, 0, "LIMIT_ERRORS: 0 to 1; more failures end it")     \
    F(S, u64, slow_us, 8, 0, "LIMIT_P99: of a hundred requests one may take more")

/* What one gateway has counted of the new version since it knows of the step.  Counts of a step only
 * grow, so a report may be lost or come twice. */
#define ROLLOUT_REPORT_FIELDS(F, L, S)                                                    \
    F(S, str, model, 1, MAX_NAME, "model name")                                           \
    F(S, u64, revision, 2, 0, "of the deployment that is the step")                       \
    F(S, str, gateway, 3, MAX_NAME, "who has counted")                                    \
    F(S, u32, engines, 4, 0, "of the version, that it can use now")                       \
    F(S, str, trouble, 5, MAX_REASON, "what workers say of engines that are not ready")   \
    F(S, u64, requests, 6, 0, "that have ended well or failed")                           \
    F(S, u64, errors, 7, 0, "of these, that the version or its engine has failed")        \
    F(S, u64, slow, 8, 0, "of these, that have taken more than slow_us")                  \
    F(S, u64, overdue, 9, 0, "that have not ended yet, and have taken more already")      \
    F(S, i64s, latency, 10, LATENCY_SLOTS, "how many have taken how long; see latency.h") \
    F(S, u64, rejected, 11, 0, "beside these: that the model itself has refused (4xx)")   \
    F(S, u64, others, 12, 0, "that the model's other versions have answered meanwhile")   \
    F(S, u64, others_rejected, 13, 0, "of these, that they have refused")

#define ROLLOUT_FIELDS(F, L, S)                                                          \
    F(S, str, model, 1, MAX_NAME, "model name")                                          \
    F(S, u32, version, 2, 0, "the new version")                                          \
    F(S, i64s, steps, 3, MAX_STEPS, "as in rollout_begin")                               \
    F(S, u64, hold_ms, 4, 0, "the same")                                                 \
    F(S, u32, limits, 5, 0, "the same")                                                  \
    F(S, f64, error_rate, 6, 0, "the same")                                              \
    F(S, u64, slow_us, 7, 0, "the same")                                                 \
    F(S, u32, state, 8, 0, "enum rollout_state")                                         \
    F(S, u32, step, 9, 0, "0, 1, ...: where it is, or was when it ended")                \
    F(S, u64, since_ms, 10, 0, "wall time: when that step began")                        \
    F(S, u64, held_ms, 11, 0, "for how long the step was watched, with an engine ready") \
    F(S, u64, away_ms, 12, 0, "for how long there has been no engine")                   \
    F(S, str, trouble, 13, MAX_REASON, "why, as far as a worker says")                   \
    F(S, str, reason, 14, MAX_REASON, "why it was aborted")                              \
    F(S, str, who, 15, MAX_NAME, "who has begun it")                                     \
    F(S, u64, begun_ms, 16, 0, "wall time")                                              \
    F(S, u64, ended_ms, 17, 0, "wall time; 0: it is under way")                          \
    F(S, u64, requests, 18, 0, "of this step, as in rollout_report")                     \
    F(S, u64, errors, 19, 0, "the same")                                                 \
    F(S, u64, slow, 20, 0, "the same")                                                   \
    F(S, u64, overdue, 21, 0, "the same")                                                \
    F(S, u64, p99_us, 22, 0, "measured; 0: nothing was")                                 \
    F(S, u64, revision, 23, 0, "of the deployment that is the step")                     \
    F(S, u64, id, 24, 0, "revision of the deployment that was its first step")           \
    F(S, u64, rejected, 25, 0, "of this step, as in rollout_report")                     \
    F(S, u64, others, 26, 0, "the same")                                                 \
    F(S, u64, others_rejected, 27, 0, "the same")                                        \
    F(S, u64, catalog_seq, 40, 0, "the catalog has what is told here from there on")     \
    F(S, u64, catalog_history, 41, 0, "which history catalog_seq counts in")

#endif
