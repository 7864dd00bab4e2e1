"""The worker alone: a real maas-worker between a registry and gateways that a test plays."""

import glob
import hashlib
import os
import queue
import re
import shutil
import signal
import tempfile
import threading
import time

import numpy as np
import onnxruntime
import pytest
import zmq
from onnx import TensorProto, helper

import networks
from peer import BIN, CHUNK_BYTES, ROLES, decode, encode, eventually, statuses
from registry_rig import SANITIZED, Process

PENDING, PASSED, FAILED = 0, 1, 2
FETCHING, LOADING, READY, ENGINE_FAILED, LEAVING = range(5)
DATATYPES = {1: "?", 2: "u1", 6: "i1", 8: "i4", 9: "i8", 11: "f4", 12: "f8"}
FP32, INT64 = 11, 9
PATIENCE = 60
SLEEP, ABORT, EXIT, FAIL = 1, 2, 3, 4  # what the fake model does for a row (command, value)


class Registry(threading.Thread):
    """Versions, deployments and artifacts; it keeps what the worker says."""

    def __init__(self, home):
        super().__init__(daemon=True)
        self.rpc, self.events = f"ipc://{home}/rpc.sock", f"ipc://{home}/events.sock"
        self.lock = threading.RLock()
        self.versions, self.deployments, self.artifacts = {}, {}, {}
        self.gateways, self.reports, self.checked, self.seq = [], [], [], 0
        self.asked = []  # the kind of every request
        self.claimed = set()
        self.claims = []  # their numbers
        self.outbox = queue.Queue()
        self.away = threading.Event()
        self.over = threading.Event()
        self.start()

    # ---- what a test does

    def version(self, model, number, data, fmt="fake", check=PASSED, stored=True):
        digest = hashlib.sha256(data).digest()
        with self.lock:
            if stored:
                self.artifacts[digest] = data
            self.put({"model": model, "number": number, "format": fmt, "digest": digest,
                      "size_bytes": len(data), "check": check})  # fmt: skip
        return digest

    def deploy(self, model, version, previous=0, **settings):
        self.put(deployment={"model": model, "version": version, "previous": previous, **settings})

    def put(self, version=None, deployment=None):
        with self.lock:
            self.seq += 1
            if version:
                self.versions[version["model"], version["number"]] = version
            if deployment:
                self.deployments[deployment["model"]] = deployment
            self.outbox.put({"seq": self.seq, "history": 1, "versions": [version] if version else [],
                             "deployments": [deployment] if deployment else []})  # fmt: skip

    def result_of(self, model, number, seconds=PATIENCE):
        """Waits for VERSION_CHECKED."""
        return eventually(
            lambda: next((c for c in self.checked if (c["model"], c["version"]) == (model, number)), None),
            seconds,
            "nobody said how the check went",
        )

    def engines(self):
        return self.reports[-1]["processes"][0]["engines"] if self.reports else []

    def engine(self, model, version, state=None):
        """Waits until the worker reports this engine (in this state)."""

        def find():
            for e in self.engines():
                if (e["model"], e["version"]) == (model, version) and state in (None, e["state"]):
                    return e
            return None

        return eventually(find, PATIENCE, f"no engine of {model} {version} in state {state}")

    def counter(self, name):
        if not self.reports:
            return 0
        counters = self.reports[-1]["processes"][0]["counters"]
        return sum(c["value"] for c in counters if c["name"] == name)

    # ---- the thread

    def run(self):
        context = zmq.Context.instance()
        router, pub = context.socket(zmq.ROUTER), context.socket(zmq.PUB)
        router.linger = pub.linger = 0
        router.bind(self.rpc)
        pub.bind(self.events)
        tick = 0
        while not self.over.is_set():
            if not self.away.is_set() and router.poll(10):
                route, envelope, *_ = router.recv_multipart()
                kind, number, body = decode(envelope)
                with self.lock:
                    self.asked.append(kind)
                    kind, body, *more = self.answer(kind, body)
                router.send_multipart([route, encode(kind, number, body), *more])
            elif self.away.wait(0.01):
                continue
            while not self.outbox.empty():
                pub.send(encode("CATALOG", 0, self.outbox.get()))
            if time.monotonic() > tick + 0.5:
                tick = time.monotonic()
                with self.lock:
                    if self.outbox.empty():
                        pub.send(encode("CATALOG", 0, {"seq": self.seq, "history": 1}))
        router.close()
        pub.close()

    def answer(self, kind, body):
        if kind == "SNAPSHOT":
            return "CATALOG", {"seq": self.seq, "history": 1, "versions": list(self.versions.values()),
                               "deployments": list(self.deployments.values())}  # fmt: skip
        if kind == "REPORT":
            self.reports.append(body)
            return "SUITE", {"processes": [
                {"role": ROLES["gateway"], "id": g.id, "jobs": g.endpoint} for g in self.gateways
            ]}  # fmt: skip
        if kind == "CHECK_CLAIM":
            self.claims.append(body["number"])
            for key, v in self.versions.items():
                if v["check"] == PENDING and key not in self.claimed:
                    self.claimed.add(key)
                    return "VERSION", v
        if kind == "VERSION_CHECKED":
            self.checked.append(body)
            self.put({**self.versions[body["model"], body["version"]], "check": body["check"],
                      "reason": body["reason"]})  # fmt: skip
            return "DONE", {}
        if kind == "MANIFEST_GET" and body["digest"] in self.artifacts:
            data = self.artifacts[body["digest"]]
            chunks = [data[i : i + CHUNK_BYTES] for i in range(0, len(data), CHUNK_BYTES)]
            return "MANIFEST", {"digest": body["digest"], "size_bytes": len(data),
                                "chunks": b"".join(hashlib.sha256(c).digest() for c in chunks)}  # fmt: skip
        if kind == "CHUNK_GET":
            for data in self.artifacts.values():
                for i in range(0, len(data), CHUNK_BYTES):
                    if hashlib.sha256(data[i : i + CHUNK_BYTES]).digest() == body["digest"]:
                        return "CHUNK", {"digest": body["digest"]}, data[i : i + CHUNK_BYTES]
        return "FAILURE", {"status": 2, "text": "there is no such thing"}

    def finish(self):
        self.over.set()
        self.join()


