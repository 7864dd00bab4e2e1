"""Who was told of a change finds it: a gateway, and a played registry whose events come late."""

import time

import pytest
import zmq

from peer import encode, eventually
from played import GatewayRig, PlayedRegistry

PATIENCE = 60
LATE_S = 0.2
HISTORY, BEFORE, AFTER = 7, 5, 7
DONE = 2
FP32 = 11
VERSION = {"model": "m", "number": 1, "format": "fake", "check": 0, "revision": 1}
DEPLOYMENT = {"model": "m", "version": 1, "revision": 1, "changed_ms": 1}
CHANGES = ({"versions": [VERSION]}, {"deployments": [DEPLOYMENT]})  # numbers 6 and 7
PLACE = {"catalog_seq": AFTER, "catalog_history": HISTORY}
JOB = {"id": "t1", "model": "m", "dataset": "d", "state": DONE, "version": 1, **PLACE}
ROLLOUT = {"model": "m", "version": 1, "steps": [10000], "state": 1, **PLACE}


class Registry(PlayedRegistry):
    """Tells of a version and its deployment LATE_S after it was first asked for who has made them."""

    def __init__(self, home):
        super().__init__(home)
        self.due = None
        self.late_s = LATE_S
        self.seq = BEFORE
        self.start()

    def tell(self):
        if self.due and time.monotonic() > self.due and self.seq < AFTER:
            self.seq += 1
            yield {"seq": self.seq, "history": HISTORY, **CHANGES[self.seq - BEFORE - 1]}
        yield {"seq": self.seq, "history": HISTORY}

    def answer(self, kind, _):
        answers = {"TRAINING_GET": ("TRAINING", JOB), "TRAINING_LIST": ("TRAININGS", {"trainings": [JOB]}),
                   "ROLLOUT_GET": ("ROLLOUT", ROLLOUT), "REPORT": ("SUITE", {"processes": []})}  # fmt: skip
        if kind == "SNAPSHOT":
            known = {name: list(change[name]) for change in CHANGES[: self.seq - BEFORE] for name in change}
            return "CATALOG", {"seq": self.seq, "history": HISTORY, **known}
        if kind != "REPORT" and not self.due:
            self.due = time.monotonic() + self.late_s
        return answers.get(kind, ("DONE", {}))


@pytest.fixture
def rig():
    r = GatewayRig(Registry)
    eventually(lambda: r.api.request("GET", "/api/models")[0] == 200, PATIENCE, "no catalog")
    yield r
    r.finish()


@pytest.mark.parametrize("path", ["/api/training/t1", "/api/training", "/api/training/t1/events", "/api/models/m/rollout"])
def test_what_an_answer_tells_of_is_there(rig, path):
    status, _, told = rig.api.request("GET", path)
    assert status == 200 and ("done" in str(told)), told
    assert rig.api.get("/api/models/m")["deployment"]["version"] == "1"


def test_news_that_never_comes_does_not_hold_an_answer_for_ever(rig):
    rig.registry.late_s = 3600
    begun = time.monotonic()
    assert rig.api.get("/api/training/t1")["state"] == "done"
    assert 1 < time.monotonic() - begun < PATIENCE / 2
    assert rig.api.request("GET", "/api/models/m")[0] == 404


def test_who_leaves_meanwhile_is_forgotten(rig):
    rig.registry.late_s = 1
    for path in ("/api/training/t1", "/api/training/t1/events"):
        rig.api.connection.request("GET", path)
        eventually(lambda: rig.registry.due, PATIENCE, "it is not asked for")
        rig.api.close()
    assert rig.api.get("/api/training")["training"][0]["state"] == "done"
    assert rig.api.get("/api/models/m")["deployment"]["version"] == "1"


def test_who_serves_shows_its_inputs(rig):
    """An engine is here before the report of its version's check."""
    rig.api.get("/api/training/t1")
    tensor = lambda name: {"name": name, "datatype": FP32, "shape": [-1, 2]}
    engine = zmq.Context.instance().socket(zmq.DEALER)
    engine.linger = 0
    engine.connect(f"ipc://{rig.home}/jobs.sock")
    engine.send(encode("HELLO", 0, {"engine": "e1", "model": "m", "version": 1, "inputs": [tensor("x")],
                                    "outputs": [tensor("y")], "max_batch": 8, "credit": 1}))  # fmt: skip
    assert engine.poll(PATIENCE * 1000)
    shown = rig.api.get("/api/models/m")
    assert shown["deployment"]["serving"] == "1" and shown["versions"][0]["check"] == "pending"
    assert shown["versions"][0]["state"] == "ready" and shown["versions"][0]["batchable"]
    for path in ("/v2/models/m", "/v2/models/m/versions/1", "/api/models/m/versions/1"):
        answer = rig.api.get(path)
        assert answer["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}], (path, answer)
        assert answer["outputs"][0]["name"] == "y"
    config = rig.api.get("/v2/models/m/config")
    assert config["max_batch_size"] == 8 and config["input"][0]["dims"] == [2]
    engine.close()
