"""maas-registry with a real Redis: what is acknowledged stays, what is refused leaves no trace."""

import concurrent.futures
import hashlib
import json
import os
import random
import re
import signal
import threading

import pytest

from peer import CHUNK_BYTES, ROLES, Failure, NoAnswer, Peer, eventually
from registry_rig import (
    FAILED,
    PASSED,
    SANITIZED,
    Store,
    artifact,
    check,
    commit,
    put,
    refused,
    store,
    total,
)


# ---- artifacts


def test_artifact_travels_in_verified_chunks(store):
    peer = store.peer()
    data = random.Random(1).randbytes(2 * CHUNK_BYTES + 12345)
    fields = put(peer, data)
    refused("NOT_FOUND", peer.call, "MANIFEST_GET", digest=fields["digest"])
    assert commit(peer, data=data)["number"] == 1
    manifest = peer.call("MANIFEST_GET", digest=fields["digest"])
    assert manifest == {**fields, "now": b""}  # nobody has read a chunk yet
    digests = [manifest["chunks"][i : i + 32] for i in range(0, len(manifest["chunks"]), 32)]
    assert b"".join(peer.call("CHUNK_GET", digest=d) for d in digests) == data


def test_equal_chunks_are_stored_once_and_kept_by_the_manifest(store):
    peer = store.peer()
    data = bytes(3 * CHUNK_BYTES)  # three times the same chunk
    put(peer, data)
    keys = store.cli("--raw", "KEYS", "maas:chunk:*").count(b"maas:chunk:")
    assert keys == 1
    script = "return redis.call('PTTL', redis.call('KEYS', 'maas:chunk:*')[1])"
    assert 0 < int(store.cli("EVAL", script, "0")) <= 24 * 3600 * 1000
    commit(peer, data=data)
    assert int(store.cli("EVAL", script, "0")) == -1


def test_wrong_digest_is_refused(store):
    peer = store.peer()
    digest = hashlib.sha256(b"right").digest()
    text = refused("INVALID", peer.call, "CHUNK_PUT", digest=digest, attachment=b"wrong")
    assert "digest" in text
    refused("NOT_FOUND", peer.call, "CHUNK_GET", digest=digest)
    refused("INVALID", peer.call, "CHUNK_PUT", digest=b"short", attachment=b"x")
    refused("INVALID", peer.call, "CHUNK_PUT", digest=digest)
    refused("INVALID", peer.call, "CHUNK_PUT", digest=digest, attachment=b"")
    refused("INVALID", peer.call, "CHUNK_PUT", digest=digest, attachment=bytes(CHUNK_BYTES + 1))
    eventually(
        lambda: total(peer, "maas_registry_corrupt_chunks_total", "peer") == 1, 5, "not counted"
    )


def test_rotten_chunk_is_seen_never_served_and_repaired(store):
    peer = store.peer()
    data = b"precious" * 1000
    commit(peer, data=data)
    digest = hashlib.sha256(data).digest()
    rot = "local k = redis.call('KEYS', 'maas:chunk:*')[1] redis.call('SETRANGE', k, 5, 'X')"
    store.cli("EVAL", rot, "0")
    refused("CORRUPT", peer.call, "CHUNK_GET", digest=digest)
    assert "corrupt" in store.registry.log()
    put(peer, data)
    assert peer.call("CHUNK_GET", digest=digest) == data


def test_chunks_that_several_want_are_read_once(store):
    one, other = store.peer(), store.peer()
    data = random.Random(1).randbytes(8 * CHUNK_BYTES)
    chunks = put(one, data)["chunks"]

    def reads():
        stats = store.cli("INFO", "commandstats").decode()
        return int(re.search(r"cmdstat_get:calls=(\d+)", stats + "cmdstat_get:calls=0").group(1))

    before = reads()
    for i in range(8):
        digest, chunk = chunks[32 * i : 32 * i + 32], data[i * CHUNK_BYTES : (i + 1) * CHUNK_BYTES]
        assert one.call("CHUNK_GET", digest=digest) == chunk
        assert other.call("CHUNK_GET", digest=digest) == chunk
    assert reads() - before < 2 * 8


