"""maas-registry with a real Redis: what is acknowledged stays, what is refused leaves no trace."""

import concurrent.futures
import ctypes
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

import msgpack
import pytest
import zmq

from peer import (
    BIN,
    CHUNK_BYTES,
    ROLES,
    Failure,
    NoAnswer,
    Peer,
    Subscriber,
    encode,
    eventually,
    schema,
)

PASSED, FAILED = 1, 2
QUEUED, RUNNING, DONE, BROKEN, CANCELLED = range(5)
SANITIZED = any(word in BIN for word in ("address", "thread"))
TSAN_SUPPRESSIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tsan.supp")
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


# ---- processes


class Process:
    def __init__(self, home, name, argv):
        self.home = home
        self.argv = argv
        self.log_path = os.path.join(home, name + ".log")
        self.popen = None

    def start(self):
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                self.argv,
                cwd=self.home,
                env={"TSAN_OPTIONS": f"suppressions={TSAN_SUPPRESSIONS}", **os.environ},
                stdout=log,
                stderr=log,
                preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )
        return self

    def alive(self):
        return self.popen is not None and self.popen.poll() is None

    def signal(self, number):
        self.popen.send_signal(number)

    def kill(self):
        if self.alive():
            self.popen.kill()
        if self.popen:
            self.popen.wait(10)

    def stop(self):
        self.popen.terminate()
        return self.popen.wait(20)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def rss_kib(self):
        with open(f"/proc/{self.popen.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


class Store:
    """A Redis and any number of registries, in a directory of their own."""

    def __init__(self):
        self.home = tempfile.mkdtemp(prefix="maas-")  # short: socket paths have 107 bytes
        self.redis = Process(
            self.home,
            "redis",
            ["redis-server", "--port", "0", "--unixsocket", "redis.sock", "--dir", self.home]
            + ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
            + ["--maxmemory-policy", "noeviction"],
        )
        self.registries = []
        self.open = []

    def add_registry(self, *options):
        n = len(self.registries)
        argv = [os.path.join(BIN, "maas-registry"), "--redis", "unix:redis.sock"]
        argv += ["--rpc", f"ipc://rpc{n}.sock", "--events", f"ipc://events{n}.sock"]
        self.registries.append(Process(self.home, f"registry{n}", [*argv, *options]))
        return self.registries[-1].start()

    @property
    def registry(self):
        return self.registries[0]

    def rpc(self, n=0):
        return f"ipc://{self.home}/rpc{n}.sock"

    def peer(self, n=0):
        self.open.append(Peer(self.rpc(n)))
        return self.open[-1]

    def subscriber(self, n=0):
        """A subscriber that hears the registry already."""
        self.open.append(Subscriber(f"ipc://{self.home}/events{n}.sock"))
        self.open[-1].next()
        return self.open[-1]

    def ready(self, n=0, seconds=20):
        """Waits until the registry and its Redis answer."""

        def answers():
            with Peer(self.rpc(n)) as peer:
                try:
                    return peer.call("PING", seconds=1) is not None
                except (Failure, NoAnswer):
                    return False

        eventually(answers, seconds, f"registry {n} does not answer")
        return self

    def cli(self, *argv):
        """redis-cli; the raw reply."""
        command = ["redis-cli", "-s", os.path.join(self.home, "redis.sock"), *argv]
        return subprocess.run(command, check=True, capture_output=True, timeout=10).stdout.strip()

    def check_sanitizers(self):
        """Ends the registries in order, where sanitizers watch them, and reads what they found."""
        for registry in self.registries if SANITIZED else ():
            if registry.alive():
                assert registry.stop() == 0, registry.log()
            assert "Sanitizer" not in registry.log(), registry.log()

    def finish(self):
        for thing in self.open:
            thing.close()
        for process in [*self.registries, self.redis]:
            process.kill()
        shutil.rmtree(self.home, ignore_errors=True)


@pytest.fixture
def store():
    s = Store()
    s.redis.start()
    s.add_registry()
    s.ready()
    yield s
    s.check_sanitizers()
    s.finish()


# ---- what peers do


def put(peer, data):
    """Puts the chunks of data; the fields that name the artifact."""
    chunks = [data[i : i + CHUNK_BYTES] for i in range(0, len(data), CHUNK_BYTES)]
    digests = [hashlib.sha256(c).digest() for c in chunks]
    for digest, chunk in zip(digests, chunks):
        peer.call("CHUNK_PUT", digest=digest, attachment=chunk)
    return artifact(data)


def artifact(data):
    """The fields that name an artifact, without putting anything."""
    chunks = [data[i : i + CHUNK_BYTES] for i in range(0, len(data), CHUNK_BYTES)]
    return {
        "digest": hashlib.sha256(data).digest(),
        "size_bytes": len(data),
        "chunks": b"".join(hashlib.sha256(c).digest() for c in chunks),
    }


def commit(peer, model="m", data=b"weights", **more):
    fields = put(peer, data)
    fields.update({"model": model, "format": "fake", "source": "upload"}, **more)
    return peer.call("VERSION_COMMIT", **fields)


def check(peer, model, number, result=PASSED, **more):
    peer.call("VERSION_CHECKED", model=model, version=number, check=result, **more)


def add_dataset(peer, name="d", file="a.csv", data=b"a,b\n1,2\n"):
    return peer.call("FILE_COMMIT", dataset=name, file=file, **put(peer, data))


def submit(peer, **more):
    fields = {"model": "m", "dataset": "d", "learner": "mlp", "params": "{}", **more}
    return peer.call("TRAINING_SUBMIT", **fields)


def refused(status, call, *args, **fields):
    with pytest.raises(Failure) as failure:
        call(*args, **fields)
    assert failure.value.status == status, failure.value.text
    return failure.value.text


def counters(peer, role="registry"):
    """Counters of the registries as others see them: {(name, labels): value}."""
    me = {"role": ROLES["gateway"], "id": "test-gateway", "host": "here", "pid": 1}
    suite = peer.call("REPORT", processes=[me], want=1 << ROLES[role])
    out = {}
    for process in suite["processes"]:
        for c in process["counters"]:
            key = (c["name"], c["labels"])
            out[key] = out.get(key, 0) + c["value"]
    return out


def total(peer, family, label=""):
    return sum(v for (name, labels), v in counters(peer).items() if name == family and label in labels)


# ---- artifacts


def test_artifact_travels_in_verified_chunks(store):
    peer = store.peer()
    data = random.Random(1).randbytes(2 * CHUNK_BYTES + 12345)
    fields = put(peer, data)
    refused("NOT_FOUND", peer.call, "MANIFEST_GET", digest=fields["digest"])
    assert commit(peer, data=data)["number"] == 1
    manifest = peer.call("MANIFEST_GET", digest=fields["digest"])
    assert manifest == fields
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
    assert peer.call("MANIFEST_GET", digest=lie["digest"]) == artifact(data)


def test_the_same_key_gives_the_same_version(store):
    peer = store.peer()
    first = commit(peer, key="k1")
    assert commit(peer, key="k1") == first
    assert commit(peer, key="k2")["number"] == 2
    refused("CONFLICT", commit, peer, model="other", key="k1")
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


def test_full_catalog_is_refused_by_name(store):
    peer = store.peer()
    store.cli("HSET", "maas:catalog", "versions", "65536")
    assert "65536" in refused("FULL", commit, peer)
    store.cli("HSET", "maas:catalog", "versions", "1", "bytes", "50331648")
    assert "bytes" in refused("FULL", commit, peer)
    assert peer.call("SNAPSHOT")["versions"] == []


# ---- deployments


def test_deploy_and_its_refusals(store):
    peer, events = store.peer(), store.subscriber()
    for _ in range(3):
        commit(peer)
    check(peer, "m", 1)
    check(peer, "m", 2, FAILED, reason="unknown operator Foo")
    check(peer, "m", 3)
    assert "'x'" in refused("NOT_FOUND", peer.call, "DEPLOY", model="x", version=1)
    assert "version 9" in refused("NOT_FOUND", peer.call, "DEPLOY", model="m", version=9)
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
    history = store.cli("XRANGE", "maas:history:m", "-", "+").decode().split("\n")
    words = [w.strip() for w in history]
    assert words.count("register") == 3 and words.count("deploy") == 3 and "gw" in words


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
    store.cli("CONFIG", "SET", "maxmemory", "100kb")
    digest = hashlib.sha256(b"x").digest()
    refused("FULL", peer.call, "CHUNK_PUT", digest=digest, attachment=b"x")
    store.cli("CONFIG", "SET", "maxmemory", "0")
    peer.call("CHUNK_PUT", digest=digest, attachment=b"x")


# ---- datasets


def test_datasets(store):
    peer = store.peer()
    assert peer.call("DATASET_LIST")["datasets"] == []
    refused("NOT_FOUND", peer.call, "DATASET_GET", name="d")
    answer = add_dataset(peer, data=b"one")
    assert [f["name"] for f in answer["datasets"][0]["files"]] == ["a.csv"]
    add_dataset(peer, data=b"other")
    shown = peer.call("DATASET_GET", name="d")["datasets"][0]
    assert len(shown["files"]) == 1
    assert shown["files"][0]["digest"] == hashlib.sha256(b"other").digest()
    for i in range(15):
        add_dataset(peer, file=f"f{i}")
    assert "16" in refused("INVALID", add_dataset, peer, file="one-more")
    refused("INVALID", add_dataset, peer, file="a/b")
    add_dataset(peer, name="c")
    assert [d["name"] for d in peer.call("DATASET_LIST")["datasets"]] == ["c", "d"]
    refused("CONFLICT", peer.call, "FILE_COMMIT", dataset="e", file="f", **artifact(b"not there"))
    refused("NOT_FOUND", peer.call, "DATASET_GET", name="e")


# ---- training


def test_training_from_submit_to_version(store):
    peer = store.peer()
    refused("NOT_FOUND", submit, peer)
    add_dataset(peer)
    refused("INVALID", submit, peer, params="{")
    job = submit(peer, key="k", seed=7, deploy=True)
    assert submit(peer, key="k")["id"] == job["id"]
    assert (job["state"], job["seed"], job["deploy"]) == (QUEUED, 7, True)
    mine = peer.call("TRAINING_CLAIM", name="t1")
    assert (mine["id"], mine["state"], mine["attempts"]) == (job["id"], RUNNING, 1)
    refused("NOT_FOUND", peer.call, "TRAINING_CLAIM", name="t2")
    word = {"id": mine["id"], "lease": mine["lease"]}
    progress = {"state": RUNNING, "epoch": 3, "epochs": 9, "train_loss": 0.5, "history": "[{}]"}
    peer.call("TRAINING_UPDATE", **word, **progress)
    shown = peer.call("TRAINING_GET", name=job["id"])
    assert (shown["epoch"], shown["train_loss"], shown["history"]) == (3, 0.5, "[{}]")
    listed = peer.call("TRAINING_LIST")["trainings"]
    assert [t["id"] for t in listed] == [job["id"]] and listed[0]["history"] == ""
    done = {"training": mine["id"], "lease": mine["lease"], "metrics": '{"accuracy":1}'}
    refused("CONFLICT", commit, peer, **{**done, "lease": mine["lease"] + 1})
    version = commit(peer, **done, deploy=True, key="c")
    assert commit(peer, **done, deploy=True, key="c") == version  # the answer was lost
    ended = peer.call("TRAINING_GET", name=job["id"])
    assert (ended["state"], ended["version"], ended["progress"]) == (DONE, version["number"], 1.0)
    assert ended["metrics"] == '{"accuracy":1}'
    refused("CONFLICT", peer.call, "TRAINING_UPDATE", **word, state=RUNNING)
    refused("CONFLICT", peer.call, "TRAINING_CANCEL", name=job["id"])


def test_training_ends_as_the_trainer_says(store):
    peer = store.peer()
    add_dataset(peer)
    for state, error in ((BROKEN, "column 'x' is missing"), (CANCELLED, "")):
        job = submit(peer)
        mine = peer.call("TRAINING_CLAIM", name="t1")
        word = {"id": mine["id"], "lease": mine["lease"]}
        refused("INVALID", peer.call, "TRAINING_UPDATE", **word, state=DONE)
        refused("INVALID", peer.call, "TRAINING_UPDATE", **word, state=RUNNING, history="{}")
        peer.call("TRAINING_UPDATE", **word, state=state, error=error)
        shown = peer.call("TRAINING_GET", name=job["id"])
        assert (shown["state"], shown["error"]) == (state, error)


def test_training_is_given_back_and_cancelled(store):
    peer = store.peer()
    add_dataset(peer)
    job = submit(peer)
    mine = peer.call("TRAINING_CLAIM", name="t1")
    back = {"id": mine["id"], "lease": mine["lease"], "state": QUEUED}
    assert peer.call("TRAINING_UPDATE", **back)["state"] == QUEUED
    mine = peer.call("TRAINING_CLAIM", name="t2")
    assert (mine["attempts"], mine["trainer"]) == (1, "t2")
    assert peer.call("TRAINING_CANCEL", name=job["id"])["cancel"]
    back = {"id": mine["id"], "lease": mine["lease"], "state": QUEUED}
    assert peer.call("TRAINING_UPDATE", **back)["state"] == CANCELLED
    waiting = submit(peer)
    assert peer.call("TRAINING_CANCEL", name=waiting["id"])["state"] == CANCELLED
    refused("NOT_FOUND", peer.call, "TRAINING_CLAIM", name="t3")
    refused("NOT_FOUND", peer.call, "TRAINING_CANCEL", name="t999")
    refused("NOT_FOUND", peer.call, "TRAINING_GET", name="queue")


def test_job_of_a_dead_trainer_goes_to_the_next(store):
    """The lease of 15 s for real: the trainer is killed, so its updates end."""
    add_dataset(store.peer())
    job = submit(store.peer())
    trainer = store.peer()
    first = trainer.call("TRAINING_CLAIM", name="t1")
    trainer.close()

    def claimed():
        try:
            return store.peer().call("TRAINING_CLAIM", name="t2")
        except Failure:
            return None

    second = eventually(claimed, 25, "the lease does not end")
    assert (second["id"], second["attempts"], second["trainer"]) == (job["id"], 2, "t2")
    stale = {"id": job["id"], "lease": first["lease"], "state": RUNNING}
    refused("CONFLICT", store.peer().call, "TRAINING_UPDATE", **stale)
    refused("CONFLICT", commit, store.peer(), training=job["id"], lease=first["lease"])


def test_job_that_kills_three_trainers_fails(store):
    peer = store.peer()
    add_dataset(peer)
    job = submit(peer)
    for attempt in (1, 2, 3):
        assert peer.call("TRAINING_CLAIM", name=f"t{attempt}")["attempts"] == attempt
        store.cli("ZADD", "maas:trainings:running", "1", job["id"])  # as if the lease were over

    def failed():  # nobody has to claim: reports look at leases, too
        job_now = peer.call("TRAINING_GET", name=job["id"])
        return job_now if job_now["state"] == BROKEN else None

    ended = eventually(failed, 5, "the job does not fail")
    assert ended["error"] == "its trainer died 3 times"
    refused("NOT_FOUND", peer.call, "TRAINING_CLAIM", name="t4")


def test_training_queue_is_bounded_and_old_jobs_are_forgotten(store):
    peer = store.peer()
    add_dataset(peer)
    fill = """
        for i = 1, 1000 do
            redis.call('HSET', 'maas:training:t' .. i, 'submit', ARGV[1], 'state', '2')
            redis.call('ZADD', 'maas:trainings', i, 't' .. i)
        end
        redis.call('SET', 'maas:trainings:count', 1000)"""
    store.cli("EVAL", fill, "0", "\\x80")
    job = submit(peer)
    assert job["id"] == "t1001"
    refused("NOT_FOUND", peer.call, "TRAINING_GET", name="t1")
    assert int(store.cli("ZCARD", "maas:trainings")) == 1000
    wait = "for i = 1, 499 do redis.call('ZADD', 'maas:trainings:queue', i, 'x' .. i) end"
    store.cli("EVAL", wait, "0")
    assert "500" in refused("BUSY", submit, peer)


# ---- presence and health


def report(peer, role, name, want=0, leaving=False, host="h1"):
    me = {"role": ROLES[role], "id": name, "host": host, "pid": 7, "jobs": "tcp://gw:5570"}
    wanted = sum(1 << ROLES[r] for r in (want or ()))
    return peer.call("REPORT", processes=[me], want=wanted, leaving=leaving)["processes"]


def test_processes_find_each_other(store):
    peer = store.peer()
    assert report(peer, "gateway", "g1") == []
    found = report(peer, "worker", "w1", want=["gateway"])
    assert [(p["id"], p["jobs"]) for p in found] == [("g1", "tcp://gw:5570")]
    assert 0 <= found[0]["age_ms"] < 5000
    everybody = report(peer, "gateway", "g1", want=ROLES)
    assert {p["id"] for p in everybody if p["role"] != ROLES["registry"]} == {"g1", "w1"}
    report(peer, "worker", "w1", leaving=True)
    assert report(peer, "gateway", "g1", want=["worker"]) == []
    refused("INVALID", peer.call, "REPORT", processes=[], want=0)
    refused("INVALID", peer.call, "REPORT", processes=[{"role": 99, "id": "x"}])
    refused("INVALID", peer.call, "REPORT", processes=[{"role": 2, "id": "no spaces"}])


def test_silent_process_is_forgotten(store):
    peer = store.peer()
    report(peer, "worker", "w1")
    peer.call("HEALTH", role=ROLES["worker"], name="h1")

    def gone():
        return report(peer, "gateway", "g1", want=["worker"]) == []

    eventually(gone, 8, "w1 is not forgotten")
    text = refused("UNAVAILABLE", peer.call, "HEALTH", role=ROLES["worker"], name="h1")
    assert "worker" in text and "h1" in text


def test_presence_is_not_written_to_disk(store):
    peer = store.peer()
    folder = os.path.join(store.home, "appendonlydir")

    def size():
        return sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))

    report(peer, "worker", "w1")
    before = size()
    for _ in range(200):
        report(peer, "worker", "w1", want=ROLES)
    assert size() == before


