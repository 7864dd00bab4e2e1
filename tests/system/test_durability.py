"""The registry and Redis are killed at random points: what was acknowledged is there, whole; of what
was not, there is either all or nothing."""

import hashlib
import os
import random
import threading

import pytest

from peer import CHUNK_BYTES, Peer, eventually
from redis_rig import cli
from registry_rig import Failure, NoAnswer

FULL = bool(os.environ.get("MAAS_FULL"))
ROUNDS = 200 if FULL else 6
SEED = int(os.environ.get("SEED") or random.randrange(1 << 32))
WRITERS = 3
# Chunks of manifests that would expire.
EXPIRING = """
local n = 0
for _, key in ipairs(redis.call('KEYS', 'maas:manifest:*')) do
    local chunks = redis.call('HGET', key, 'chunks')
    for i = 1, #chunks, 32 do
        if redis.call('PTTL', 'maas:chunk:' .. chunks:sub(i, i + 31)) ~= -1 then n = n + 1 end
    end
end
return n"""
VICTIMS = (("registry",), ("redis",), ("registry", "redis"))
pytestmark = pytest.mark.timeout(1800 if FULL else 300)


def whole_catalog(peer):
    """A snapshot's versions and deployments, all pages of it; nobody writes meanwhile."""
    versions, deployments = [], {}
    page = {"after": "", "after_version": 0, "more": True}
    while page["more"]:
        page = peer.call("SNAPSHOT", seconds=30, after=page["after"], after_version=page["after_version"])
        versions += page["versions"]
        deployments.update((d["model"], d) for d in page["deployments"])
    return versions, list(deployments.values())


class Acknowledged:
    """What clients were told is kept."""

    def __init__(self):
        self.versions = {}  # (model, number) -> digest
        self.files = {}  # (dataset, file) -> digests of the attempts since the last that succeeded
        self.revisions = {}  # model -> the highest revision that was told


class Writer:
    """One client: uploads versions and files, deploys.  Its models and files are its own."""

    def __init__(self, suite, known, me, stop):
        self.suite, self.known, self.me, self.stop = suite, known, me, stop
        self.rng = random.Random(f"{SEED}-{me}")
        self.model, self.dataset = f"m{me}", f"d{me}"
        self.count = self.attempts = self.done = 0
        self.numbers = []
        self.failed = None
        self.thread = None

    def start(self):
        self.thread = threading.Thread(target=self._write)
        self.thread.start()

    def _data(self):
        self.count += 1
        size = self.rng.choice((30, 300, 3000, 3000, 3000, 30000, CHUNK_BYTES - 40, CHUNK_BYTES + 77))
        data = f"fake {self.me} {self.count}\n".encode() + self.rng.randbytes(size)
        return data, hashlib.sha256(data).digest()

    def _write(self):
        client = self.suite.client()
        client.connection.timeout = 60
        while not self.stop.is_set():
            step = self.rng.choice((self._version, self._version, self._file, self._deploy))
            self.attempts += 1
            try:
                if step(client):
                    self.done += 1
            except Exception as error:  # a test of its own, whatever it is
                self.failed = error
                return

    def _ask(self, client, method, path, body):
        """The answer to a 2xx; None for what may happen while nobody is there."""
        headers = {"X-Request-Timeout-Ms": self.rng.choice(("200", "2000", "30000"))}
        status, _, answer = client.request(method, path, body, headers)
        assert status // 100 == 2 or status in (503, 504, 429), (status, answer)
        return answer if status // 100 == 2 else None

    def _version(self, client):
        data, digest = self._data()
        path = f"/api/models/{self.model}/versions?format=fake"
        answer = self._ask(client, "POST", path, data)
        if answer:
            assert (self.model, int(answer["version"])) not in self.known.versions, answer
            self.numbers.append(int(answer["version"]))
            self.known.versions[self.model, int(answer["version"])] = digest
        return answer

    def _file(self, client):
        (data, digest), name = self._data(), f"f{self.rng.randrange(5)}.csv"
        attempts = self.known.files.setdefault((self.dataset, name), [None])
        attempts.append(digest)
        answer = self._ask(client, "PUT", f"/api/datasets/{self.dataset}/files/{name}", data)
        if answer:
            self.known.files[self.dataset, name] = [digest]
        return answer

    def _deploy(self, client):
        if not self.numbers:
            return None
        body = {"version": self.rng.choice(self.numbers), "max_batch": self.rng.randrange(1, 60)}
        answer = self._ask(client, "PUT", f"/api/models/{self.model}/deployment", body)
        if answer:
            self.known.revisions[self.model] = max(
                answer["deployment"]["revision"], self.known.revisions.get(self.model, 0)
            )
        return answer