def test_chunks_return_their_memory(store):
    peer = store.peer()
    for round_ in range(3):
        data = random.Random(round_).randbytes(24 * CHUNK_BYTES)
        fields = put(peer, data)
        for i in range(0, len(fields["chunks"]), 32):
            peer.send("CHUNK_GET", digest=fields["chunks"][i : i + 32])
        for _ in range(0, len(fields["chunks"]), 32):
            peer.receive()
    if not SANITIZED:
        eventually(lambda: store.registry.rss_kib() < 20 * 1024, 10, "memory is not given back")


# ---- versions


def test_version_is_visible_only_when_complete(store):
    peer = store.peer()
    events = store.subscriber()
    data = random.Random(2).randbytes(CHUNK_BYTES + 1)
    fields = artifact(data)
    whole = {"model": "m", "format": "fake", "source": "upload", **fields}
    peer.call("CHUNK_PUT", digest=fields["chunks"][:32], attachment=data[:CHUNK_BYTES])
    text = refused("CONFLICT", peer.call, "VERSION_COMMIT", **whole)
    assert "chunk 1" in text
    snapshot = peer.call("SNAPSHOT")
    assert snapshot["seq"] == 0 and snapshot["versions"] == []
    refused("NOT_FOUND", peer.call, "MANIFEST_GET", digest=fields["digest"])
    peer.call("CHUNK_PUT", digest=fields["chunks"][32:], attachment=data[CHUNK_BYTES:])
    version = peer.call("VERSION_COMMIT", **whole)
    assert version["number"] == 1  # the refused commit took no number
    assert events.next_change()["seq"] == 1
    assert peer.call("SNAPSHOT")["versions"] == [version]


def test_commit_is_checked(store):
    peer = store.peer()
    good = {"model": "m", "format": "fake", "source": "upload", **put(peer, b"abc")}

    def bad(**change):
        return refused("INVALID", peer.call, "VERSION_COMMIT", **{**good, **change})

    assert "name" in bad(model="no spaces")
    assert "name" in bad(model="")
    assert "name" in bad(model="../etc")
    assert "format" in bad(format="")
    assert "metrics" in bad(metrics="{broken")
    assert "tags" in bad(tags="[1]")
    assert "empty" in bad(size_bytes=0, chunks=b"")
    assert "chunks" in bad(size_bytes=CHUNK_BYTES + 1)
    assert "chunk" in bad(digest=hashlib.sha256(b"other").digest())
    assert "32" in bad(digest=b"short")
    too_large = {"size_bytes": 1 << 60}
    refused("TOO_LARGE", peer.call, "VERSION_COMMIT", **{**good, **too_large})
    assert peer.call("SNAPSHOT")["versions"] == []


def test_manifest_of_a_digest_never_changes(store):
    peer = store.peer()
    data = random.Random(3).randbytes(CHUNK_BYTES + 10)
    commit(peer, data=data)
    other = random.Random(4).randbytes(CHUNK_BYTES + 10)
    lie = {**put(peer, other), "digest": hashlib.sha256(data).digest()}
    refused("CONFLICT", peer.call, "VERSION_COMMIT", model="m", format="fake", **lie)
    assert peer.call("MANIFEST_GET", digest=lie["digest"]) == {**artifact(data), "now": b""}


def test_the_same_key_gives_the_same_version(store):
    peer = store.peer()
    first = commit(peer, key="k1")
    assert commit(peer, key="k1") == first
    assert commit(peer, key="k2")["number"] == 2
    refused("CONFLICT", commit, peer, model="other", key="k1")
    refused("CONFLICT", commit, peer, data=b"other weights", key="k1")
    assert len(peer.call("SNAPSHOT")["versions"]) == 2


