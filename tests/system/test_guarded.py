"""Guarded rollouts over HTTP: requests from several threads, and versions that are worse than they look."""

import threading
import time

import pytest

from api import ApiError
from conftest import PATIENCE
from peer import eventually

ROW = {"model": "m", "inputs": [[0, 7]]}
NAMED = {"model": "m", "inputs": {"x": [[0, 7]]}}
PATH = "/api/models/m/rollout"
HOLD = 2
ENOUGH = 600  # requests in a hold, also on a slow machine


class Load:
    """Requests from several threads, each on its connection, until it ends."""

    def __init__(self, *clients, row=None):
        self.row = row or ROW
        self.answers = []  # (status, version or None, seconds)
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._ask, args=(client,)) for client in clients]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def _ask(self, client):
        while not self.stop.is_set():
            begun = time.monotonic()
            status, _, answer = client.request("POST", "/predict", self.row)
            self.answers.append((status, answer.get("version"), time.monotonic() - begun))

    def failed(self):
        return [a for a in self.answers if a[0] != 200]


def rollout(suite, version, steps=(1, 10, 50, 100), hold_s=HOLD, **abort_if):
    body = {"version": str(version), "steps": list(steps), "hold_s": hold_s, "abort_if": abort_if or {"error_rate": 0.01}}
    return suite.api.call("POST", PATH, body, {"X-User": "ada"})["rollout"]


def state(suite):
    return suite.api.get(PATH)["rollout"]


def ended(suite, seconds=PATIENCE):
    return eventually(lambda: (r := state(suite))["state"] != "running" and r, seconds, "it does not end")


def traffic(suite):
    shown = suite.api.get("/api/models/m/deployment")["deployment"]["traffic"]
    return [(t["version"], t["weight"]) for t in shown]


@pytest.fixture
def fakes(fake_suite):
    fake_suite.upload("m", b"fake\n", "fake")
    fake_suite.deploy("m", 1)
    return fake_suite


def test_rollout_under_load_through_all_steps(fakes):
    """Two gateways; the registry is killed in the middle of a hold."""
    fakes.upload("m", b"fake load=300\n", "fake")
    other = fakes.second_gateway()
    eventually(lambda: other.request("POST", "/predict", ROW)[0] == 200, PATIENCE, "the other gateway has no engine")
    with Load(fakes.client(), other, fakes.client()) as load:
        begun = rollout(fakes, 2, (1, 50, 100), 0.8, error_rate=0.01, p99_ms=5000)
        assert (begun["state"], begun["step"], begun["weight"], begun["who"]) == ("running", 1, 1, "ada")
        eventually(lambda: state(fakes)["held_s"] > 0.2, PATIENCE, "no hold")
        fakes.processes["registry"].kill()
        fakes.processes["registry"].start()
        eventually(lambda: fakes.api.request("GET", PATH)[0] == 200, PATIENCE, "no registry")
        seen = set()
        eventually(lambda: seen.add((r := state(fakes))["weight"]) or r["state"] == "done", PATIENCE, "it does not end")
        assert seen == {1, 50, 100}
    assert not load.failed() and len(load.answers) > 100
    assert {version for _, version, _ in load.answers} == {"1", "2"}
    assert traffic(fakes) == [("2", 100)]
    told = fakes.api.get("/api/models/m/history")["history"]
    assert [e["what"] for e in told[:4]] == ["rollout end", "rollout step", "rollout step", "rollout begin"]
    last = told[0]["to"]["rollout"]
    assert last["requests"] > 0 and (last["errors"], last["weight"], last["state"]) == (0, 100, "done")
    eventually(lambda: len(fakes.engine_pids()) == 1, PATIENCE, "the old engine stays")


def test_bad_versions_go_back_by_themselves(fakes):
    """Errors, then slow, then crashes: each within one hold, and of all requests at most 1 % are touched."""
    for data, word, bad in (
        (b"fake broken\n", "requests failed", lambda status, version, seconds: status >= 500),
        (b"fake slow=300\n", "longer than 100 ms", lambda status, version, seconds: version not in ("1", None)),
        (b"fake fatal\n", "requests failed", lambda status, version, seconds: status >= 500),
    ):
        version = fakes.upload("m", data, "fake")["version"]
        with Load(*(fakes.client() for _ in range(4))) as load:
            begun = time.monotonic()
            rollout(fakes, version, error_rate=0.01, p99_ms=100)
            r = ended(fakes)
            took = time.monotonic() - begun
            assert r["state"] == "aborted" and r["step"] <= 2 and word in r["reason"], r
            rest = lambda: time.monotonic() - begun > HOLD and len(load.answers) > ENOUGH
            eventually(rest, PATIENCE, "too few requests")
        assert took < HOLD + 1, took
        touched = sum(bad(*answer) for answer in load.answers)
        print(f"{word}: {touched} of {len(load.answers)} requests, {took:.2f} s, {r['measured']}")
        assert touched <= 0.01 * len(load.answers), (touched, len(load.answers), r)
        assert all(v in ("1", version, None) for _, v, _ in load.answers) and traffic(fakes) == [("1", 100)]
        entry = fakes.api.get("/api/models/m/history?limit=1")["history"][0]
        assert (entry["what"], entry["who"]) == ("rollout abort", "rollout")
        assert word in entry["to"]["rollout"]["reason"]


