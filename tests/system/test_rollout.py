"""Deployments of several versions over HTTP: shares, sticky keys, switching, pools, shadows, rollback."""

import json
import os
import socket
import subprocess

import pytest

from conftest import PATIENCE
from suite import Process

FULL = bool(os.environ.get("MAAS_FULL"))
REQUESTS = 100_000 if FULL else 2_000
PIPELINED = 50
BODY = b'{"inputs":[[0,1]],"model":"m"}'
MASK = (1 << 64) - 1


def fnv(h, text):
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001B3 & MASK
    return h


def split_hash(model, key):
    """As split.h says."""
    h = fnv(fnv(0xCBF29CE484222325, model) * 0x100000001B3 & MASK, key)
    h = (h ^ h >> 33) * 0xFF51AFD7ED558CCD & MASK
    h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53 & MASK
    return h ^ h >> 33


def traffic(*pairs):
    return [{"version": str(v), "weight": w} for v, w in pairs]


def deploy(suite, *pairs, **more):
    """Deploys, and waits until an engine of each version is there."""
    path = "/api/models/m/deployment"
    answer = suite.api.call("PUT", path, {"traffic": traffic(*pairs), **more})["deployment"]
    ready = lambda d: all(t["engines"] >= t["wanted"] > 0 for t in d["traffic"] + d["shadow"])
    suite.eventually(lambda: ready(suite.api.get(path)["deployment"]), PATIENCE, "not all are ready")
    return answer


def answers(port, headers):
    """The versions that answer, one for each dict of header fields, over one connection."""
    got, data = [], b""
    with socket.create_connection(("127.0.0.1", port)) as s:
        for i in range(0, len(headers), PIPELINED):
            part = headers[i : i + PIPELINED]
            for fields in part:
                lines = "".join(f"{k}: {v}\r\n" for k, v in fields.items())
                head = f"POST /predict HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {len(BODY)}\r\n\r\n"
                s.sendall(head.encode() + BODY)
            while len(got) < i + len(part):
                head, end, rest = data.partition(b"\r\n\r\n")
                length = end and int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                if not end or len(rest) < length:
                    data += s.recv(65536)
                    continue
                assert head.startswith(b"HTTP/1.1 200"), head + rest
                got.append(json.loads(rest[:length])["version"])
                data = rest[length:]
    return got


@pytest.fixture
def three(fake_suite):
    """Three versions of m that are the same but for their number."""
    for _ in range(3):
        fake_suite.upload("m", b"fake\n", "fake")
    return fake_suite


def test_canary_gets_its_share(three):
    deploy(three, (1, 95), (2, 5))
    ids = [f"request-{i}" for i in range(REQUESTS)]
    got = answers(three.port, [{"X-Request-Id": i} for i in ids])
    assert got == ["2" if split_hash("m", i) % 10000 >= 9500 else "1" for i in ids]
    if FULL:
        assert abs(100 * got.count("2") / REQUESTS - 5) <= 0.2
        own = answers(three.port, [{}] * REQUESTS)  # the gateway's own ids are spread as well
        assert abs(100 * own.count("2") / REQUESTS - 5) <= 0.2
    shown = three.api.get("/api/models/m/deployment")["deployment"]["traffic"]
    assert [(t["version"], t["weight"]) for t in shown] == [("1", 95), ("2", 5)]
    assert sum(t["requests"] for t in shown) >= min(REQUESTS, 2000)
    assert abs(shown[1]["share"] - 100 * got.count("2") / REQUESTS) < 0.3
    named = [{"version": "1", "weight": 33.33}, {"version": "2", "weight": 66.67}]
    assert three.api.call("PUT", "/api/models/m/deployment", {"traffic": named})["deployment"]["revision"] == 2