def test_concurrent_commits_get_distinct_numbers(store):
    count = 40
    with Peer(store.rpc()) as peer:
        put(peer, b"weights")

    def one(i):
        with Peer(store.rpc()) as peer:
            return commit(peer, key=f"key-{i}")["number"]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(one, range(count)))
    assert sorted(numbers) == list(range(1, count + 1))


def test_record_is_what_was_committed(store):
    peer = store.peer()
    more = {
        "metrics": json.dumps({"accuracy": 0.9}),
        "lineage": json.dumps({"dataset": "d"}),
        "tags": json.dumps({"team": "blue"}),
    }
    version = commit(peer, data=b"abc", **more)
    for name, value in {**more, **artifact(b"abc"), "model": "m", "format": "fake"}.items():
        if name != "chunks":
            assert version[name] == value
    signature = [{"name": "x", "datatype": 11, "shape": [-1, 4]}]
    check(peer, "m", 1, inputs=signature, outputs=signature, batchable=1)
    shown = peer.call("SNAPSHOT")["versions"][0]
    assert shown["check"] == PASSED and shown["batchable"] == 1
    assert shown["inputs"] == signature and shown["outputs"] == signature


def test_check_is_claimed_by_one(store):
    peer, events = store.peer(), store.subscriber()
    refused("NOT_FOUND", peer.call, "CHECK_CLAIM", name="w1")
    commit(peer)
    assert peer.call("CHECK_CLAIM", name="w1")["model"] == "m"
    refused("NOT_FOUND", peer.call, "CHECK_CLAIM", name="w2")
    store.cli("ZADD", "maas:pending", "1", "m:1")  # as if the lease of 60 s were over
    assert peer.call("CHECK_CLAIM", name="w2")["number"] == 1
    check(peer, "m", 1, FAILED, reason="not a model")
    check(peer, "m", 1, PASSED)  # too late: w1 wakes up
    changes = [events.next_change()["versions"][0] for _ in range(2)]
    assert [c["check"] for c in changes] == [0, FAILED]
    assert changes[1]["reason"] == "not a model"
    refused("NOT_FOUND", peer.call, "CHECK_CLAIM", name="w3")
    refused("NOT_FOUND", check, peer, "m", 7)
    refused("INVALID", check, peer, "m", 1, 0)


def test_a_claim_that_is_repeated_is_one(store):
    """Its answer may be lost, and a check may take longer than a claim lasts."""
    peer = store.peer()
    commit(peer)
    commit(peer)
    assert peer.call("CHECK_CLAIM", name="w1", number=7)["number"] == 1
    until = float(store.cli("ZSCORE", "maas:pending", "m:1"))
    assert until - float(store.cli("ZSCORE", "maas:pending", "m:2")) > 60_000

    def renewed():
        assert peer.call("CHECK_CLAIM", name="w1", number=7)["number"] == 1
        return float(store.cli("ZSCORE", "maas:pending", "m:1")) > until

    eventually(renewed, 10, "the claim does not last longer")
    assert peer.call("CHECK_CLAIM", name="w1", number=8)["number"] == 2  # 1 could not be fetched
    refused("NOT_FOUND", peer.call, "CHECK_CLAIM", name="w3", number=7)
    store.cli("DEL", "maas:claim:w1:7")  # as if its 60 s were over
    store.cli("ZADD", "maas:pending", "1", "m:1")
    assert peer.call("CHECK_CLAIM", name="w3")["number"] == 1
    refused("NOT_FOUND", peer.call, "CHECK_CLAIM", name="w1", number=7)
    check(peer, "m", 2)
    refused("NOT_FOUND", peer.call, "CHECK_CLAIM", name="w1", number=8)  # what is decided is nobody's
    refused("INVALID", peer.call, "CHECK_CLAIM", name="")


def test_full_catalog_is_refused_by_name(store):
    peer = store.peer()
    store.cli("HSET", "maas:catalog", "versions", "262144")
    assert "262144" in refused("FULL", commit, peer)
    store.cli("HSET", "maas:catalog", "versions", "1", "bytes", "268435456")
    assert "bytes" in refused("FULL", commit, peer)
    assert peer.call("SNAPSHOT")["versions"] == []
    assert store.cli("KEYS", "maas:manifest:*") == b""  # and what was put still expires
    left = "return redis.call('PTTL', redis.call('KEYS', 'maas:chunk:*')[1])"
    assert int(store.cli("EVAL", left, "0")) > 0


