"""Which engines a worker runs: instances, threads, memory."""

import os
import random
import signal
import subprocess
import threading
import time

import pytest

import networks
from lone_engine import lone_engine
from peer import BIN, eventually
from registry_rig import SANITIZED
from test_worker import ENGINE_FAILED, PATIENCE, READY, SLEEP, gone, rig, row  # noqa: F401


# ---- instances


def test_as_many_engines_as_instances(rig):  # noqa: F811
    gateway = rig.gateway()
    rig.registry.version("m", 1, b"fake")
    rig.registry.deploy("m", 1, instances=3)
    rig.start()
    routes = [gateway.hello("m", 1)[0] for _ in range(3)]
    assert len({body["pid"] for _, body in gateway.known.values()}) == 3
    for value, route in enumerate(routes):
        assert gateway.run(route, row(0, value))["y"].tolist() == [[0, value]]
    rig.registry.deploy("m", 1, instances=1)
    for _ in range(2):  # the youngest two
        gateway.send(gateway.wait("BYE")[0], "BYE_ACK")
    eventually(lambda: len(rig.registry.engines()) == 1, PATIENCE, "engines remain")
    left = [r for r, b in gateway.known.values() if b["pid"] == rig.registry.engines()[0]["pid"]]
    assert gateway.run(left[0], row(0, 7))["y"].tolist() == [[0, 7]]
    rig.registry.deploy("m", 1, instances=2)
    gateway.hello("m", 1)


def test_another_batch_size_replaces_engines_one_by_one(rig):  # noqa: F811
    gateway = rig.gateway()
    rig.registry.version("m", 1, b"fake")
    rig.registry.deploy("m", 1, max_batch=8)
    rig.start()
    old, hello = gateway.hello("m", 1, max_batch=8)
    rig.registry.engine("m", 1, READY)  # for its host too: else it would not be waited for
    rig.registry.deploy("m", 1, max_batch=16)
    gateway.hello("m", 1, max_batch=16)
    assert gateway.wait("BYE")[0] == old  # not before the new one was there
    gateway.send(old, "BYE_ACK")
    eventually(lambda: gone(hello["pid"]), PATIENCE, "the old engine stays")
    eventually(lambda: len(rig.registry.engines()) == 1, PATIENCE, "the old engine is reported")