def test_a_sticky_key_stays_on_its_version(three):
    deploy(three, (1, 50), (2, 50), sticky="header:x-user-id")
    users = [f"user-{i}" for i in range(40)]
    asked = [{"x-UsEr-iD": user, "X-Request-Id": f"r{n}"} for n in range(10) for user in users]

    def by_user():
        seen = {user: set() for user in users}
        for fields, version in zip(asked, answers(three.port, asked)):
            seen[fields["x-UsEr-iD"]].add(version)
        assert all(len(versions) == 1 for versions in seen.values())
        return {user: versions.pop() for user, versions in seen.items()}

    before = by_user()
    assert set(before.values()) == {"1", "2"}
    deploy(three, (1, 25), (2, 75))
    after = by_user()
    assert all(after[user] == "2" for user in users if before[user] == "2")
    moved = [user for user in users if after[user] != before[user]]
    assert moved and len(moved) < 20
    without = answers(three.port, [{"X-Request-Id": f"r{n}"} for n in range(100)])
    assert set(without) == {"1", "2"}  # who has no key is split by the request's id


def test_weights_are_switched_under_load(make_suite, tmp_path):
    suite = make_suite(workers=2, options={"worker": ["--allow-fake"]})
    for _ in range(3):
        suite.upload("m", b"fake\n", "fake")
    deploy(suite, (1, 100))
    script = tmp_path / "load.lua"
    script.write_text(f"wrk.method = 'POST'\nwrk.body = '{BODY.decode()}'\n", encoding="ascii")
    argv = ["wrk", "-t1", "-c32", "-d60s", "-s", str(script), f"{suite.url}/predict"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as wrk:
        for pairs in (((1, 95), (2, 5)), ((1, 50), (2, 50)), ((3, 100),), ((1, 10), (2, 10), (3, 80)), ((2, 100),)):
            deploy(suite, *pairs)
            last = str(pairs[-1][0])
            suite.eventually(lambda v=last: suite.api.call("POST", "/predict", json.loads(BODY))["version"] == v,
                             PATIENCE, "it gets nothing")  # fmt: skip
        wrk.send_signal(2)  # it ends with its numbers
        text = wrk.communicate()[0]
    assert "Non-2xx" not in text and "Socket errors" not in text, text
    assert int(text.split(" requests in ")[0].split()[-1]) > 0, text
    requests = suite.api.get("/metrics").decode().splitlines()
    bad = [r for r in requests if r.startswith("maas_gateway_requests_total") and 'route="/predict"' in r]
    assert all('status="200"' in r for r in bad), bad


def test_a_version_that_is_not_warm_takes_nothing(three):
    deploy(three, (1, 100))
    slow = three.upload("m", b"fake load=1200\n", "fake")
    path = "/api/models/m/deployment"
    answer = three.api.call("PUT", path, {"traffic": traffic((1, 50), (slow["version"], 50))})
    assert [t["engines"] for t in answer["deployment"]["traffic"]] == [1, 0]
    headers = [{"X-Request-Id": f"r{n}"} for n in range(50)]
    assert set(answers(three.port, headers)) == {"1"}
    three.eventually(lambda: set(answers(three.port, headers)) == {"1", slow["version"]}, PATIENCE, "never warm")


def test_what_is_wrong_changes_nothing(three):
    three.api.call("POST", "/api/models/m/versions?format=fake", b"fake fail=broken\n")
    three.eventually(lambda: three.api.get("/api/models/m/versions/4")["check"] == "failed", PATIENCE, "no check")
    deploy(three, (1, 100))
    path = "/api/models/m/deployment"
    before = three.api.get(path)
    for body, status, word in (
        ({"traffic": traffic((1, 95), (2, 4))}, 400, "sum"),
        ({"traffic": traffic((1, 95), (9, 5))}, 400, "version 9"),
        ({"traffic": traffic((1, 95), ("nobody", 5))}, 400, "nobody"),
        ({"traffic": traffic((1, 95), (4, 5))}, 409, "broken"),
        ({"version": "1", "shadow": ["4"]}, 409, "broken"),
        ({"version": "1", "shadow": ["1"]}, 400, "shadow"),
        ({"version": "1", "colour": 1}, 400, "colour"),
        ({"version": "1", "sticky": "x-user"}, 400, "sticky"),
        ({"version": "1", "traffic": []}, 400, "exclude"),
    ):
        got, _, answer = three.api.request("PUT", path, body)
        assert got == status and word in answer["error"], (body, got, answer)
    assert three.api.get(path) == before


def test_shadows_have_engines_and_pools_their_own_workers(three):
    gold = Process(three, "worker-2", [*three.processes["worker-1"].argv, "--pool", "gold"])
    gold.argv[gold.argv.index("--cache") + 1] = "cache/worker-2"
    three.processes["worker-2"] = gold.start()
    deploy(three, (1, 100), shadow=["2", "3"], pool="gold", queue_max=77)
    shown = three.api.get("/api/models/m/deployment")["deployment"]
    assert [(s["version"], s["engines"], s["wanted"]) for s in shown["shadow"]] == [("2", 1, 1), ("3", 1, 1)]
    assert (shown["pool"], shown["queue_max"]) == ("gold", 77)
    by_host = {w["pool"]: [e["version"] for e in w["engines"]] for w in three.api.get("/api/workers")["workers"]}
    assert sorted(by_host["gold"]) == ["1", "2", "3"] and by_host["default"] == []
    assert set(answers(three.port, [{}] * 50)) == {"1"}
    deploy(three, (1, 100), pool="")  # back to the workers that name none; the engines move
    three.eventually(lambda: len(three.engine_pids()) == 3, PATIENCE, "the engines did not move")
    assert set(answers(three.port, [{}] * 20)) == {"1"}


def test_a_repeated_rollback_is_one(three):
    call = three.api.call
    for version in ("1", "2", "3"):
        call("PUT", "/api/models/m/deployment", {"version": version})
    key = {"Idempotency-Key": "once"}
    first = call("POST", "/api/models/m/rollback", headers=key)["deployment"]
    again = call("POST", "/api/models/m/rollback", headers=key)["deployment"]
    assert (first["version"], again["version"], again["revision"]) == ("2", "2", first["revision"])
    assert call("GET", "/api/models/m/deployment")["deployment"]["version"] == "2"
    other = call("POST", "/api/models/m/rollback", headers={"Idempotency-Key": "twice"})["deployment"]
    assert other["version"] == "3"
    assert call("POST", "/api/models/m/rollback", headers=key)["deployment"]["version"] == "2"  # as it was
    assert call("GET", "/api/models/m/deployment")["deployment"]["version"] == "3"
    status, _, answer = three.api.request("POST", "/api/models/n/rollback", headers=key)
    assert status == 409 and "model 'm'" in answer["error"]


def test_rollback_and_history_say_who(three):
    call = three.api.call
    for version in (1, 2):
        call("PUT", "/api/models/m/deployment", {"version": version, "instances": version}, {"X-User": "ada"})
    back = call("POST", "/api/models/m/rollback", headers={"X-User": "bob"})["deployment"]
    assert (back["version"], back["instances"], back["previous"]) == ("1", 1, "2")
    assert call("POST", "/api/models/m/rollback")["deployment"]["version"] == "2"
    first = three.api.get("/api/models/m/history?limit=4")
    assert [(e["what"], e["who"]) for e in first["history"]] == [
        ("rollback", "api"), ("rollback", "bob"), ("deploy", "ada"), ("deploy", "ada")]  # fmt: skip
    assert first["history"][0]["to"]["traffic"] == traffic((2, 100))
    assert first["history"][0]["from"]["version"] == "1" and first["history"][0]["when"]
    rest = three.api.get(f"/api/models/m/history?before={first['next']}")
    assert {e["what"] for e in rest["history"]} == {"register", "check"} and rest["next"] is None
    assert {e["who"] for e in rest["history"] if e["what"] == "register"} == {"api"}
    for path, status in (("x/history", 404), ("m/history?limit=0", 400), ("m/history?before=x", 400)):
        assert three.api.request("GET", f"/api/models/{path}")[0] == status
    assert three.api.request("POST", "/api/models/m/rollback", headers={"X-User": "no name"})[0] == 400


def test_idle_gateway_keeps_no_header_fields(three):
    """A sticky deployment is noticed by connections that were there before it, and so is its end."""
    client, body = three.client(), json.loads(BODY)
    ask = lambda user: client.call("POST", "/predict", body, {"X-User-Id": user})["version"]
    deploy(three, (1, 50), (2, 50))
    ask("ada")
    deploy(three, (1, 50), (2, 50), sticky="header:x-user-id")
    assert len({ask("ada") for _ in range(20)}) == 1
    deploy(three, (1, 50), (2, 50), sticky="")
    assert {ask("ada") for _ in range(60)} == {"1", "2"}