def test_registry_reports_itself(store):
    peer = store.peer()
    peer.call("PING")
    label = 'request="PING",status="OK"'
    eventually(
        lambda: counters(peer).get(("maas_registry_requests_total", label), 0) > 0,
        5,
        "the registry's counters are not seen",
    )


def health(store, *options):
    argv = [os.path.join(BIN, "maas-health"), "--registry", store.rpc(), *options]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)


def test_health_command(store):
    assert health(store, "--role", "registry").returncode == 0
    sick = health(store, "--role", "worker", "--name", "h1")
    assert sick.returncode == 1 and "no worker on host 'h1'" in sick.stderr
    report(store.peer(), "worker", "w1")
    well = health(store, "--role", "worker", "--name", "h1")
    assert well.returncode == 0 and "healthy" in well.stdout
    assert health(store, "--role", "cook").returncode == 2
    store.redis.kill()
    sick = health(store, "--role", "registry")
    assert sick.returncode == 1 and "Redis" in sick.stderr
    store.registry.kill()
    gone = health(store, "--role", "registry", "--timeout-ms", "300")
    assert gone.returncode == 1 and gone.stderr


# ---- hostile peers


def raw(store):
    s = zmq.Context.instance().socket(zmq.DEALER)
    s.linger = 1000
    s.connect(store.rpc())
    store.open.append(s)
    return s