def test_a_version_with_other_inputs_goes_back(fakes):
    """Also where it gets all requests at once; and one that refuses what its inputs allow."""
    for data, steps, word in (
        (b"fake input=z\n", (50, 100), "requests failed"),
        (b"fake input=z\n", (100,), "requests failed"),
        (b"fake refusing\n", (50, 100), "refused by the model"),
    ):
        version = fakes.upload("m", data, "fake")["version"]
        with Load(fakes.client(), fakes.client(), row=NAMED) as load:
            eventually(lambda: len(load.answers) > 10, PATIENCE, "no answers")
            rollout(fakes, version, steps, 600, error_rate=0.01)
            r = ended(fakes)
        assert r["state"] == "aborted" and word in r["reason"] and r["step"] == 1, r
        assert traffic(fakes) == [("1", 100)]
        assert {a[0] for a in load.answers} == {200, 400}


def test_who_sends_what_no_version_takes_ends_nothing(fakes):
    fakes.upload("m", b"fake input=z add=0\n", "fake")
    other_names = {"model": "m", "inputs": {"x": [["a", "b"]]}}
    refused = {"model": "m", "inputs": [[4, 7]]}
    with Load(fakes.client(), row=other_names) as a, Load(fakes.client(), row=refused) as b, Load(fakes.client()) as good:
        rollout(fakes, 2, (50, 100), 0.5, error_rate=0.01)
        r = ended(fakes)
    assert r["state"] == "done", r
    assert {answer[0] for answer in a.answers + b.answers} == {400} and not good.failed()


def test_a_person_ends_it_and_old_engines_wait_for_that(fakes):
    fakes.upload("m", b"fake\n", "fake")
    rollout(fakes, 2, (100,), 600)
    eventually(lambda: fakes.serving("m") == "2" and state(fakes)["held_s"] > 0.5, PATIENCE, "not serving")
    eventually(lambda: len(fakes.engine_pids()) == 2, PATIENCE, "not both")
    with Load(fakes.client()) as load:
        eventually(lambda: len(load.answers) > 20, PATIENCE, "no answers")
        r = fakes.api.call("DELETE", PATH, headers={"X-User": "bob"})["rollout"]
        assert (r["state"], r["reason"]) == ("aborted", "aborted by bob") and r["ended"]
        mark = eventually(lambda: fakes.serving("m") == "1" and len(load.answers), PATIENCE, "not back")
        eventually(lambda: len(load.answers) > mark + 20, PATIENCE, "no answers")
    assert not load.failed() and load.answers[-1][1] == "1"
    assert traffic(fakes) == [("1", 100)]


def test_a_version_without_engine_takes_nothing(fakes):
    """It was loaded once, for its check."""
    fakes.upload("m", b"fake unless=run/no\n", "fake")
    with open(f"{fakes.data}/run/no", "w", encoding="ascii"), Load(fakes.client()) as load:
        rollout(fakes, 2, (50, 100), 1)
        r = ended(fakes)
    assert r["state"] == "aborted" and "must not be loaded now" in r["reason"], r
    assert r["held_s"] == 0 and r["measured"]["requests"] == 0
    assert {a[:2] for a in load.answers} == {(200, "1")} and traffic(fakes) == [("1", 100)]


def test_what_is_wrong_is_refused(fakes):
    fakes.upload("m", b"fake\n", "fake")
    fakes.api.call("PUT", "/api/models/m/aliases/next", {"version": "2"})
    good = {"version": "next", "steps": [1, 100], "hold_s": 60, "abort_if": {"error_rate": 0.01}}
    for change, word in (
        ({"version": "9"}, "version 9"), ({"version": None}, "version"), ({"version": "nobody"}, "nobody"),
        ({"steps": [1, 50]}, "last step"), ({"steps": [50, 1, 100]}, "rise"), ({"steps": []}, "steps"),
        ({"steps": [0.001, 100]}, "0.01"), ({"steps": [1, 101]}, "percentage"), ({"steps": [1] * 40}, "32"),
        ({"steps": "1,100"}, "steps"), ({"hold_s": 0.1}, "hold_s"), ({"hold_s": 1e9}, "hold_s"),
        ({"hold_s": None}, "hold_s"), ({"abort_if": {}}, "abort_if"), ({"abort_if": {"p95_ms": 3}}, "p95_ms"),
        ({"abort_if": {"error_rate": 1.01}}, "error_rate"), ({"abort_if": {"p99_ms": 0}}, "p99_ms"), ({"colour": 1}, "colour"),
    ):  # fmt: skip
        status, _, answer = fakes.api.request("POST", PATH, {**good, **change})
        assert status == 400 and word in answer["error"], (change, status, answer)
    assert fakes.api.request("GET", PATH)[0] == 404 and fakes.api.request("DELETE", PATH)[0] == 404
    assert traffic(fakes) == [("1", 100)]
    assert fakes.api.call("POST", PATH, good)["rollout"]["version"] == "2"
    for method, path, body in (
        ("PUT", "/api/models/m/deployment", {"version": "1"}), ("POST", "/api/models/m/rollback", None),
        ("POST", PATH, {**good, "version": "1"}), ("DELETE", "/api/models/m/versions/2", None),
    ):  # fmt: skip
        with pytest.raises(ApiError, match="409: .*rollout"):
            fakes.api.call(method, path, body)
    shown = fakes.api.get("/api/models/m/deployment")["deployment"]
    assert shown["rollout"] == "2" and traffic(fakes) == [("1", 99), ("2", 1)]
