"""Which engines a worker runs: instances, threads, memory."""

import os
import threading

from peer import eventually
from test_worker import PATIENCE, READY, gone, rig, row  # noqa: F401


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
