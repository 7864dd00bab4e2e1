"""maas-registry: guarded rollouts, as gateways report of them."""

import json
import signal
import threading
import time

import pytest

from peer import eventually
from registry_rig import FAILED, check, commit, refused, store, total
from test_registry_catalog import POOL, SHADOW, alias, history, replay, shares, snapshot, told, versions

ERRORS, P99 = 1, 2
RUNNING, DONE, ABORTED = range(3)
SLOTS = 192


def begin(peer, version=2, steps=(100, 1000, 10000), hold_ms=300, limits=ERRORS, error_rate=0.01, **more):
    return peer.call("ROLLOUT_BEGIN", model="m", version=version, steps=list(steps), hold_ms=hold_ms, limits=limits,
                     error_rate=error_rate, process="ada", **more)  # fmt: skip


def get(peer):
    return peer.call("ROLLOUT_GET", name="m")


def report(peer, revision=None, gateway="g1", engines=1, **more):
    revision = revision or snapshot(peer)["deployments"]["m"]["revision"]
    peer.call("ROLLOUT_REPORT", model="m", revision=revision, gateway=gateway, engines=engines, **more)


def reports_until(peer, done, seconds=20, **more):
    """Reports as gateways do, but faster, until done(rollout)."""

    def go_on():
        report(peer, **more)
        r = get(peer)
        return done(r) and r

    return eventually(go_on, seconds, "the rollout does not get there")


def deployed(peer, *pairs):
    d = snapshot(peer)["deployments"]["m"]
    assert d["traffic"] == shares(*pairs), d
    return d


@pytest.fixture
def peer(store):
    """Version 1 serves; 2 and 3 could."""
    peer = store.peer()
    versions(peer, 3)
    peer.call("DEPLOY", model="m", version=1)
    return peer


def test_rollout_goes_through_its_steps(peer):
    before = deployed(peer, (1, 10000))
    r = begin(peer)
    assert (r["state"], r["step"], r["who"], r["steps"]) == (RUNNING, 0, "ada", [100, 1000, 10000])
    assert r == begin(peer)  # sent again, it is the same
    assert (deployed(peer, (1, 9900), (2, 100))["rollout"], before["rollout"]) == (2, 0)
    first = time.monotonic()
    reports_until(peer, lambda r: r["step"] == 1, requests=500, errors=1)
    assert time.monotonic() - first >= 0.25
    deployed(peer, (1, 9000), (2, 1000))
    assert get(peer)["requests"] in (0, 500)  # counts are those of the step
    reports_until(peer, lambda r: r["step"] == 2)
    last = deployed(peer, (2, 10000))
    assert last["previous_traffic"] == shares((1, 9000), (2, 1000)) and last["rollout"] == 2
    r = reports_until(peer, lambda r: r["state"] == DONE)
    assert r["ended_ms"] >= r["begun_ms"] and not r["reason"] and r["step"] == 2
    assert deployed(peer, (2, 10000))["rollout"] == 0
    assert [e["what"] for e in history(peer)[-4:]] == ["rollout begin", *["rollout step"] * 2, "rollout end"]
    assert [e["who"] for e in history(peer)[-4:]] == ["ada", *["rollout"] * 3]
    back = peer.call("ROLLBACK", model="m")  # to what was before the rollout, not to a step
    assert back["traffic"] == shares((1, 10000))
    assert "ended" in refused("CONFLICT", peer.call, "ROLLOUT_ABORT", model="m")


def test_history_with_rollouts_replays_to_the_same_state(peer):
    begin(peer, hold_ms=200)
    assert replay(history(peer)) == told(snapshot(peer))
    reports_until(peer, lambda r: r["step"] == 1)
    assert replay(history(peer)) == told(snapshot(peer))
    reports_until(peer, lambda r: r["state"] == ABORTED, requests=9, errors=9)
    state = replay(history(peer))
    assert state == told(snapshot(peer))
    entry = history(peer)[-1]
    was = json.loads(entry["to"])["rollout"]
    assert (entry["what"], was["state"], was["errors"], was["weight"]) == ("rollout abort", "aborted", 9, 10)
    assert "9 of 9" in was["reason"]
    begin(peer, version=3, steps=[10000], hold_ms=200)
    reports_until(peer, lambda r: r["state"] == DONE)
    assert replay(history(peer)) == told(snapshot(peer))