def garbage():
    """Frames that are no request, each for another reason."""
    rng = random.Random(5)
    yield [b""]
    for size in (1, 2, 3, 10, 100, 1000, 100_000):
        yield [rng.randbytes(size)]
    for head in (b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"):
        yield [b"\x93\x14\x01" + head + b"\xff\xff\xff\xff"]  # 4 Gi elements or bytes declared
    yield [b"\x93\x16\x01\x81\x01\xc6\xff\xff\xff\xff" + bytes(64)]
    yield [b"\x91" * 100_000]  # nested 100,000 deep
    yield [b"\x93\x14\x01" + b"\x81\x01" * 5000 + b"\xc0"]
    yield [msgpack.packb([20])]
    yield [msgpack.packb({"kind": 20})]
    yield [msgpack.packb([20, -1, {}])]
    yield [msgpack.packb(["PING", 1, {}])]
    yield [msgpack.packb([20, 1, []])]
    yield [msgpack.packb([20, 1, {}]) + b"more"]
    for kind in (0, 1, 2, 12, 19, 60, 62, 68, 80, 127, 128, 1 << 20, 1 << 60):
        yield [msgpack.packb([kind, 1, {}])]
    yield [encode("PING", 1, {})] + [b"x"] * 2
    yield [encode("PING", 1, {})] + [b"x"] * 64
    yield [encode("PING", 1, {})] + [b"x"] * 500
    yield [msgpack.packb([28, 1, {1: "m" * 129, 2: 1}])]  # a name that is too long
    yield [msgpack.packb([28, 1, {1: "m" * 900_000, 2: 1}])]
    yield [msgpack.packb([28, 1, {1: "a\0b", 2: 1}])]
    yield [msgpack.packb([28, 1, {1: 7, 2: 1}])]
    yield [msgpack.packb([28, 1, {1: "m", 2: -1}])]
    yield [msgpack.packb([28, 1, {1: "m", 2: 1 << 40}])]
    yield [msgpack.packb([28, 1, {1: "m", 2: 1.5}])]
    yield [msgpack.packb([28, 1, {1: b"m", 2: 1}])]
    yield [b"\x93\x1c\x01\x82\x01\xa1m\x01\xa1n"]  # a tag twice
    yield [msgpack.packb([28, 1, {"model": "m"}])]
    yield [msgpack.packb([38, 1, {1: [{1: 2, 2: "a"}] * 2}])]
    yield [msgpack.packb([38, 1, {1: [{1: 2, 2: "a", 6: [{}] * 1025}]}])]
    yield [msgpack.packb([38, 1, {1: [{1: 2, 2: "a", 6: "no list"}]}])]
    yield [msgpack.packb([22, 1, {1: bytes(33)}]), b"data"]
    yield [msgpack.packb([25, 1, {6: bytes(16384 * 32 + 1)}])]


def test_garbage_is_refused_and_counted(store):
    peer, bad = store.peer(), raw(store)
    before = total(peer, "maas_rpc_bad_requests_total") + total(peer, "maas_net_bad_messages_total")
    sent = 0
    for frames in garbage():
        bad.send_multipart(frames)
        sent += 1
        peer.call("PING")
        assert store.registry.alive()

    def counted():
        now = total(peer, "maas_rpc_bad_requests_total")
        return now + total(peer, "maas_net_bad_messages_total") - before >= sent

    eventually(counted, 5, f"{sent} bad messages are not all counted")
    if not SANITIZED:
        eventually(lambda: store.registry.rss_kib() < 24 * 1024, 5, "garbage has cost memory")


def test_every_request_with_every_field_of_the_wrong_kind(store):
    """Each field of each request gets values of other types, zero, and the largest ones."""
    peer, bad = store.peer(), raw(store)
    values = [None, True, -1, 0, 1 << 63, 1.5, "", "x" * 200, b"", bytes(40), [], {}, [[]], [{}]]
    for name, message in schema()["messages"].items():
        if not 20 <= message["kind"] < 60:
            continue
        for field in schema()["structs"][message["body"]]:
            for value in values:
                bad.send(msgpack.packb([message["kind"], 1, {field["tag"]: value}]))
        bad.send(msgpack.packb([message["kind"], 1, {}]))
        peer.call("PING")
    assert store.registry.alive()
    assert peer.call("SNAPSHOT")["versions"] == []


def test_truncated_and_mangled_requests(store):
    peer, bad = store.peer(), raw(store)
    rng = random.Random(6)
    fields = {"model": "m", "format": "fake", "metrics": '{"a":1}', **artifact(b"abc")}
    whole = encode("VERSION_COMMIT", 1, fields)
    for i in range(len(whole)):
        bad.send(whole[:i])
    for _ in range(2000):
        mangled = bytearray(whole)
        mangled[rng.randrange(len(whole))] = rng.randrange(256)
        bad.send(bytes(mangled))
    peer.call("PING")
    assert store.registry.alive()
    assert peer.call("SNAPSHOT")["versions"] == []


def test_frame_beyond_the_limit_costs_the_connection(store):
    peer, bad = store.peer(), raw(store)
    bad.send_multipart([encode("CHUNK_PUT", 1, {"digest": bytes(32)}), bytes(8 * CHUNK_BYTES)])
    peer.call("PING")
    assert not bad.poll(200)
    assert store.registry.alive()


def test_bytes_that_are_no_zeromq(store):
    peer = store.peer()
    rng = random.Random(7)
    for size in (0, 1, 10, 64, 1000, 100_000):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(os.path.join(store.home, "rpc0.sock"))
            try:
                s.sendall(rng.randbytes(size))
            except OSError:
                pass  # it has hung up, as it should
        peer.call("PING")
    assert store.registry.alive()


def test_flood_is_answered_or_refused(store):
    """More requests than may be open: each gets an answer, at worst BUSY."""
    peer = store.peer()
    peer.socket.sndhwm = 0
    numbers = {peer.send("DATASET_LIST") for _ in range(200)}
    while numbers:
        _, number, _, _ = peer.receive()
        numbers.discard(number)


# ---- the process itself


def test_idle_registry_is_small_and_quiet(store):
    said = store.registry.log()
    events = store.subscriber()
    for _ in range(3):  # seconds, by its own ticks
        events.next()
    assert store.registry.log() == said
    if not SANITIZED:
        assert store.registry.rss_kib() <= 12 * 1024


def test_sigterm_finishes_and_exits_0(store):
    peer = store.peer()
    put(peer, b"weights")
    fields = {"model": "m", "format": "fake", **artifact(b"weights")}
    numbers = {peer.send("VERSION_COMMIT", **fields) for _ in range(50)}
    answered = peer.receive()  # the first answer: the others are on their way
    assert store.registry.stop() == 0
    acknowledged = int(answered[0] == "VERSION")
    while peer.socket.poll(200):
        kind, number, _, _ = peer.receive()
        numbers.discard(number)
        acknowledged += kind == "VERSION"
    store.registry.start()
    store.ready()
    assert len(store.peer().call("SNAPSHOT")["versions"]) >= acknowledged


def test_bad_options_are_refused():
    for options, word in (
        (["--redis", "http://x"], "unix:PATH"),
        (["--redis", "tcp:host"], "tcp:HOST:PORT"),
        (["--rpc", "nonsense"], "nonsense"),
    ):
        argv = [os.path.join(BIN, "maas-registry"), *options]
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
        assert ended.returncode == 2 and word in ended.stderr