# ---- deployments


def test_deploy_and_its_refusals(store):
    peer, events = store.peer(), store.subscriber()
    for _ in range(3):
        commit(peer)
    check(peer, "m", 1)
    check(peer, "m", 2, FAILED, reason="unknown operator Foo")
    check(peer, "m", 3)
    assert "'x'" in refused("NOT_FOUND", peer.call, "DEPLOY", model="x", version=1)
    assert "version 9" in refused("INVALID", peer.call, "DEPLOY", model="m", version=9)
    text = refused("CONFLICT", peer.call, "DEPLOY", model="m", version=2)
    assert "version 2" in text and "unknown operator Foo" in text
    first = peer.call("DEPLOY", model="m", version=1, process="gw")
    assert (first["model"], first["version"], first["previous"]) == ("m", 1, 0)
    second = peer.call("DEPLOY", model="m", version=3, process="gw")
    assert (second["version"], second["previous"]) == (3, 1)
    assert second["revision"] == first["revision"] + 1
    assert peer.call("DEPLOY", model="m", version=3) == second  # no change, no event
    back = peer.call("DEPLOY", model="m", version=1)
    assert (back["version"], back["previous"]) == (1, 3)
    seen = [events.next_change() for _ in range(9)]
    assert [e["deployments"][0]["version"] for e in seen if e["deployments"]] == [1, 3, 1]
    history = store.cli("XRANGE", "maas:{m}:history", "-", "+").decode().split("\n")
    words = [w.strip() for w in history]
    assert words.count("register") == 3 and words.count("deploy") == 3 and "gw" in words


INSTANCES, MAX_BATCH, MAX_BATCH_DELAY = 1, 2, 4  # of "changes"


def test_settings_of_a_deployment(store):
    peer, events = store.peer(), store.subscriber()
    for _ in range(2):
        commit(peer)
    first = peer.call("DEPLOY", model="m", version=1, instances=3, max_batch=16,
                      changes=INSTANCES | MAX_BATCH)  # fmt: skip
    assert (first["instances"], first["max_batch"], first["max_batch_delay_ms"]) == (3, 16, 0)
    assert peer.call("DEPLOY", model="m", version=1, instances=3, changes=INSTANCES) == first
    assert peer.call("DEPLOY", model="m", version=1, instances=9) == first  # not meant
    second = peer.call("DEPLOY", model="m", version=1, max_batch_delay_ms=7, changes=MAX_BATCH_DELAY)
    assert second["revision"] == first["revision"] + 1 and second["previous"] == 0
    rolled = peer.call("DEPLOY", model="m", version=2, instances=0, changes=INSTANCES, process="gw")
    assert (rolled["version"], rolled["instances"], rolled["max_batch"]) == (2, 0, 16)
    assert rolled["max_batch_delay_ms"] == 7 and rolled["revision"] == second["revision"] + 1
    assert peer.call("SNAPSHOT")["deployments"] == [rolled]
    seen = [e["deployments"][0] for e in (events.next_change() for _ in range(5)) if e["deployments"]]
    assert seen == [first, second, rolled]
    told = [json.loads(e["to"]) for e in peer.call("HISTORY_GET", model="m")["entries"] if e["what"] == "deploy"]
    assert [(t["instances"], t["max_batch_delay_ms"]) for t in told] == [(0, 7), (3, 7), (3, 0)]
    refused("INVALID", peer.call, "DEPLOY", model="m", version=2, instances=65, changes=INSTANCES)
    refused("INVALID", peer.call, "DEPLOY", model="m", version=2, max_batch=4097, changes=MAX_BATCH)
    assert peer.call("SNAPSHOT")["deployments"] == [rolled]