def threads_of(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read().split(b"\0")
    return int(words[words.index(b"--threads") + 1])


def test_engines_share_the_cores(rig):  # noqa: F811
    cores = len(os.sched_getaffinity(0))  # and no cgroup of a test says less
    gateway = rig.gateway()
    for model in ("a", "b"):
        rig.registry.version(model, 1, b"fake")
    rig.registry.deploy("a", 1)
    rig.start()
    assert 1 <= threads_of(gateway.hello("a", 1)[1]["pid"]) <= cores
    rig.registry.deploy("b", 1, instances=3)
    shares = [threads_of(gateway.hello("b", 1)[1]["pid"]) for _ in range(3)]
    assert all(1 <= n <= max(1, cores // 4) for n in shares), shares


def test_threads_as_told(rig):  # noqa: F811
    gateway = rig.gateway()
    rig.registry.version("m", 1, b"fake")
    rig.registry.deploy("m", 1, instances=2)
    rig.start("--threads", "3")
    assert [threads_of(gateway.hello("m", 1)[1]["pid"]) for _ in range(2)] == [3, 3]


def tasks_of(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one core to share")
def test_short_runs_have_one_thread(rig):  # noqa: F811
    """The same model under two workers, one after the other: all runs are short, or none is."""
    gateway = rig.gateway()
    rig.registry.version("m", 1, networks.times(2), "onnx")
    rig.registry.deploy("m", 1)

    def tasks(short_run_us):
        rig.start("--short-run-us", str(short_run_us))
        pid = gateway.hello("m", 1)[1]["pid"]
        rig.registry.engine("m", 1, READY)
        allowed, count = threads_of(pid), tasks_of(pid)
        assert allowed > 1
        rig.worker.signal(signal.SIGTERM)
        gateway.send(gateway.wait("BYE")[0], "BYE_ACK")
        eventually(lambda: gone(pid) and not rig.worker.alive(), PATIENCE, "the worker stays")
        return allowed, count

    (_, few), (allowed, many) = tasks(1 << 31), tasks(0)
    assert many == few + allowed - 1


def deploy(suite, **settings):
    return suite.api.call("PUT", "/api/models/m/deployment", {"version": "1", **settings})


def test_instances_change_without_a_failed_request(fake_suite):
    suite = fake_suite
    suite.upload("m", b"fake", "fake")
    suite.deploy("m", 1)
    over, answers, wrong = threading.Event(), [], []

    def client(number):
        api, n = suite.client(), 0
        while not over.is_set():
            n += 1
            status, _, answer = api.request("POST", "/predict", {"inputs": [[1, number + n % 5]]})
            answers.append(status)
            if status != 200 or answer["outputs"] != [[1, number + n % 5]]:
                wrong.append((status, answer))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()

    def engines():
        return suite.api.get("/api/models/m")["versions"][0]["engines"]

    shown = {"instances": 0, "max_batch": 0, "max_batch_delay_ms": 0}
    for change in ({"instances": 3}, {"max_batch": 16}, {"instances": 1, "max_batch_delay_ms": 5},
                   {"instances": 2}, {"instances": 0, "max_batch": 0}):  # fmt: skip
        shown.update(change)
        done = deploy(suite, **change)["deployment"]
        assert {k: done[k] for k in shown} == shown
        got = suite.api.get("/api/models/m")["deployment"]
        assert {k: got[k] for k in shown} == shown
        suite.eventually(lambda: engines() == (shown["instances"] or 1), PATIENCE, "not so many")
        so_far = len(answers)
        suite.eventually(lambda: len(answers) > so_far + 50, PATIENCE, "no answers")
        suite.eventually(
            lambda: len(suite.engine_pids()) == (shown["instances"] or 1), PATIENCE, "not reported"
        )
    over.set()
    for t in threads:
        t.join()
    assert not wrong and len(answers) > 250


def test_a_bad_deployment_is_named(fake_suite):
    suite = fake_suite
    suite.upload("m", b"fake", "fake")
    for body, word in (({"instances": 65}, "instances"), ({"replicas": 1}, "replicas"),
                       ({"max_batch": -1}, "max_batch")):  # fmt: skip
        status, _, answer = suite.api.request(
            "PUT", "/api/models/m/deployment", {"version": "1", **body}
        )
        assert status == 400 and word in answer["error"], answer
    assert suite.api.get("/api/models/m")["deployment"] is None


# ---- memory

MIB = 1 << 20
MEASURED = pytest.mark.skipif(SANITIZED, reason="a sanitizer's memory says nothing")


def private_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        _, resident, shared, *_ = map(int, file.read().split())
    return (resident - shared) * os.sysconf("SC_PAGESIZE")


@MEASURED
def test_a_checked_version_stays_until_it_was_measured(tmp_path):
    """What its process has when it says that it has loaded is the estimate for others: it must not end by itself."""
    artifact = tmp_path / "model"
    artifact.write_bytes(b"fake ballast=16")
    engine, ours = lone_engine(BIN, artifact, "--allow-fake", "--format", "fake")
    assert ours.recv(1), "it says nothing"
    with pytest.raises(subprocess.TimeoutExpired):
        engine.wait(0.2)
    assert private_bytes(engine.pid) > 16 * MIB
    ours.close()  # the host is gone
    assert engine.wait(PATIENCE) == 0


class Crowd:
    """A suite with more deployed models than its worker has memory for."""

    def __init__(self, make_suite, models, room, load_ms=0, ballast=16, workers=1):
        self.budget = int((room + 0.5) * (ballast + 0.7) * MIB)  # an engine itself has 0.4 to 1
        options = ["--allow-fake", "--memory-bytes", "0" if SANITIZED else str(self.budget)]
        self.suite = make_suite(workers=workers, options={"worker": options})
        self.names = [f"m{n}" for n in range(models)]
        self.peak = 0
        self.over = threading.Event()
        self.watch = threading.Thread(target=self._watch, daemon=True)
        self.watch.start()
        for name in self.names:
            artifact = f"fake load={load_ms} ballast={ballast} {name}".encode()
            self.suite.upload(name, artifact, "fake")
            self.suite.deploy(name, 1, wait=SANITIZED)
        if SANITIZED:
            self._learn_budget(room)

    def _learn_budget(self, room):
        """What a sanitizer adds to an engine is not known beforehand: all are loaded once."""
        count, host = len(self.names), self.suite.processes["worker-1"]
        told = self.suite.eventually(
            lambda: len(w := self.suite.api.get("/api/workers")["workers"]) == 1
            and len(w[0]["engines"]) == count and w[0], PATIENCE, "not all loaded"
        )
        self.budget = int((room + 0.5) * told["memory_bytes"] / count)
        host.stop()
        host.argv[host.argv.index("--memory-bytes") + 1] = str(self.budget)
        host.start()

    def worker(self, number=0):
        return self.suite.api.get("/api/workers")["workers"][number]

    def _engines(self):
        host = self.suite.processes["worker-1"].pid
        try:
            with open(f"/proc/{host}/task/{host}/children", encoding="ascii") as file:
                return [int(pid) for pid in file.read().split()]
        except OSError:
            return []  # it is started again

    def _memory(self):
        """What the engines have by themselves, as the kernel says."""
        total = 0
        for pid in self._engines():
            try:
                total += private_bytes(pid)
            except OSError:
                pass  # it has ended
        return total

    def _watch(self):
        while not self.over.wait(0.01):
            self.peak = max(self.peak, self._memory())

    def ask(self, api, name, value, command=0):
        body = {"model": name, "inputs": [[command, value]]}
        status, _, answer = api.request("POST", "/predict", body)
        assert status == 200, (name, answer)
        assert answer["outputs"] == [[command, value]] and answer["model"] == name, answer
        return answer["version"]

    def counter(self, name):
        lines = self.suite.api.request("GET", "/metrics")[2].decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(name)), 0)

    def await_counter(self, name, least):
        """What a worker counts is told once a second."""
        self.suite.eventually(lambda: self.counter(name) >= least, PATIENCE, f"{name} is less than {least}")

    def await_jobs(self, count):
        """Until so many were sent to engines."""
        self.await_counter("maas_gateway_jobs_total", count)

    def finish(self):
        self.over.set()
        self.watch.join()


@pytest.fixture
def make_crowd(make_suite):
    crowds = []

    def make(*args, **options):
        crowds.append(Crowd(make_suite, *args, **options))
        return crowds[-1]

    yield make
    for crowd in crowds:
        crowd.finish()


def zipf(count, seed):
    draw = random.Random(seed)
    weights = [1 / (n + 1) for n in range(count)]
    while True:
        yield draw.choices(range(count), weights)[0]


def together(count, work):
    """Runs work(0), work(1), ... at once; the first AssertionError is raised here."""
    wrong = []

    def one(number):
        try:
            work(number)
        except AssertionError as error:
            wrong.append(error)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if wrong:
        raise wrong[0]


@MEASURED
def test_more_models_than_memory(make_crowd):
    models, room = 40, 5
    crowd = make_crowd(models, room)

    def client(number):
        api, draw = crowd.suite.client(), zipf(models, number)
        for n in range(40):
            crowd.ask(api, crowd.names[next(draw)], 100 * number + n)

    together(4, client)
    for name in crowd.names:  # every one of them
        crowd.ask(crowd.suite.api, name, 1)
    worker = crowd.suite.eventually(
        lambda: (w := crowd.worker()) and len(w["engines"]) == room and w, PATIENCE, "not as many"
    )
    crowd.finish()
    assert worker["on_demand"] == models - room
    assert 0 < worker["memory_bytes"] <= worker["memory_budget_bytes"] == crowd.budget
    assert 0 < crowd.peak <= crowd.budget, f"{crowd.peak >> 20} of {crowd.budget >> 20} MiB"
    api = crowd.suite.api
    assert api.request("GET", "/readyz")[0] == api.request("GET", "/v2/health/ready")[0] == 200
    for name in crowd.names:  # who asks before the first request finds it ready
        assert api.request("GET", f"/v2/models/{name}/ready")[0] == 200
        assert api.request("GET", f"/v1/models/{name}")[0] == 200
    assert api.request("GET", "/v2/models/m0/versions/999/ready")[0] == 404
    index = api.call("POST", "/v2/repository/index", {})
    assert {entry["state"] for entry in index} == {"READY"}
    crowd.await_counter("maas_worker_engines_evicted_total", models - room)
    crowd.await_counter("maas_worker_engines_on_demand_total", models - room)
    assert crowd.counter("maas_worker_memory_budget_bytes") == crowd.budget
    assert crowd.counter("maas_worker_engines{") == room
    assert crowd.counter("maas_worker_on_demand{") == models - room


@MEASURED
def test_first_answer_of_a_cold_version(make_crowd):
    """Within 100 ms and the time that the model itself takes to load."""
    load_ms = 300
    crowd = make_crowd(8, 3, load_ms=load_ms)
    api, times = crowd.suite.api, []
    for name in crowd.names:
        crowd.ask(api, name, 0)  # the last three are there now
    for name in crowd.names[:5]:
        begin = time.monotonic()
        crowd.ask(api, name, 1)
        times.append(1000 * (time.monotonic() - begin) - load_ms)
    crowd.finish()
    assert min(times) < 100, times  # a busy machine may be late now and then
    assert crowd.peak <= crowd.budget


def test_busy_engines_stay(make_crowd):
    crowd = make_crowd(3, 1)
    suite, order = crowd.suite, []

    def long_one(_):
        crowd.ask(suite.client(), "m0", 2500, command=SLEEP)
        order.append("m0")

    crowd.ask(suite.api, "m0", 0)
    asker = threading.Thread(target=long_one, args=(0,))
    asker.start()
    crowd.await_jobs(2)
    crowd.ask(suite.client(), "m1", 7)  # waits until the long one is done
    order.append("m1")
    asker.join()
    assert order == ["m0", "m1"]


def test_no_room_within_the_deadline(make_crowd):
    """All memory belongs to an engine at work: the others' requests end with their deadline."""
    crowd = make_crowd(2, 1)
    suite = crowd.suite
    crowd.ask(suite.api, "m0", 0)
    body = {"model": "m1", "inputs": [[0, 7]]}
    for sleep_ms in (3000, 12000):  # longer where the machine is that slow
        jobs = crowd.counter("maas_gateway_jobs_total")
        asker = threading.Thread(target=crowd.ask, args=(suite.client(), "m0", sleep_ms, SLEEP))
        asker.start()
        crowd.await_jobs(jobs + 1)
        status, _, answer = suite.api.request("POST", "/predict", body, {"X-Request-Timeout-Ms": "500"})
        was_busy = asker.is_alive()
        asker.join()
        if was_busy:
            break
        crowd.ask(suite.api, "m0", 0)
    assert status == 503 and "deadline" in answer["error"], answer
    crowd.ask(suite.api, "m1", 7)


def test_an_eviction_loses_nothing(make_crowd):
    """Two models, memory for one, and clients that want both all the time."""
    crowd = make_crowd(2, 1)

    def client(number):
        api = crowd.suite.client()
        for n in range(12):
            crowd.ask(api, crowd.names[(n + number) % 2], 100 * number + n)

    together(4, client)
    crowd.await_counter("maas_worker_engines_evicted_total", 2)
    assert crowd.counter("maas_worker_engine_crashes_total") == 0


TOO_LARGE = "all engines of this worker may have"


def test_an_artifact_beyond_the_budget_is_refused_and_others_live(rig):  # noqa: F811
    gateway = rig.gateway()
    rig.registry.version("huge", 1, b"fake" + b" " * (41 * MIB), stored=False)
    rig.registry.version("m", 1, b"fake")
    rig.registry.deploy("huge", 1)
    rig.registry.deploy("m", 1)
    rig.start("--memory-bytes", "40MiB")
    route, _ = gateway.hello("m", 1)
    host, _, body, _ = gateway.wait("HOST")
    assert body["name"] == rig.registry.reports[-1]["processes"][0]["id"]
    gateway.send(host, "WANT", model="huge", version=1)
    gateway.send(host, "WANT", model="unknown", version=3)
    assert TOO_LARGE in rig.registry.engine("huge", 1, ENGINE_FAILED)["reason"]
    assert gateway.run(route, row(0, 3))["y"].tolist() == [[0, 3]]
    process = rig.registry.reports[-1]["processes"][0]
    assert process["memory_budget_bytes"] == 40 * MIB and process["on_demand"] == 0


@MEASURED
def test_a_model_that_turns_out_too_large_is_refused(make_crowd):
    crowd = make_crowd(1, 1)
    suite = crowd.suite
    suite.upload("huge", b"fake ballast=64", "fake")
    suite.deploy("huge", 1, wait=False)
    body = {"model": "huge", "inputs": [[0, 1]]}

    def refused():
        headers = {"X-Request-Timeout-Ms": "200"}
        status, _, answer = suite.api.request("POST", "/predict", body, headers)
        return status == 503 and TOO_LARGE in answer["error"]

    suite.eventually(refused, PATIENCE, "it is not said why")
    crowd.ask(suite.api, "m0", 5)
    suite.eventually(lambda: crowd.worker()["memory_bytes"] <= crowd.budget, PATIENCE, "no room")


def test_rollout_where_only_one_fits(make_crowd):
    crowd = make_crowd(2, 1)
    suite = crowd.suite
    crowd.ask(suite.api, "m0", 0)
    suite.upload("m0", b"fake ballast=16 second", "fake")
    suite.deploy("m0", 2, wait=False)
    suite.eventually(
        lambda: crowd.ask(suite.api, "m0", 1) == "2", PATIENCE, "the rollout does not come"
    )


@MEASURED
def test_two_workers_share_what_one_cannot_hold(make_crowd):
    """A version that is wanted starts on one of them, not on both."""
    crowd = make_crowd(16, 3, workers=2)
    for _ in range(2):
        for name in crowd.names:
            crowd.ask(crowd.suite.api, name, 1)
    started = crowd.counter("maas_worker_engines_on_demand_total")
    assert started <= 3 * len(crowd.names), "each was started twice each time"