def test_others_keep_their_proportion(peer):
    traffic = lambda *pairs: peer.call("DEPLOY", model="m", traffic=shares(*pairs), shadow=[], changes=SHADOW)
    abort = lambda: peer.call("ROLLOUT_ABORT", model="m", process="bob")
    traffic((1, 7500), (3, 2500))
    begin(peer, steps=[1, 5000, 10000])
    deployed(peer, (1, 7500), (3, 2499), (2, 1))
    assert abort()["reason"] == "aborted by bob"
    deployed(peer, (1, 7500), (3, 2500))
    begin(peer, steps=[9999, 10000])
    deployed(peer, (1, 1), (2, 9999))
    assert abort()["state"] == ABORTED and abort()["state"] == ABORTED
    traffic((2, 500), (1, 9500))
    begin(peer, steps=[2500, 10000])
    deployed(peer, (2, 2500), (1, 7500))  # at its place: the requests that it has stay with it
    abort()
    peer.call("DEPLOY", model="m", version=1, shadow=[2, 3], pool="gold", changes=SHADOW | POOL)
    before = deployed(peer, (1, 10000))
    begin(peer)
    assert deployed(peer, (1, 9900), (2, 100))["shadow"] == [3]
    abort()
    after = deployed(peer, (1, 10000))
    same = ("shadow", "pool", "previous_traffic", "version", "rollout")
    assert [after[k] for k in same] == [before[k] for k in same]
    peer.call("ROLLBACK", model="m")
    deployed(peer, (2, 500), (1, 9500))  # what was deployed before, as if there had been no rollout


def test_a_limit_that_is_passed_ends_it(peer):
    begin(peer, hold_ms=60000)
    report(peer, requests=1, errors=1)
    report(peer, requests=1, errors=1)  # a report that comes twice counts once
    assert get(peer)["state"] == RUNNING
    report(peer, requests=1, errors=1, gateway="g2")
    r = eventually(lambda: (r := get(peer))["state"] == ABORTED and r, 5, "it goes on")
    assert (r["requests"], r["errors"]) == (2, 2) and "2 of 2 requests failed" in r["reason"]
    deployed(peer, (1, 10000))
    begin(peer, limits=P99, slow_us=50000, hold_ms=60000)
    latency = [0] * SLOTS
    latency[10], latency[100] = 48, 12
    report(peer, requests=60, slow=12, latency=latency)
    r = eventually(lambda: (r := get(peer))["state"] == ABORTED and r, 5, "it goes on")
    assert "12 of 60" in r["reason"] and "50 ms" in r["reason"] and 5e5 < r["p99_us"] < 7e5
    begin(peer, limits=P99, slow_us=50000, hold_ms=60000)
    report(peer, overdue=2)
    eventually(lambda: get(peer)["state"] == ABORTED, 5, "it goes on")


def test_a_hold_waits_for_an_engine(peer):
    begin(peer, hold_ms=200, steps=[100, 10000])
    r = reports_until(peer, lambda r: r["away_ms"] > 500, engines=0)
    assert (r["held_ms"], r["step"]) == (0, 0)
    report(peer, requests=5)
    assert get(peer)["away_ms"] == 0
    reports_until(peer, lambda r: r["step"] == 1)
    r = reports_until(peer, lambda r: r["state"] == ABORTED, engines=0, trouble="no room for it")
    assert "no room for it" in r["reason"]
    deployed(peer, (1, 10000))


def test_one_gateway_with_an_engine_is_enough_for_a_hold(peer):
    """Time is that of the clock, also where other gateways report that they have no engine."""
    begin(peer, hold_ms=60000, steps=[100, 10000])
    report(peer)
    begun, first = time.monotonic(), get(peer)["held_ms"]

    def both(peer):
        report(peer, gateway="g2", engines=0, trouble="the network")
        report(peer)
        return get(peer)

    r = eventually(lambda: (r := both(peer))["held_ms"] - first > 300 and r, 20, "no hold")
    passed = (time.monotonic() - begun) * 1000
    assert r["held_ms"] - first >= 0.9 * passed - 20, (r["held_ms"] - first, passed)
    report(peer, gateway="g2", engines=0, trouble="the network")
    assert get(peer)["away_ms"] == 0
    report(peer, engines=0)  # now nobody has one
    reports_until(peer, lambda r: r["away_ms"] > 100 and r["trouble"] == "lost", engines=0, trouble="lost")


def test_what_is_over_is_not_judged(peer):
    begin(peer, hold_ms=200, steps=[100, 10000])
    old = snapshot(peer)["deployments"]["m"]["revision"]
    reports_until(peer, lambda r: r["step"] == 1)
    report(peer, revision=old, requests=9, errors=9)
    report(peer, revision=old + 7, requests=9, errors=9)
    assert get(peer)["state"] == RUNNING and get(peer)["errors"] == 0
    refused("INVALID", report, peer, gateway="a b")
    refused("INVALID", report, peer, trouble=b"\xff")