def test_previous_is_what_serves(store):
    """A version that never got warm serves nothing, so it is no place to wait."""
    peer = store.peer()
    for _ in range(3):
        commit(peer)
    check(peer, "m", 1)
    peer.call("DEPLOY", model="m", version=1)
    assert peer.call("DEPLOY", model="m", version=2)["previous"] == 1
    assert peer.call("DEPLOY", model="m", version=3)["previous"] == 1


def test_commit_can_deploy_in_the_same_step(store):
    peer = store.peer()
    commit(peer, deploy=True)
    assert peer.call("SNAPSHOT")["deployments"][0]["version"] == 1


# ---- events


def test_events_are_ordered_and_gapless(store):
    events = store.subscriber()

    def some(worker):
        with Peer(store.rpc()) as peer:
            for i in range(10):
                commit(peer, model=f"m{worker}", data=b"w", key=f"{worker}-{i}")

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(some, range(4)))
    changes = [events.next_change() for _ in range(40)]
    assert [c["seq"] for c in changes] == list(range(1, 41))
    snapshot = store.peer().call("SNAPSHOT")
    assert snapshot["seq"] == 40
    by_name = lambda v: (v["model"], v["number"])
    put_by_events = sorted((v for c in changes for v in c["versions"]), key=by_name)
    assert put_by_events == sorted(snapshot["versions"], key=by_name)


def test_tick_tells_who_missed_a_change(store):
    peer = store.peer()
    commit(peer)
    late = store.subscriber()
    eventually(lambda: late.next()["seq"] == 1, 5, "the tick does not carry the last number")
    assert peer.call("SNAPSHOT")["seq"] == 1


def test_events_go_on_after_redis_was_away(store):
    peer, events = store.peer(), store.subscriber()
    commit(peer)
    assert events.next_change()["seq"] == 1
    store.redis.kill()
    store.redis.start()
    store.ready()
    commit(peer)
    assert events.next_change()["seq"] == 2


def test_two_registries_share_one_redis(store):
    store.add_registry()
    store.ready(1)
    peers = [store.peer(n) for n in (0, 1)]
    events = [store.subscriber(n) for n in (0, 1)]
    commit(peers[0])
    commit(peers[1])
    for e in events:
        assert [e.next_change()["seq"] for _ in range(2)] == [1, 2]
    assert peers[0].call("SNAPSHOT") == peers[1].call("SNAPSHOT")
    store.registries[0].kill()
    peers[1].call("DEPLOY", model="m", version=2)
    assert events[1].next_change()["deployments"][0]["version"] == 2
    store.registries[0].start()
    store.ready(0)
    assert store.peer(0).call("SNAPSHOT") == peers[1].call("SNAPSHOT")


# ---- durability


@pytest.mark.parametrize("round_", range(3))
def test_what_is_acknowledged_survives_kill_9(store, round_):
    peer = store.peer()
    data = random.Random(round_).randbytes(CHUNK_BYTES + 77)
    version = commit(peer, data=data, deploy=True)
    store.registry.kill()
    store.redis.kill()
    store.redis.start()
    store.registry.start()
    store.ready()
    peer = store.peer()
    snapshot = peer.call("SNAPSHOT")
    assert snapshot["versions"] == [version]
    assert snapshot["deployments"][0]["version"] == 1
    manifest = peer.call("MANIFEST_GET", digest=version["digest"])
    digests = [manifest["chunks"][i : i + 32] for i in range(0, len(manifest["chunks"]), 32)]
    assert b"".join(peer.call("CHUNK_GET", digest=d) for d in digests) == data


