"""Large artifacts: upload, and distribution to three workers, beside Redis with values of a chunk.

redis-benchmark runs against the same Redis, so with the same append-only file and its syncs, with as
many requests at once as an upload and a distribution have.  Its SETs write keys that are new, as an
upload does, and its GETs read many keys, none of which stays in a processor's cache.  What a
distribution delivers is counted for all workers together; it and the GETs alternate.
"""

import hashlib
import http.client
import os
import random
import shutil
import subprocess
import time

from cases import record
from tools import Bench, median

MIB = 1 << 20
SIZE_MIB = int(os.environ.get("ARTIFACT_MIB", 4096 if os.environ.get("MAAS_FULL") else 1024))
WORKERS = 3
WINDOW = 8  # chunks under way of an upload, and of one worker: ARTIFACT_WINDOW
KEYS = 512  # of redis-benchmark, to be read
FILLED = 32  # of them at once
READY_SECONDS = 600
DOWN_ROUNDS = 3
FILL = """
local value = string.rep('x', ARGV[1])
for i = ARGV[2], ARGV[2] + ARGV[3] - 1 do redis.call('SET', string.format('key:%012d', i), value) end"""
FORGET = """
local cursor = '0'
repeat
    local found = redis.call('SCAN', cursor, 'MATCH', 'key:*', 'COUNT', 1000)
    for _, key in ipairs(found[2]) do redis.call('DEL', key) end
    cursor = found[1]
until cursor == '0'"""


class Artifact:
    """So many MiB that are all different; `changed` MiB of them can be replaced."""

    def __init__(self, mib):
        self.block = random.Random(1).randbytes(MIB)
        self.mib = mib
        self.changed = set()

    def chunk(self, i):
        mark = b"fake\n%10d %d" % (i, i in self.changed)
        return mark + self.block[len(mark) :]

    def __iter__(self):
        return (self.chunk(i) for i in range(self.mib))

    def digest(self):
        whole = hashlib.sha256()
        for chunk in self:
            whole.update(chunk)
        return whole.hexdigest()