class Judge:
    """Reads everything back through the registry, which verifies each chunk's digest."""

    def __init__(self, suite):
        self.suite = suite
        self.whole = set()  # digests of artifacts that were read already

    def artifact(self, peer, digest, size):
        """Its data are all there."""
        manifest = peer.call("MANIFEST_GET", digest=digest)
        assert manifest["size_bytes"] == size
        chunks = [manifest["chunks"][i : i + 32] for i in range(0, len(manifest["chunks"]), 32)]
        sha = hashlib.sha256()
        for chunk in chunks:
            sha.update(peer.call("CHUNK_GET", digest=chunk))
        assert sha.digest() == digest
        self.whole.add(digest)

    def look(self, peer, known, everything):
        if everything:
            self.whole.clear()
        versions, deployments = whole_catalog(peer)
        versions = {(v["model"], v["number"]): v for v in versions}
        for key, digest in known.versions.items():
            assert key in versions, f"{key} was acknowledged"
            assert versions[key]["digest"] == digest, key
        for v in versions.values():
            if v["digest"] not in self.whole:
                self.artifact(peer, v["digest"], v["size_bytes"])
        for model in {m for m, _ in versions}:
            numbers = sorted(n for m, n in versions if m == model)
            assert numbers == list(range(1, len(numbers) + 1)), f"{model} has gaps: {numbers}"
        for d in deployments:
            assert d["version"] == 0 or (d["model"], d["version"]) in versions, d
            assert d["revision"] >= known.revisions.get(d["model"], 0), d
        self._files(peer, known)
        socket = os.path.join(self.suite.data, "run/redis.sock")
        assert cli("-s", socket, "EVAL", EXPIRING, "0") == "0"
        return len(versions)

    def _files(self, peer, known):
        listed = peer.call("DATASET_LIST")["datasets"]
        there = {(d["name"], f["name"]): f for d in listed for f in d["files"]}
        for key, attempts in known.files.items():
            if key not in there:
                assert attempts[0] is None, f"{key} was acknowledged"
                continue
            file = there[key]
            assert file["digest"] in attempts, f"{key} is none of what was sent"
            if file["digest"] not in self.whole:
                self.artifact(peer, file["digest"], file["size_bytes"])


def ready(suite):
    """A peer of the registry, which answers."""

    def answers():
        peer = Peer(f"ipc://{suite.data}/run/rpc.sock")
        try:
            peer.call("PING", seconds=1)
            return peer
        except (Failure, NoAnswer):
            peer.close()
            return None

    return eventually(answers, 60, "the registry does not come back")


def test_kills_at_random_points_lose_nothing(make_suite):
    print(f"SEED={SEED}")
    rng = random.Random(SEED)
    suite = make_suite(workers=0)
    known, judge, pause = Acknowledged(), Judge(suite), threading.Event()
    writers = [Writer(suite, known, n, None) for n in range(WRITERS)]
    for round_ in range(ROUNDS):
        stop = threading.Event()
        for w in writers:
            w.stop = stop
            w.start()
        pause.wait(rng.uniform(0.05, 0.6))  # the random point
        victims = [suite.processes[name] for name in rng.choice(VICTIMS)]
        for process in victims:
            process.kill()
        pause.wait(rng.uniform(0, 0.3))
        for process in victims:
            process.start()
        ready(suite).close()
        stop.set()
        for w in writers:
            w.thread.join()
            if w.failed:
                raise AssertionError(f"SEED={SEED}, round {round_}") from w.failed
        with ready(suite) as peer:
            count = judge.look(peer, known, everything=round_ % 50 == 49 or round_ == ROUNDS - 1)
    print(
        f"{ROUNDS} rounds: {sum(w.done for w in writers)} of {sum(w.attempts for w in writers)} "
        f"writes acknowledged, {count} versions, {len(known.versions)} of them"
    )
    assert known.versions and known.files and known.revisions


def test_history_has_every_change_once(make_suite):
    """Every version and every deployment has its history entry and its event, whatever was killed."""
    suite = make_suite(workers=0)
    rng = random.Random(SEED)
    known, stop = Acknowledged(), threading.Event()
    writer = Writer(suite, known, 0, stop)
    writer.start()
    for name in ("redis", "registry", "redis"):
        stop.wait(rng.uniform(0.1, 0.4))
        suite.processes[name].kill()
        suite.processes[name].start()
        ready(suite).close()
    stop.set()
    writer.thread.join()
    assert not writer.failed
    with ready(suite) as peer:
        snapshot = peer.call("SNAPSHOT")
    versions = len(snapshot["versions"])
    revisions = sum(d["revision"] for d in snapshot["deployments"])
    assert snapshot["seq"] == versions + revisions