class Gateway:
    """The jobs socket of a gateway; used by the test's thread alone."""

    def __init__(self, name="gw-1"):
        # Over ipc an engine would take the short way, which a test cannot play with ZeroMQ.
        self.id, self.endpoint = name, "tcp://127.0.0.1:*"
        self.socket = None
        self.jobs = 0
        self.open()

    def open(self):
        self.socket = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.router_mandatory = 1
        eventually(self.bind, 20, "the port is not free again")
        self.endpoint = self.socket.last_endpoint.decode()
        self.known = {}  # engine id -> (route, hello)
        self.seen = []

    def bind(self):
        """ZeroMQ closes on a thread of its own: the port of a gateway before may be taken still."""
        try:
            self.socket.bind(self.endpoint)
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE:
                raise
            return False
        return True

    def close(self):
        self.socket.close()

    def send(self, route, kind, *frames, **values):
        self.socket.send_multipart([route, encode(kind, 0, values), *frames])

    def take(self, seconds):
        """Handles one message as a gateway does; (route, kind, body, frames) or None."""
        if not self.socket.poll(max(0, seconds) * 1000):
            return None
        route, envelope, *frames = self.socket.recv_multipart()
        kind, _, body = decode(envelope)
        if kind == "HELLO":
            self.known[body["engine"]] = (route, body)
            self.send(route, "WELCOME", id=self.id)
        elif kind == "BEAT":
            self.send(route, "BEAT", engine=body["engine"], known=body["engine"] in self.known)
        self.seen.append((route, kind, body, frames))
        return self.seen[-1]

    def wait(self, wanted, seconds=PATIENCE, **fields):
        """The next message of this kind with these fields."""
        deadline = time.monotonic() + seconds
        while True:
            got = self.take(deadline - time.monotonic())
            assert got or time.monotonic() < deadline, f"no {wanted} {fields} within {seconds} s"
            if got and got[1] == wanted and all(got[2][k] == v for k, v in fields.items()):
                return got

    def drain(self, seconds=0.0):
        """Handles what is there (and comes within these seconds)."""
        deadline = time.monotonic() + seconds
        while self.take(deadline - time.monotonic()):
            pass

    def hello(self, model, version, **options):
        route, _, body, _ = self.wait("HELLO", model=model, version=version, **options)
        return route, body

    def start_job(self, route, inputs, **more):
        self.jobs += 1
        described, frames = [], []
        for name, value in inputs.items():
            number = next(n for n, d in DATATYPES.items() if np.dtype(d) == value.dtype)
            described.append({"name": name, "datatype": number, "shape": list(value.shape)})
            frames.append(value.tobytes())
        values = {"job": self.jobs, "attempt": 1, "inputs": described, **more}
        self.send(route, "JOB", *frames, **values)
        return self.jobs

    def result(self, job):
        """(body, {name: array})"""
        _, _, body, frames = self.wait("RESULT", job=job)
        arrays = {
            t["name"]: np.frombuffer(f, DATATYPES[t["datatype"]]).reshape(t["shape"])
            for t, f in zip(body["outputs"], frames)
        }
        return body, arrays

    def run(self, route, inputs, **more):
        body, arrays = self.result(self.start_job(route, inputs, **more))
        assert body["status"] == 0, body["text"]
        return arrays