class Redis:
    """redis-benchmark on the suite's Redis."""

    def __init__(self, bench):
        self.socket = os.path.join(bench.directory, "run/redis.sock")

    def cli(self, *args):
        return subprocess.run(["redis-cli", "-s", self.socket, *args], check=True, capture_output=True).stdout

    def rate(self, keys, clients, *command):
        """MiB/s with values of 1 MiB."""
        out = subprocess.run(
            ["redis-benchmark", "-s", self.socket, "-d", str(MIB), "-n", str(SIZE_MIB // 2), "-r", str(keys),
             "-c", str(clients), "--csv", *command],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        return float(out.splitlines()[-1].split(",")[1].strip('"'))

    def sets(self):
        rate = self.rate(10**11, WINDOW, "-t", "set")
        self.cli("EVAL", FORGET, "0")
        return rate

    def gets(self):
        for first in range(0, KEYS, FILLED):
            self.cli("EVAL", FILL, "0", str(MIB), str(first), str(FILLED))
        rate = self.rate(KEYS, WORKERS * WINDOW, "-t", "get")
        self.cli("EVAL", FORGET, "0")
        return rate

    def chunks(self):
        return self.cli("--scan", "--pattern", "maas:chunk:*").count(b"maas:chunk:")


def upload(bench, artifact):
    """Seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", bench.port, timeout=READY_SECONDS)
    begin = time.monotonic()
    connection.request("POST", "/api/models/large/versions?format=fake", body=iter(artifact),
                       headers={"Content-Length": str(artifact.mib * MIB)})  # fmt: skip
    answer = connection.getresponse()
    assert answer.status == 201, answer.read()
    answer.read()
    took = time.monotonic() - begin
    connection.close()
    return took


class Growth:
    """The most that a process has had in memory since the beginning, over what it had then."""

    def __init__(self, bench, name):
        self.pid = bench.suite.processes[name].pid
        with open(f"/proc/{self.pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
        self.before = self.peak()

    def peak(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

    def mib(self):
        return round(self.peak() - self.before, 1)


class PlainFiles:
    """As many plain files, written at once: what the disk and the machine's memory allow.

    They also have the memory that a virtual machine's host has taken back while it was free, and
    fetching it would else be most of what is measured next.  As the host takes it again within
    seconds, they give it back as it is needed."""

    AHEAD_MIB = 64

    def __init__(self, bench):
        self.paths = [os.path.join(bench.directory, f"plain-{i}") for i in range(WORKERS)]
        begin = time.monotonic()
        writers = [
            subprocess.Popen(["dd", "if=/dev/zero", "of=" + path, "bs=1M", f"count={SIZE_MIB}", "status=none"])
            for path in self.paths
        ]
        assert not any(w.wait() for w in writers)
        self.rate = WORKERS * SIZE_MIB / (time.monotonic() - begin)  # MiB/s

    def shrink(self, taken):
        """taken: what others have written since, in bytes, of each file."""
        for path in self.paths:
            left = max(0, (SIZE_MIB - self.AHEAD_MIB) * MIB - taken)
            if os.path.getsize(path) > left:
                os.truncate(path, left)

    def remove(self):
        for path in self.paths:
            os.unlink(path)


def distribute(bench, digest, workers, plain):
    """Seconds until all have the file, and until all have loaded it."""
    paths = [os.path.join(bench.directory, "cache", w.name, digest) for w in workers]

    def written(path):
        for name in (path + ".part", path):
            if os.path.exists(name):
                return os.stat(name).st_blocks * 512
        return 0

    def distributed():
        plain.shrink(max(map(written, paths)))
        return all(map(os.path.exists, paths))

    begin = time.monotonic()
    for w in workers:
        w.start()
    bench.suite.eventually(distributed, READY_SECONDS, "not distributed")
    there = time.monotonic() - begin
    plain.remove()

    def ready():
        shown = bench.api.get("/api/workers")["workers"]
        return sum(e["state"] == "ready" for w in shown for e in w["engines"]) == len(workers)

    bench.suite.eventually(ready, READY_SECONDS, "not loaded")
    return there, time.monotonic() - begin


def clear(bench, workers):
    """They have never fetched anything."""
    for w in workers:
        w.stop()
        shutil.rmtree(os.path.join(bench.directory, "cache", w.name))


def distributions(bench, digest, workers, redis):
    """11: beside GETs, in rounds."""
    gets, shares, rates, loaded, plains = [redis.gets()], [], [], [], []
    for done in range(DOWN_ROUNDS):
        if done:
            clear(bench, workers)
        plain = PlainFiles(bench)
        there, ready = distribute(bench, digest, workers, plain)
        gets.append(redis.gets())
        rates.append(WORKERS * SIZE_MIB / there)
        shares.append(rates[-1] / median(gets[-2:]))
        loaded.append(ready)
        plains.append(plain.rate)
    return record(11, f"distributed to {WORKERS} workers, share of redis-benchmark's GET", round(median(shares), 3), "",
                  0.5, note=f"{median(rates):.0f} MiB/s, Redis {median(gets):.0f} MiB/s, plain files "
                  f"{median(plains):.0f} MiB/s; all loaded after {median(loaded):.1f} s; "
                  f"rounds {' '.join(f'{s:.2f}' for s in shares)}")  # fmt: skip


def artifacts(bin_dir):
    """11: an artifact that is large."""
    options = {"worker": ["--allow-fake", "--load-timeout-ms", "300000"]}
    with Bench(bin_dir, workers=WORKERS, options=options) as b:
        workers = [p for n, p in b.suite.processes.items() if n.startswith("worker")]
        for w in workers:
            w.stop()
        artifact = Artifact(SIZE_MIB)
        digest = artifact.digest()
        growth = {name: Growth(b, name) for name in ("gateway", "registry")}
        redis = Redis(b)
        sets = [redis.sets()]
        up = SIZE_MIB / upload(b, artifact)
        sets.append(redis.sets())
        yield record(11, f"{SIZE_MIB} MiB uploaded, share of redis-benchmark's SET", round(up / median(sets), 3), "", 0.5,
                     note=f"{up:.0f} MiB/s, Redis {median(sets):.0f} MiB/s")  # fmt: skip
        b.api.call("PUT", "/api/models/large/deployment", {"version": "1"})
        yield distributions(b, digest, workers, redis)
        before = redis.chunks()
        artifact.changed.add(SIZE_MIB // 2)
        upload(b, artifact)  # not before: a worker would fetch it to check it, beside the others
        yield record(11, "one that differs in 1 MiB stores", redis.chunks() - before, "MiB", 2, "<=")
        for name, g in growth.items():
            yield record(11, f"memory of the {name} meanwhile, growth", g.mib(), "MiB", 32, "<=")


CASES = {"artifacts": artifacts}
