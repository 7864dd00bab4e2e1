"""An upload's commit when the registry cannot decide it: a gateway, and a registry that is played."""

import contextlib
import hashlib
import socket
import time

import pytest

from api import Api
from peer import eventually, statuses
from played import SILENCE, GatewayRig, PlayedRegistry

PATIENCE = 60
NUMBER = {name: number for number, name in statuses().items()}
WEIGHTS = b"weights" * 300_000  # three chunks


class Registry(PlayedRegistry):
    """Answers VERSION_COMMIT with what `plan` says, then with the version."""

    def __init__(self, home):
        super().__init__(home)
        self.plan = []
        self.reports = 0  # one comes each second
        self.commits = []  # (time, body) of each
        self.start()

    def answer(self, kind, body):
        if kind == "SNAPSHOT":
            return "CATALOG", {"seq": 0}
        if kind == "REPORT":
            self.reports += 1
            return "SUITE", {"processes": []}
        if kind in ("VERSION_COMMIT", "FILE_COMMIT"):
            self.commits.append((time.monotonic(), body))
            word = self.plan.pop(0) if self.plan else "OK"
            if word == SILENCE:
                return SILENCE
            if word != "OK":
                return "FAILURE", {"status": NUMBER[word], "text": f"the word is {word}"}
            if kind == "VERSION_COMMIT":
                return "VERSION", {"model": body["model"], "number": 1, "digest": body["digest"]}
        return "DONE", {}


class Rig(GatewayRig):
    def upload(self, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.api.request("POST", "/api/models/m/versions?format=fake", WEIGHTS, headers)


@pytest.fixture
def rig():
    r = Rig(Registry)
    yield r
    r.finish()


@pytest.mark.parametrize("word", ["UNAVAILABLE", "BUSY", "TIMEOUT", SILENCE])
def test_commit_is_sent_again_until_it_is_decided(rig, word):
    rig.registry.plan = [word] * (1 if word == SILENCE else 4)
    status, _, answer = rig.upload()
    assert (status, answer["version"]) == (201, "1")
    bodies = [body for _, body in rig.registry.commits]
    assert all(body == bodies[0] for body in bodies) and bodies[0]["key"]
    assert bodies[0]["digest"] == hashlib.sha256(WEIGHTS).digest()
    assert len(bodies[0]["chunks"]) == 3 * 32
    if word != SILENCE:
        assert len(bodies) == 5
        times = [at for at, _ in rig.registry.commits]
        pauses = [after - before for before, after in zip(times, times[1:])]
        assert all(got > 0.09 * 2**i for i, got in enumerate(pauses)), pauses


def test_uploads_at_a_time_are_bounded(rig):
    head = b"POST /api/models/m/versions?format=fake HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(rig.address)) for _ in range(32)]
        for s in slow:
            s.sendall(head)
        one_more = eventually(lambda: refused(rig), PATIENCE, "33 uploads are taken")
        assert "32 files are being uploaded" in one_more["error"]
        slow[0].close()
        eventually(lambda: rig.upload()[0] == 201, PATIENCE, "an upload that has gone still counts")


def refused(rig):
    status, headers, answer = rig.upload()
    return answer if status == 503 and headers["Retry-After"] else None


def test_each_upload_has_its_own_key(rig):
    rig.upload()
    rig.upload()
    first, second = (body["key"] for _, body in rig.registry.commits)
    assert first != second


def test_key_is_the_clients_if_there_is_one(rig):
    for sent in ("abc-1", '"abc-1"'):
        assert rig.upload(Idempotency_Key=sent)[0] == 201
    assert [body["key"] for _, body in rig.registry.commits] == ["c-abc-1"] * 2
    for bad, word in (("a b", "0x20"), ('""', "empty"), ("x" * 200, "more than 103"), ("a:b", "0x3a")):
        status, _, answer = rig.upload(Idempotency_Key=bad)
        assert status == 400 and "Idempotency-Key" in answer["error"] and word in answer["error"]
    assert len(rig.registry.commits) == 2


def test_what_is_sent_twice_with_a_key_is_done_once(suite):
    def post(path, body, key):
        status, _, answer = suite.api.request("POST", path, body, {"Idempotency-Key": key})
        return status, answer.get("version") or answer.get("id") or answer["error"]

    path = "/api/models/m/versions?format=fake"
    assert post(path, WEIGHTS, "k1") == post(path, WEIGHTS, "k1") == (201, "1")
    assert post(path, WEIGHTS, "k2") == (201, "2")
    status, text = post(path, b"other weights", "k1")
    assert status == 409 and "version 1" in text
    assert post(path.replace("/m/", "/n/"), WEIGHTS, "k1")[0] == 409
    assert len(suite.api.get("/api/models/m")["versions"]) == 2
    suite.api.call("PUT", "/api/datasets/d/files/a.csv", b"a,b\n1,2\n")
    job = {"model": "m", "dataset": "d", "target": "b"}
    assert post("/api/training", job, "k1") == post("/api/training", job, "k1") == (202, "t1")
    assert post("/api/training", {**job, "seed": 2}, "k1")[0] == 409
    assert post("/api/training", job, "k2") == (202, "t2")
    assert len(suite.api.get("/api/training")["training"]) == 2


@pytest.mark.parametrize("word", ["CONFLICT", "INVALID", "FULL", "INTERNAL"])
def test_what_is_decided_is_not_asked_again(rig, word):
    rig.registry.plan = [word] * 2
    status, _, answer = rig.upload()
    assert status == {"CONFLICT": 409, "INVALID": 400, "FULL": 507, "INTERNAL": 500}[word]
    assert answer["error"] == f"the word is {word}"
    assert len(rig.registry.commits) == 1


def test_tries_end_at_the_deadline_of_the_client(rig):
    rig.registry.plan = ["UNAVAILABLE"] * 100
    status, headers, answer = rig.upload(X_Request_Timeout_Ms="1000")
    assert status == 503 and headers["Retry-After"]
    assert answer["error"] == "the word is UNAVAILABLE"
    tries = len(rig.registry.commits)
    assert 2 <= tries <= 4  # after 0, 100, 300 and 700 ms
    rig.registry.plan = [SILENCE] * 100
    assert rig.upload(X_Request_Timeout_Ms="500")[0] == 504
    assert rig.upload(X_Request_Timeout_Ms="soon")[0] == 400


def test_client_that_leaves_ends_the_tries(rig):
    rig.registry.plan = ["UNAVAILABLE"] * 1000
    client = rig.api.connection
    client.request("POST", "/api/models/m/versions?format=fake", WEIGHTS)
    eventually(lambda: rig.registry.commits, PATIENCE, "no commit")
    client.close()
    with contextlib.closing(Api("127.0.0.1", int(rig.port()))) as later:
        assert later.request("GET", "/api/models/m")[0] == 404
    commits, seconds = len(rig.registry.commits), rig.registry.reports
    eventually(lambda: rig.registry.reports >= seconds + 4, PATIENCE, "no reports")
    assert len(rig.registry.commits) <= commits + 1  # one may have been on its way


def test_file_of_a_dataset_is_sent_again_too(rig):
    rig.registry.plan = ["UNAVAILABLE"]
    assert rig.api.request("PUT", "/api/datasets/d/files/a.csv", b"a,b\n1,2\n")[0] == 201
    assert len(rig.registry.commits) == 2
