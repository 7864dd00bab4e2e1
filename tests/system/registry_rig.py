"""A registry with a real Redis in a directory of its own, and what peers do with it."""

import ctypes
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile

import pytest

from peer import BIN, CHUNK_BYTES, ROLES, Failure, NoAnswer, Peer, Subscriber, eventually

PASSED, FAILED = 1, 2
QUEUED, RUNNING, DONE, BROKEN, CANCELLED = range(5)
SANITIZED = any(word in BIN for word in ("address", "thread"))
TSAN_SUPPRESSIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tsan.supp")
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


class Process:
    def __init__(self, home, name, argv):
        self.home = home
        self.argv = argv
        self.log_path = os.path.join(home, name + ".log")
        self.popen = None

    def start(self):
        options = os.environ.get("TSAN_OPTIONS", "")
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                self.argv,
                cwd=self.home,
                env={**os.environ, "TSAN_OPTIONS": f"{options} suppressions={TSAN_SUPPRESSIONS}"},
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

    def __init__(self, server="redis-server", options=(), address="unix:redis.sock"):
        self.home = tempfile.mkdtemp(prefix="maas-")  # short: socket paths have 107 bytes
        self.address = address
        self.redis = Process(
            self.home,
            "redis",
            [server, "--port", "0", "--unixsocket", "redis.sock", "--dir", self.home]
            + ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
            + ["--maxmemory-policy", "noeviction", *options],
        )
        self.registries = []
        self.open = []

    def add_registry(self, *options):
        n = len(self.registries)
        argv = [os.path.join(BIN, "maas-registry"), "--redis", self.address]
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
            try:
                return peer.call("PING", seconds=1) is not None
            except (Failure, NoAnswer):
                return False

        with Peer(self.rpc(n)) as peer:
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
    try:
        s.redis.start()
        s.add_registry()
        s.ready()
        yield s
        s.check_sanitizers()
    finally:
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
