"""Large artifacts: upload, and distribution to three workers, beside Redis with values of a chunk."""

import hashlib
import http.client
import os
import random
import subprocess
import time

from cases import record
from tools import Bench, median

MIB = 1 << 20
SIZE_MIB = 4096 if os.environ.get("MAAS_FULL") else 1024
WORKERS = 3
READY_SECONDS = 600


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


def redis_rate(bench, command):
    """MiB/s of redis-benchmark with values of 1 MiB."""
    out = subprocess.run(
        ["redis-benchmark", "-s", os.path.join(bench.directory, "run/redis.sock"), "-t", command, "-d",
         str(MIB), "-n", str(SIZE_MIB // 2), "-c", "8", "--csv"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return float(out.splitlines()[-1].split(",")[1].strip('"'))


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


def chunk_keys(bench):
    out = subprocess.run(
        ["redis-cli", "-s", os.path.join(bench.directory, "run/redis.sock"), "--scan", "--pattern", "maas:chunk:*"],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    return out.count(b"maas:chunk:")


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


def distribute(bench, digest, workers):
    """Seconds until all have the file, and until all have loaded it."""
    paths = [os.path.join(bench.directory, "cache", w.name, digest) for w in workers]
    begin = time.monotonic()
    for w in workers:
        w.start()
    bench.suite.eventually(lambda: all(map(os.path.exists, paths)), READY_SECONDS, "not distributed")
    there = time.monotonic() - begin

    def ready():
        shown = bench.api.get("/api/workers")["workers"]
        return sum(e["state"] == "ready" for w in shown for e in w["engines"]) == len(workers)

    bench.suite.eventually(ready, READY_SECONDS, "not loaded")
    return there, time.monotonic() - begin


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
        sets = [redis_rate(b, "set")]
        up = SIZE_MIB / upload(b, artifact)
        sets.append(redis_rate(b, "set"))
        yield record(11, f"{SIZE_MIB} MiB uploaded, share of redis-benchmark's SET", round(up / median(sets), 3), "", 0.5,
                     note=f"{up:.0f} MiB/s, Redis {median(sets):.0f} MiB/s")  # fmt: skip
        before = chunk_keys(b)
        artifact.changed.add(SIZE_MIB // 2)
        upload(b, artifact)
        yield record(11, "one that differs in 1 MiB stores", chunk_keys(b) - before, "MiB", 2, "<=")
        b.api.call("PUT", "/api/models/large/deployment", {"version": "1"})
        gets = [redis_rate(b, "get")]
        there, ready = distribute(b, digest, workers)
        gets.append(redis_rate(b, "get"))
        down = WORKERS * SIZE_MIB / there
        yield record(11, f"distributed to {WORKERS} workers, share of redis-benchmark's GET",
                     round(down / median(gets), 3), "", 0.5,
                     note=f"{down:.0f} MiB/s, Redis {median(gets):.0f} MiB/s; all loaded after {ready:.1f} s")  # fmt: skip
        for name, g in growth.items():
            yield record(11, f"memory of the {name} meanwhile, growth", g.mib(), "MiB", 32, "<=")


CASES = {"artifacts": artifacts}