def test_nothing_else_is_changed_meanwhile(peer):
    commit(peer, data=b"bad")
    check(peer, "m", 4, FAILED, reason="broken")
    commit(peer, data=b"new")
    refused("NOT_FOUND", get, peer)
    refused("NOT_FOUND", peer.call, "ROLLOUT_ABORT", model="m")
    refused("NOT_FOUND", peer.call, "ROLLOUT_GET", name="x")
    begin(peer)
    for call, fields in (
        ("DEPLOY", {"version": 3}), ("ROLLBACK", {}), ("DEPLOY", {"version": 1}),
        ("ROLLOUT_BEGIN", {"version": 3, "steps": [10000], "hold_ms": 300, "limits": ERRORS}),
    ):  # fmt: skip
        assert "a rollout of version 2" in refused("CONFLICT", peer.call, call, model="m", **fields)
    assert "rollout" in refused("CONFLICT", peer.call, "VERSION_DELETE", model="m", version=2)
    assert "rollout" in refused("CONFLICT", peer.call, "VERSION_DELETE", model="m", version=1)
    peer.call("VERSION_DELETE", model="m", version=3)
    assert commit(peer, data=b"other", deploy=True)["number"] == 6  # registered, and not deployed
    alias(peer, "champion", 2)
    deployed(peer, (1, 9900), (2, 100))
    peer.call("ROLLOUT_ABORT", model="m")
    peer.call("DEPLOY", model="m")
    assert "serves nothing" in refused("CONFLICT", begin, peer)
    peer.call("DEPLOY", model="m", version=2)
    assert "already" in refused("CONFLICT", begin, peer)
    assert "broken" in refused("CONFLICT", begin, peer, version=4)
    assert "not been checked" in refused("CONFLICT", begin, peer, version=5)
    assert "version 9" in refused("INVALID", begin, peer, version=9)


def test_what_cannot_be_is_refused(peer):
    for fields, word in (
        ({"steps": []}, "last step"), ({"steps": [100, 100, 10000]}, "rise"), ({"steps": [0, 10000]}, "rise"),
        ({"steps": [100, 5000]}, "last step"), ({"steps": [100, 10001]}, "rise"), ({"hold_ms": 199}, "hold_s"),
        ({"hold_ms": 604800001}, "hold_s"), ({"limits": 0}, "abort_if"), ({"limits": 4}, "abort_if"),
        ({"error_rate": 1.5}, "error_rate"), ({"error_rate": float("nan")}, "error_rate"), ({"limits": P99}, "p99_ms"),
        ({"steps": list(range(1, 40))}, "32"),
    ):  # fmt: skip
        assert word in refused("INVALID", begin, peer, **fields), fields
    deployed(peer, (1, 10000))


def test_rollout_survives_its_registry(store, peer):
    an_hour_passes = lambda: store.cli("HINCRBY", "maas:{m}:rollout", "seen_ms", str(-3600 * 1000))
    begin(peer, hold_ms=3000, steps=[100, 10000])
    reports_until(peer, lambda r: r["held_ms"] > 100)
    store.registry.kill()
    an_hour_passes()
    store.registry.start()
    store.ready()
    peer = store.peer()
    r = get(peer)
    assert r["state"] == RUNNING and r["step"] == 0
    report(peer)
    assert 2000 <= get(peer)["held_ms"] < 3000  # of which two seconds count: a hold is not skipped
    an_hour_passes()
    report(peer)
    eventually(lambda: get(peer)["step"] == 1, 5, "nor does it last for ever")


def test_two_registries_make_each_step_once(store, peer):
    store.add_registry()
    store.ready(1)
    begin(peer, hold_ms=200, steps=[100, 1000, 5000, 10000])
    peers = [peer, store.peer(1)]

    def watch(p, name, stop):
        while not stop.is_set():
            report(p, gateway=name, requests=5)

    stop = threading.Event()
    threads = [threading.Thread(target=watch, args=(store.peer(n), f"g{n}", stop)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    try:
        for p in peers:
            eventually(lambda p=p: get(p)["state"] == DONE, 20, "it does not end")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    steps = [json.loads(e["to"])["rollout"]["step"] for e in history(peer) if e["what"].startswith("rollout")]
    assert steps == [1, 2, 3, 4, 4]
    deployed(peers[1], (2, 10000))
    ends = lambda: total(peer, "maas_registry_rollout_turns_total", "end")
    eventually(lambda: ends() == 1, 10, "nobody has counted it, or both")


def test_rollout_does_not_depend_on_one_registry(store, peer):
    store.add_registry()
    store.ready(1)
    begin(peer, hold_ms=200, steps=[100, 10000])
    reports_until(peer, lambda r: r["held_ms"] > 0)
    store.registry.signal(signal.SIGKILL)
    other = store.peer(1)
    reports_until(other, lambda r: r["state"] == DONE)
    deployed(other, (2, 10000))