class Rig:
    def __init__(self):
        self.home = tempfile.mkdtemp(prefix="maas-w-")
        self.registry = Registry(self.home)
        self.gateways = []
        self.worker = None

    def gateway(self, name="gw-1"):
        self.gateways.append(Gateway(name))
        self.registry.gateways.append(self.gateways[-1])
        return self.gateways[-1]

    def start(self, *options):
        argv = [os.path.join(BIN, "maas-worker"), "--registry", self.registry.rpc]
        argv += ["--events", self.registry.events, "--cache", "cache", "--allow-fake", *options]
        self.worker = Process(self.home, "worker", argv).start()
        return self.worker

    def cached(self):
        return sorted(os.path.basename(p) for p in glob.glob(os.path.join(self.home, "cache", "*")))

    def finish(self):
        if self.worker:
            self.worker.kill()
        for gateway in self.gateways:
            gateway.close()
        self.registry.finish()
        log = self.worker.log() if self.worker else ""
        shutil.rmtree(self.home, ignore_errors=True)
        assert "Sanitizer" not in log, log


@pytest.fixture
def rig():
    r = Rig()
    yield r
    r.finish()


def row(command, value=0):
    return {"x": np.array([[command, value]], "f")}


def gone(pid):
    """The process has ended (a zombie waits for its parent only)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def serve(rig, data=b"fake\n", fmt="fake", options=(), **deployment):
    """A worker that serves version 1 of m to one gateway: (gateway, route, hello)."""
    gateway = rig.gateway()
    rig.registry.version("m", 1, data, fmt)
    rig.registry.deploy("m", 1, **deployment)
    rig.start(*options)
    return (gateway, *gateway.hello("m", 1))


# ---- jobs


def test_hello_job_result_equal_the_reference(rig):
    data, _ = networks.perceptron([10, 50, 10])
    gateway, route, hello = serve(rig, data, "onnx")
    assert hello["inputs"] == [{"name": "input", "datatype": FP32, "shape": [-1, 10]}]
    assert hello["outputs"] == [{"name": "output", "datatype": FP32, "shape": [-1, 10]}]
    assert (hello["max_batch"], hello["credit"]) == (64, 1)
    engine = rig.registry.engine("m", 1, READY)
    assert engine["pid"] == hello["pid"] and engine["rss_bytes"] > 1 << 20
    golden = onnxruntime.InferenceSession(data)
    for rows in (1, 7, 64, 3000):  # from within ZeroMQ's buffer to a frame of its own
        x = np.random.default_rng(rows).standard_normal((rows, 10)).astype("f")
        job = gateway.start_job(route, {"input": x}, attempt=3)
        body, got = gateway.result(job)
        assert (body["status"], body["attempt"], body["credit"]) == (0, 3, 1), body
        assert body["compute_us"] > 0
        np.testing.assert_allclose(got["output"], golden.run(None, {"input": x})[0], 1e-5, 1e-5)


def test_several_inputs_and_outputs(rig):
    gateway, route, _ = serve(rig, networks.add_and_sub(), "onnx")
    a, b = np.array([[3, 4]], "f"), np.array([[1, 2]], "f")
    got = gateway.run(route, {"a": a, "b": b})
    assert got["sum"].tolist() == [[4, 6]] and got["difference"].tolist() == [[2, 2]]


def test_batch_size_by_deployment_and_by_model(rig):
    rig.registry.version("fixed", 1, networks.identity(TensorProto.FLOAT, (1, 2)), "onnx")
    rig.registry.deploy("fixed", 1, max_batch=8)
    gateway, _, hello = serve(rig, max_batch=8)
    assert hello["max_batch"] == 8
    seen = {m[2]["model"]: m[2]["max_batch"] for m in gateway.seen if m[1] == "HELLO"}
    assert seen.get("fixed") or gateway.hello("fixed", 1)[1]["max_batch"] == 1
    assert seen.get("fixed", 1) == 1


def test_engine_pulls_from_every_gateway(rig):
    other = rig.gateway("gw-2")
    gateway, route, hello = serve(rig)
    again, twin = other.hello("m", 1)
    assert twin["engine"] == hello["engine"]
    assert gateway.run(route, row(0, 5))["y"].tolist() == [[0, 5]]
    assert other.run(again, row(0, 6))["y"].tolist() == [[0, 6]]


def test_beats_go_on_during_a_long_run(rig):
    gateway, route, hello = serve(rig)
    job = gateway.start_job(route, row(SLEEP, 2500))
    busy = gateway.wait("BEAT", job=job)[2]
    later = gateway.wait("BEAT", job=job)[2]
    assert later["busy_ms"] > busy["busy_ms"] and later["engine"] == hello["engine"]
    assert gateway.result(job)[0]["compute_us"] > 2e6
    gateway.wait("BEAT", job=0)


def test_engine_says_when_it_begins_with_a_suspect(rig):
    other = rig.gateway("gw-2")
    gateway, route, hello = serve(rig)
    again, _ = other.hello("m", 1)
    other.jobs = 100  # numbers of its own
    busy = gateway.start_job(route, row(SLEEP, 2500))
    gateway.wait("BEAT", job=busy)
    suspect = other.start_job(again, row(SLEEP, 300), attempt=2)
    gateway.result(busy)
    begun = other.wait("BEAT", job=suspect)
    assert begun[0] == again and begun[2]["engine"] == hello["engine"]
    assert not any(m[1] == "RESULT" for m in other.seen)
    job = gateway.start_job(route, row(0, 7))  # waits behind it
    assert other.result(suspect)[1]["y"].tolist() == [[SLEEP, 300]]
    assert gateway.result(job)[1]["y"].tolist() == [[0, 7]]


def test_gateway_that_forgot_gets_another_hello(rig):
    gateway, route, hello = serve(rig)
    gateway.close()
    gateway.open()  # a new process at the same address
    route, again = gateway.hello("m", 1)
    assert again["engine"] == hello["engine"]
    assert gateway.run(route, row(0, 1))["y"].tolist() == [[0, 1]]
    gateway.send(route, "WHO")
    gateway.hello("m", 1)


def test_one_hello_when_nothing_is_wrong(rig):
    gateway, _, _ = serve(rig)
    for _ in range(3):
        gateway.wait("BEAT")
    assert [m[1] for m in gateway.seen].count("HELLO") == 1


# ---- bad input


def bad_jobs():
    x = {"name": "x", "datatype": FP32, "shape": [1, 2]}
    ok = b"\0" * 8
    return {
        "no input": ([], [], "1 input"),
        "no frame": ([x], [], "1 input"),
        "name": ([{**x, "name": "z"}], [ok], "'z'"),
        "datatype": ([{**x, "datatype": INT64}], [ok * 2], "INT64"),
        "unknown datatype": ([{**x, "datatype": 99}], [ok], "FP32"),
        "rank": ([{**x, "shape": [2]}], [ok], "[2]"),
        "shape": ([{**x, "shape": [1, 3]}], [ok + b"1234"], "[1,3]"),
        "negative": ([{**x, "shape": [-1, 2]}], [ok], "dimension"),
        "overflow": ([{**x, "shape": [2**62, 2]}], [ok], "shape"),
        "short": ([x], [b"1234567"], "bytes"),
        "long": ([x], [b"123456789"], "bytes"),
    }


def test_bad_inputs_are_answered_with_a_sentence(rig):
    gateway, route, _ = serve(rig)
    for number, (name, (inputs, frames, words)) in enumerate(bad_jobs().items()):
        gateway.send(route, "JOB", *frames, job=1000 + number, attempt=1, inputs=inputs)
        body, _ = gateway.result(1000 + number)
        assert statuses()[body["status"]] == "INVALID", (name, body)
        assert words in body["text"], (name, body["text"])
        assert body["credit"] == 1
    assert gateway.run(route, row(0, 9))["y"].tolist() == [[0, 9]]


def test_runtime_errors_come_with_the_models_words(rig):
    gateway, route, _ = serve(rig)
    body, outputs = gateway.result(gateway.start_job(route, row(FAIL)))
    assert statuses()[body["status"]] == "INVALID" and "told to fail" in body["text"]
    assert outputs == {}


def test_garbage_from_a_rogue_gateway(rig):
    gateway, route, hello = serve(rig)
    rng = np.random.default_rng(1)
    garbage = [b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\x93\x3e\x00", b"\x91" * 10000]
    garbage += [rng.bytes(int(n)) for n in rng.integers(1, 200, 200)]
    for frame in garbage:
        gateway.socket.send_multipart([route, frame])
    gateway.socket.send_multipart([route, *[b"x"] * 100])  # more frames than a message may have
    for kind in ("RESULT", "HELLO", "BYE", "CATALOG", "GATEWAYS", "ENGINE_STATUS", "BYE_ACK"):
        gateway.send(route, kind)
    assert gateway.run(route, row(0, 3))["y"].tolist() == [[0, 3]]
    eventually(
        lambda: rig.registry.counter("maas_worker_engine_bad_messages_total") >= len(garbage),
        PATIENCE,
        "bad messages are not counted",
    )
    assert rig.registry.engine("m", 1)["pid"] == hello["pid"]


# ---- checks of new versions


def test_check_describes_a_good_version(rig):
    rig.registry.version("m", 1, networks.times(2), "onnx", PENDING)
    rig.start()
    result = rig.registry.result_of("m", 1)
    assert result["check"] == PASSED and result["batchable"] == 1
    assert result["inputs"] == [{"name": "x", "datatype": FP32, "shape": [-1, 2]}]
    assert result["outputs"] == [{"name": "y", "datatype": FP32, "shape": [-1, 2]}]


def secret_reader(path):
    """A model that would serve the first bytes of a file."""
    weight = TensorProto(name="w", data_type=TensorProto.UINT8, dims=[8])
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", path), ("offset", "0"), ("length", "8")):
        weight.external_data.add(key=key, value=value)
    info = helper.make_tensor_value_info("y", TensorProto.UINT8, [8])
    node = helper.make_node("Identity", ["w"], ["y"])
    graph = helper.make_graph([node], "g", [], [info], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    "data, fmt, words",
    [
        (b"this is no ONNX file", "onnx", "protobuf parsing failed"),
        (networks.times(2)[:-20], "onnx", "protobuf parsing failed"),
        (b"\x08\x08", "onnx", "graph"),
        (secret_reader("/etc/hostname").SerializeToString(), "onnx", "none of the version"),
        (b"fake fail=these words", "fake", "these words"),
        (b"fake abort", "fake", "crashed 2 times"),
        (b"x", "pickle", "'pickle'"),
    ],
    ids=["garbage", "truncated", "empty", "external", "words", "crash", "format"],
)
def test_check_names_what_is_wrong(rig, data, fmt, words):
    rig.registry.version("m", 1, data, fmt, PENDING)
    rig.start()
    result = rig.registry.result_of("m", 1)
    assert result["check"] == FAILED and words in result["reason"], result
    assert "Schema error" not in rig.worker.log()


def test_kill_from_outside_while_loading_is_not_the_models_fault(rig):
    """The check is given up, nobody is told how it went, and the next version has its turn."""
    rig.registry.version("m", 1, b"fake load=60000", check=PENDING)
    pid = rig.start().popen.pid

    def engines():
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
            return [int(engine) for engine in children.read().split()]

    eventually(engines, PATIENCE, "no engine loads")
    os.kill(engines()[0], signal.SIGKILL)
    eventually(lambda: "killed while it loaded" in rig.worker.log(), PATIENCE, "not given up")
    rig.registry.version("n", 1, b"fake n", check=PENDING)
    assert rig.registry.result_of("n", 1)["check"] == PASSED
    assert [c["model"] for c in rig.registry.checked] == ["n"]


def test_load_that_never_ends_fails_the_check(rig):
    rig.registry.version("m", 1, b"fake load=60000", check=PENDING)
    rig.start("--load-timeout-ms", "500")
    result = rig.registry.result_of("m", 1)
    assert result["check"] == FAILED and "500 ms" in result["reason"], result


@pytest.mark.skipif(not os.environ.get("MAAS_FULL"), reason="a claim is renewed after 20 s: MAAS_FULL=1")
def test_a_check_that_takes_long_renews_its_claim(rig):
    rig.registry.version("m", 1, b"fake load=30000", check=PENDING)
    rig.start()
    assert rig.registry.result_of("m", 1, seconds=60)["check"] == PASSED
    assert rig.registry.claims[-2:] == [0, 0]
    rig.registry.version("m", 2, b"fake", check=PENDING)
    assert rig.registry.result_of("m", 2)["check"] == PASSED
    assert rig.registry.claims[-1] == 1


def test_artifact_that_cannot_be_fetched_is_not_the_models_fault(rig):
    rig.registry.version("gone", 1, b"fake gone", check=PENDING, stored=False)
    rig.registry.version("m", 1, b"fake", check=PENDING)
    rig.start()
    assert rig.registry.result_of("m", 1)["check"] == PASSED  # the other one does not block it
    assert [c["model"] for c in rig.registry.checked] == ["m"]
    rig.registry.version("gone", 1, b"fake gone", check=PENDING)  # now it is there
    rig.registry.claimed.clear()
    assert rig.registry.result_of("gone", 1)["check"] == PASSED


def test_deployed_version_is_checked_by_the_engine_that_serves_it(rig):
    gateway = rig.gateway()
    rig.registry.claimed.add(("m", 1))  # another worker has it
    rig.registry.version("m", 1, b"fake", check=PENDING)
    rig.registry.deploy("m", 1)
    rig.start()
    gateway.hello("m", 1)
    assert rig.registry.result_of("m", 1)["check"] == PASSED


# ---- crashes


def test_crash_restarts_with_back_off_and_last_words(rig):
    gateway, route, hello = serve(rig)
    for crash in range(1, 4):
        gateway.start_job(route, row(ABORT))
        failed = rig.registry.engine("m", 1, ENGINE_FAILED)
        assert "signal 6" in failed["reason"] and "told to abort" in failed["reason"], failed
        route, again = gateway.hello("m", 1)
        assert again["engine"] != hello["engine"] and again["pid"] != hello["pid"]
        hello = again
        ready = rig.registry.engine("m", 1, READY)
        assert ready["restarts"] == crash and ready["pid"] == hello["pid"]
    pauses = re.findall(r"next_try_ms=(\d+)", rig.worker.log())
    assert pauses == ["100", "200", "400"]
    assert rig.registry.counter("maas_worker_engine_crashes_total") == 3
    assert gateway.run(route, row(0, 1))["y"].tolist() == [[0, 1]]


def test_killed_engine_comes_back(rig):
    gateway, _, hello = serve(rig)
    os.kill(hello["pid"], signal.SIGKILL)
    route, again = gateway.hello("m", 1)
    assert again["pid"] != hello["pid"]
    assert gateway.run(route, row(0, 1))["y"].tolist() == [[0, 1]]


def test_one_crash_leaves_the_others_alone(rig):
    rig.registry.version("n", 1, b"fake n")
    rig.registry.deploy("n", 1)
    gateway = rig.gateway()
    rig.registry.version("m", 1, b"fake")
    rig.registry.deploy("m", 1)
    rig.start()
    pids = {}
    while len(pids) < 2:
        route, _, body, _ = gateway.wait("HELLO")
        pids[body["model"]] = body["pid"]
        if body["model"] == "n":
            other = route
    os.kill(pids["m"], signal.SIGKILL)
    gateway.hello("m", 1)
    assert gateway.run(other, row(0, 4))["y"].tolist() == [[0, 4]]
    assert rig.registry.engine("n", 1)["pid"] == pids["n"]


def test_passed_version_that_cannot_load_here_is_tried_again(rig):
    gateway = rig.gateway()
    rig.registry.version("m", 1, b"fake fail=no memory today")
    rig.registry.deploy("m", 1)
    rig.start()
    failed = rig.registry.engine("m", 1, ENGINE_FAILED)
    assert "no memory today" in failed["reason"]
    eventually(lambda: rig.registry.engine("m", 1)["restarts"] >= 3, PATIENCE, "no other try")
    assert rig.registry.checked == []
    gateway.drain()
    assert not gateway.known


# ---- rollout


def test_rollout_keeps_the_old_until_the_new_is_ready(rig):
    gateway, old, hello = serve(rig)
    rig.registry.version("m", 2, b"fake load=700")
    rig.registry.deploy("m", 2, previous=1)
    rig.registry.engine("m", 2, LOADING)
    assert gateway.run(old, row(0, 1))["y"].tolist() == [[0, 1]]
    new, _ = gateway.hello("m", 2)
    job = gateway.start_job(old, row(SLEEP, 300))
    gateway.wait("BYE")
    assert gateway.run(new, row(0, 2))["y"].tolist() == [[0, 2]]
    if not any(m[1] == "RESULT" and m[2]["job"] == job for m in gateway.seen):
        gateway.result(job)
    gateway.send(old, "BYE_ACK")
    eventually(lambda: gone(hello["pid"]), PATIENCE, "the old engine stays")
    os.kill(rig.registry.engine("m", 2, READY)["pid"], signal.SIGKILL)
    gateway.hello("m", 2)  # and the old one is not called back for that
    assert [e["version"] for e in rig.registry.engines()] == [2]
    assert [m[2]["version"] for m in gateway.seen if m[1] == "HELLO"] == [1, 2, 2]


def test_rollout_lets_the_old_finish_its_jobs(rig):
    gateway, old, hello = serve(rig, options=("--stop-timeout-ms", "300"))
    rig.registry.version("m", 2, b"fake\n")
    jobs = [gateway.start_job(old, row(SLEEP, 1500)) for _ in range(2)]
    gateway.wait("BEAT", job=jobs[0])
    rig.registry.deploy("m", 2, previous=1)
    gateway.hello("m", 2)
    assert [gateway.result(job)[0]["status"] for job in jobs] == [0, 0]
    gateway.wait("BYE")
    gateway.send(old, "BYE_ACK")
    eventually(lambda: gone(hello["pid"]), PATIENCE, "the old engine stays")


def test_worker_that_stops_kills_what_does_not_end(rig):
    gateway, route, hello = serve(rig, options=("--stop-timeout-ms", "300"))
    job = gateway.start_job(route, row(SLEEP, 50000))
    gateway.wait("BEAT", job=job)
    rig.worker.signal(signal.SIGTERM)
    assert rig.worker.popen.wait(PATIENCE) == 0
    assert gone(hello["pid"])


def test_rollout_to_a_version_that_never_loads_keeps_the_old(rig):
    gateway, old, hello = serve(rig)
    rig.registry.version("m", 2, b"fake fail=broken", check=PENDING)
    rig.registry.deploy("m", 2, previous=1)
    assert rig.registry.result_of("m", 2)["check"] == FAILED
    assert gateway.run(old, row(0, 1))["y"].tolist() == [[0, 1]]
    assert rig.registry.engine("m", 1, READY)["pid"] == hello["pid"]


# ---- the cache


def test_equal_artifacts_are_fetched_once(rig):
    data = b"fake" + b" " * (3 * CHUNK_BYTES)
    for model in ("a", "b", "c"):
        rig.registry.version(model, 1, data)
        rig.registry.deploy(model, 1)
    gateway = rig.gateway()
    rig.start()
    models = {gateway.wait("HELLO")[2]["model"] for _ in range(3)}
    assert models == {"a", "b", "c"}
    assert rig.registry.asked.count("CHUNK_GET") == 4
    assert rig.cached() == [hashlib.sha256(data).hexdigest()]


def test_damaged_cache_is_fetched_again(rig):
    gateway, _, hello = serve(rig, b"fake 1\n")
    path = os.path.join(rig.home, "cache", rig.cached()[0])
    with open(path, "r+b") as file:
        file.write(b"FAKE")
    os.kill(hello["pid"], signal.SIGKILL)
    gateway.hello("m", 1)
    with open(path, "rb") as file:
        assert file.read() == b"fake 1\n"


def test_cache_keeps_within_its_limit(rig):
    size = 400_000
    data = [b"fake %d" % n + b" " * size for n in range(4)]
    digests = [rig.registry.version("m", n + 1, d).hex() for n, d in enumerate(data)]
    gateway = rig.gateway()
    rig.registry.deploy("m", 1)
    rig.start("--cache-bytes", "1000000")
    old, _ = gateway.hello("m", 1)
    for number in (2, 3, 4):
        rig.registry.engine("m", number - 1, READY)
        rig.registry.deploy("m", number, previous=number - 1)
        new, _ = gateway.hello("m", number)
        assert gateway.wait("BYE")[0] == old
        gateway.send(old, "BYE_ACK")
        eventually(lambda: len(rig.registry.engines()) == 1, PATIENCE, "the old engine stays")
        old = new
    eventually(lambda: rig.cached() == sorted(digests[2:]), PATIENCE, "the cache holds others")
    assert gateway.run(old, row(0, 1))["y"].tolist() == [[0, 1]]


# ---- the end


def test_sigterm_finishes_what_is_there(rig):
    gateway, route, hello = serve(rig)
    job = gateway.start_job(route, row(SLEEP, 2500))
    gateway.wait("BEAT", job=job)
    rig.worker.signal(signal.SIGTERM)
    assert gateway.result(job)[0]["status"] == 0
    gateway.wait("BYE")
    late = gateway.run(route, row(0, 8))  # sent before the gateway read the BYE
    assert late["y"].tolist() == [[0, 8]]
    assert not gone(hello["pid"])
    gateway.send(route, "BYE_ACK")
    assert rig.worker.popen.wait(PATIENCE) == 0
    assert gone(hello["pid"])
    eventually(lambda: rig.registry.reports[-1]["leaving"], PATIENCE, "no farewell")


def test_killed_host_leaves_nothing_behind_and_loses_nothing(rig):
    gateway, route, hello = serve(rig)
    job = gateway.start_job(route, row(SLEEP, 2500))
    gateway.wait("BEAT", job=job)
    rig.worker.kill()
    assert gateway.result(job)[0]["status"] == 0
    gateway.wait("BYE")
    gateway.send(route, "BYE_ACK")
    eventually(lambda: gone(hello["pid"]), PATIENCE, "the engine outlives its host")


def test_killed_host_ends_an_engine_that_loads(rig):
    rig.registry.version("m", 1, b"fake load=60000")
    rig.registry.deploy("m", 1)
    rig.start()
    pid = eventually(lambda: rig.registry.engine("m", 1, LOADING)["pid"], PATIENCE, "no engine")
    eventually(lambda: b"--model" in open(f"/proc/{pid}/cmdline", "rb").read(), PATIENCE, "no exec")
    rig.worker.kill()
    eventually(lambda: gone(pid), 10, "the engine goes on loading")


def test_silent_gateway_holds_nobody_up_for_long(rig):
    gateway, _, hello = serve(rig)
    rig.worker.signal(signal.SIGTERM)
    gateway.wait("BYE")  # and no BYE_ACK
    assert rig.worker.popen.wait(PATIENCE) == 0
    assert gone(hello["pid"])


def test_engine_does_not_wait_for_a_gateway_that_dies(rig):
    gateway, _, hello = serve(rig)
    rig.worker.signal(signal.SIGTERM)
    gateway.wait("BYE")
    begin = time.monotonic()
    gateway.close()
    assert rig.worker.popen.wait(PATIENCE) == 0 and gone(hello["pid"])
    assert time.monotonic() - begin < 8  # LEAVE_MS is 10 s
    gateway.open()


def test_registry_away_changes_nothing(rig):
    gateway, route, hello = serve(rig)
    rig.registry.away.set()
    assert gateway.run(route, row(0, 1))["y"].tolist() == [[0, 1]]
    os.kill(hello["pid"], signal.SIGKILL)
    route, _ = gateway.hello("m", 1)
    assert gateway.run(route, row(0, 2))["y"].tolist() == [[0, 2]]
    rig.registry.gateways.clear()  # it comes back empty-handed
    reports = len(rig.registry.reports)
    rig.registry.away.clear()
    eventually(lambda: len(rig.registry.reports) >= reports + 2, PATIENCE, "no report")
    assert gateway.run(route, row(0, 3))["y"].tolist() == [[0, 3]]


def test_engine_gets_no_secrets_and_few_rights(rig, monkeypatch):
    monkeypatch.setenv("MAAS_SECRET", "hush")
    monkeypatch.setenv("MAAS_CHECK", "true")  # an option of engines, but not for these
    gateway, route, hello = serve(rig)
    with open(f"/proc/{hello['pid']}/environ", "rb") as file:
        assert b"MAAS_" not in file.read()
    with open(f"/proc/{hello['pid']}/status", encoding="ascii") as file:
        assert re.search(r"NoNewPrivs:\s+1", file.read())
    with open(f"/proc/{hello['pid']}/limits", encoding="ascii") as file:
        assert re.search(r"Max core file size\s+0\s+0", file.read())
    assert gateway.run(route, row(0, 1))["y"].tolist() == [[0, 1]]


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's memory says nothing")
def test_idle_memory(rig):
    gateway, route, hello = serve(rig, networks.times(2), "onnx")
    gateway.run(route, {"x": np.ones((1, 2), "f")})
    engine = rig.registry.engine("m", 1, READY)
    print(f"host {rig.worker.rss_kib()} KiB, engine {engine['rss_bytes'] >> 10} KiB")
    assert rig.worker.rss_kib() <= 12 * 1024