def test_kill_9_in_the_midst_of_commits_leaves_whole_versions(store):
    """Acknowledged versions are there, and every version that is there is whole."""
    acknowledged, stop = [], threading.Event()
    with Peer(store.rpc()) as peer:
        put(peer, b"weights")

    def commits():
        with Peer(store.rpc()) as peer:
            fields = {"model": "m", "format": "fake", **artifact(b"weights")}
            while not stop.is_set():
                try:
                    acknowledged.append(peer.call("VERSION_COMMIT", seconds=1, **fields)["number"])
                except (Failure, NoAnswer):
                    pass

    thread = threading.Thread(target=commits)
    thread.start()
    for _ in range(3):
        before = len(acknowledged)
        eventually(lambda: len(acknowledged) > before + 20, 20, "no commits")
        store.redis.kill()
        store.registry.kill()
        store.redis.start()
        store.registry.start()
        store.ready()
    stop.set()
    thread.join()
    snapshot = store.peer().call("SNAPSHOT")
    numbers = [v["number"] for v in snapshot["versions"]]
    assert set(acknowledged) <= set(numbers)
    assert len(set(acknowledged)) == len(acknowledged)
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert all(v["digest"] == artifact(b"weights")["digest"] for v in snapshot["versions"])


def test_redis_away_is_said_and_healed(store):
    peer = store.peer()
    commit(peer)
    before = store.registry.log()
    store.redis.kill()
    for kind in ("PING", "SNAPSHOT", "TRAINING_LIST", "DATASET_LIST"):
        assert "Redis" in refused("UNAVAILABLE", peer.call, kind)
    digest = hashlib.sha256(b"x").digest()
    refused("UNAVAILABLE", peer.call, "CHUNK_PUT", digest=digest, attachment=b"x")
    refused("UNAVAILABLE", peer.call, "HEALTH", name="", role=ROLES["registry"])
    store.redis.start()
    store.ready()
    assert peer.call("SNAPSHOT")["versions"][0]["number"] == 1
    since = store.registry.log()[len(before) :]
    assert (since.count("redis is away"), since.count("redis is back")) == (1, 1)
    eventually(
        lambda: total(peer, "maas_registry_redis_reconnects_total") > 0, 5, "it is not counted"
    )


def test_redis_that_hangs_is_away(store):
    peer = store.peer()
    store.redis.signal(signal.SIGSTOP)
    refused("UNAVAILABLE", peer.call, "PING", seconds=15)
    store.redis.signal(signal.SIGCONT)
    store.ready()


def test_registry_starts_before_redis():
    s = Store()
    try:
        s.add_registry()
        eventually(lambda: os.path.exists(f"{s.home}/rpc0.sock"), 10, "it does not listen")
        refused("UNAVAILABLE", s.peer().call, "PING")
        s.redis.start()
        s.ready()
    finally:
        s.finish()


def test_lost_library_is_loaded_again(store):
    store.cli("FUNCTION", "FLUSH")
    peer = store.peer()

    def works():
        try:
            return peer.call("SNAPSHOT") is not None
        except Failure as failure:
            assert failure.status == "UNAVAILABLE"
            return False

    eventually(works, 10, "the functions do not come back")


def test_redis_that_is_not_durable_is_warned_about():
    s = Store()
    try:
        s.redis.argv += ["--appendfsync", "everysec"]
        s.redis.start()
        s.add_registry()
        s.ready()
        eventually(lambda: "not durable" in s.registry.log(), 5, "no warning")
        assert s.registry.log().count("not durable") == 1
        s.redis.kill()
        s.redis.start()
        s.ready()
        assert s.registry.log().count("not durable") == 1
    finally:
        s.finish()


def test_full_redis_refuses_and_lives(store):
    peer = store.peer()
    commit(peer, model="old")
    store.cli("CONFIG", "SET", "maxmemory", "100kb")
    digest = hashlib.sha256(b"x").digest()
    refused("FULL", peer.call, "CHUNK_PUT", digest=digest, attachment=b"x")
    refused("FULL", peer.call, "ALIAS_PUT", model="old", alias="a", version=1)
    peer.call("VERSION_DELETE", model="old", version=1)  # room can be made
    peer.call("REPORT", processes=[{"role": ROLES["worker"], "id": "w1"}], want=0)  # all are seen
    store.cli("CONFIG", "SET", "maxmemory", "0")
    peer.call("CHUNK_PUT", digest=digest, attachment=b"x")
