"""A primary that fails over, registries that die, a Redis that is away; clients ask and write."""

import os
import signal
import threading
import time

import pytest

import networks
from conftest import TestSuite
from redis_rig import Sentinels
from suite import Process
from test_failures import Load

FULL = bool(os.environ.get("MAAS_FULL"))


class Writer:
    """Deploys the versions 1 and 2 in turn, all the time; when writes were acknowledged."""

    def __init__(self, suite):
        self.suite = suite
        self.stop = threading.Event()
        self.acknowledged = []
        self.refused = []
        self.odd = []
        self.thread = threading.Thread(target=self._write)
        self.thread.start()

    def _write(self):
        client = self.suite.client()
        number = 0
        while not self.stop.is_set():
            number += 1
            body = {"version": 1, "max_batch": 1 + number % 50}
            status, headers, answer = client.request("PUT", "/api/models/m/deployment", body)
            if status == 200:
                self.acknowledged.append(time.monotonic())
            elif status == 503 and headers["Retry-After"]:
                self.refused.append(answer["error"])
                self.stop.wait(0.02)
            elif status != 504:
                self.odd.append((status, answer))

    def after(self, moment, seconds=30):
        """When the first write after this moment was acknowledged."""
        self.suite.eventually(
            lambda: self.acknowledged and self.acknowledged[-1] > moment, seconds, "writes do not resume"
        )
        return next(t for t in self.acknowledged if t > moment)

    def finish(self):
        self.stop.set()
        self.thread.join()
        assert self.odd == []


def failover(suite, sentinels, writer, load, break_it):
    """Seconds from the election of the next primary to the first write; and to the election."""
    (old,) = sentinels.primaries()
    load.more(5)
    begin = time.monotonic()
    break_it(sentinels.servers[old])
    suite.eventually(lambda: sentinels.primaries(but=(old,)), 60, "no new primary")
    elected = time.monotonic()
    resumed = writer.after(elected)
    load.more(5)
    return old, resumed - elected, elected - begin


@pytest.fixture
def sentinels(tmp_path):
    made = Sentinels(str(tmp_path))
    try:
        yield made.start()
    finally:
        made.finish()


def test_failover_loses_no_request_and_writes_resume(sentinels):
    suite = TestSuite(options={"registry": sentinels.options})
    del suite.processes["redis"]
    try:
        suite.start()
        suite.upload("m", networks.times(2))
        suite.deploy("m", 1)
        load, writer = Load(suite, 4), Writer(suite)
        writer.after(time.monotonic())
        old, write_s, elect_s = failover(suite, sentinels, writer, load, lambda p: p.kill())
        print(f"killed: elected after {elect_s:.2f} s, writes {write_s:.2f} s later")
        if FULL:  # it comes back as a primary, for some seconds
            sentinels.servers[old].start()
            suite.eventually(
                lambda: "role:slave" in (sentinels.ask(old, "INFO", "replication") or ""),
                60, "the old primary does not follow",
            )  # fmt: skip
        _, stuck_s, elect_s = failover(
            suite, sentinels, writer, load, lambda p: p.signal(signal.SIGSTOP)
        )
        print(f"stopped: elected after {elect_s:.2f} s, writes {stuck_s:.2f} s later")
        writer.finish()
        load.finish()
        assert max(write_s, stuck_s) < 15
        log = suite.processes["registry"].log()
        assert log.count("the sentinels name the primary") == 3
        assert suite.api.get("/api/models/m")["deployment"]["version"] == "1"
    finally:
        for process in sentinels.servers.values():
            process.signal(signal.SIGCONT)
        suite.finish()


# ---- two registries


def with_two_registries(**options):
    """A suite in which everybody may use either registry."""
    suite = TestSuite(**options)
    argv = list(suite.processes["registry"].argv)
    second = [a.replace("run/rpc.sock", "run/rpc2.sock").replace("run/events.sock", "run/events2.sock")
              for a in argv]  # fmt: skip
    for process in suite.processes.values():
        for i, value in enumerate(process.argv):
            if value in ("ipc://run/rpc.sock", "ipc://run/events.sock") and process.name != "registry":
                process.argv[i] = value + "," + value.replace(".sock", "2.sock")
    suite.processes["registry-2"] = Process(suite, "registry-2", second)
    return suite


def test_registries_die_in_turn_and_nobody_notices():
    suite = with_two_registries(workers=2)
    try:
        suite.start()
        suite.upload("m", networks.times(2))
        suite.deploy("m", 1)
        suite.eventually(lambda: len(suite.engine_pids()) == 2, 60, "two engines")
        load = Load(suite, 4)
        for turn, name in enumerate(("registry", "registry-2", "registry")):
            load.more(5)
            suite.processes[name].kill()
            suite.api.call("PUT", "/api/models/m/deployment", {"version": 1, "max_batch": 10 + turn})
            suite.upload("m", networks.times(2))  # a worker checks it, through the other one
            load.more(5)
            suite.processes[name].start()
        load.finish()
        suite.eventually(lambda: suite.api.get("/healthz")["registry"], 20, "not heard")
    finally:
        suite.finish()


# ---- Redis is away


def test_without_redis_reads_go_on_and_writes_say_when_to_come_back(suite):
    suite.upload("m", networks.times(2))
    suite.deploy("m", 1)
    for pause in (lambda p: p.kill(), lambda p: p.signal(signal.SIGSTOP)):
        pause(suite.processes["redis"])
        for method, path, body in (
            ("PUT", "/api/models/m/deployment", {"version": 1, "max_batch": 7}),
            ("POST", "/api/training", {"model": "t", "dataset": "d"}),
            ("GET", "/api/datasets", None),  # nobody has a copy of these
        ):
            status, headers, answer = suite.api.request(method, path, body)
            assert status == 503 and headers["Retry-After"] == "1", (path, answer)
            assert "try again" in answer["error"]
        assert suite.api.call("POST", "/predict", {"inputs": [[1, 2]]})["outputs"] == [[2, 4]]
        model = suite.api.get("/api/models/m")
        assert model["deployment"]["version"] == "1" and len(model["versions"]) == 1
        assert suite.api.request("GET", "/readyz?model=m")[0] == 200
        if suite.processes["redis"].alive():
            suite.processes["redis"].signal(signal.SIGCONT)
        else:
            suite.processes["redis"].start()
        suite.eventually(
            lambda: suite.api.request("GET", "/api/datasets")[0] == 200, 20, "Redis is not found again"
        )
    suite.api.call("PUT", "/api/models/m/deployment", {"version": 1, "max_batch": 9})
