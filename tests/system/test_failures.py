"""Processes die; clients do not notice."""

import http.client
import itertools
import json
import os
import re
import signal
import subprocess
import threading

import networks


class Load:
    """Clients that ask all the time and check every answer."""

    def __init__(self, suite, clients, factor=2):
        self.suite = suite
        self.factor = factor
        self.stop = threading.Event()
        self.answered = [0] * clients
        self.wrong = []
        self.threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(clients)]
        for thread in self.threads:
            thread.start()

    def _ask(self, me):
        client = self.suite.client()
        number = 0
        while not self.stop.is_set():
            number += 1
            row = [me, number]
            try:
                status, _, answer = client.request("POST", "/predict", {"inputs": [row]})
            except OSError as error:
                self.wrong.append(f"{row}: {error}")
                return
            expected = [[self.factor * me, self.factor * number]]
            if status != 200 or answer["outputs"] != expected:
                self.wrong.append(f"{row}: {status} {answer}")
            self.answered[me] += 1

    def more(self, count=20):
        """Waits until each client has had `count` more answers."""
        goal = [n + count for n in self.answered]
        self.suite.eventually(
            lambda: self.wrong or all(a >= g for a, g in zip(self.answered, goal)),
            60,
            "the answers stopped",
        )

    def finish(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert self.wrong == []


def serving_suite(make_suite, **options):
    suite = make_suite(workers=2, **options)
    suite.upload("m", networks.times(2))
    suite.deploy("m", 1)
    suite.eventually(lambda: len(suite.engine_pids()) == 2, 60, "two engines")
    return suite


def test_engines_die_under_load(make_suite):
    suite = serving_suite(make_suite)
    load = Load(suite, 8)
    for _ in range(4):
        load.more()
        before = suite.engine_pids()
        os.kill(before[0], signal.SIGKILL)
        suite.eventually(
            lambda b=before: len(suite.engine_pids()) == 2 and b[0] not in suite.engine_pids(),
            60,
            "the engine did not come back",
        )
    load.more()
    load.finish()


def test_hosts_die_under_load(make_suite):
    suite = serving_suite(make_suite)
    load = Load(suite, 8)
    for name in ("worker-1", "worker-2", "worker-1"):
        load.more()
        suite.processes[name].kill()
        load.more()
        suite.processes[name].start()
        suite.eventually(lambda: len(suite.engine_pids()) == 2, 60, "two engines")
    load.more()
    load.finish()


def test_registry_and_redis_die_under_load(make_suite):
    suite = serving_suite(make_suite)
    load = Load(suite, 8)
    for name in ("registry", "redis", "registry", "redis"):
        load.more()
        suite.processes[name].kill()
        load.more()
        suite.processes[name].start()
        load.more()
    load.finish()
    suite.eventually(
        lambda: suite.api.request("GET", "/api/datasets")[0] == 200, 60, "the registry is not back"
    )
    suite.upload("m", networks.times(3))
    suite.deploy("m", 2)


def test_everything_dies_and_nothing_is_lost(suite):
    suite.upload("m", networks.times(2))
    suite.upload("m", networks.times(3))
    suite.deploy("m", 2)
    for process in suite.processes.values():
        process.kill()
    for process in suite.processes.values():
        process.start()

    def back():
        try:
            return suite.api.call("POST", "/predict", {"inputs": [[1, 2]]})["outputs"] == [[3, 6]]
        except Exception:  # not up yet
            return False

    suite.eventually(back, 60, "the suite did not come back")
    assert [v["version"] for v in suite.api.get("/api/models/m")["versions"]] == ["1", "2"]


def test_poisonous_request_is_named_and_the_others_live(make_suite):
    suite = make_suite(workers=2, options={"worker": ["--allow-fake"]})
    suite.upload("f", b"fake\n", "fake")
    suite.deploy("f", 1)
    abort = {"inputs": [[2, 0]]}
    status, headers, answer = suite.api.request("POST", "/predict", abort)
    assert status == 422 and headers["x-should-retry"] == "false", answer
    assert suite.api.call("POST", "/predict", {"inputs": [[0, 7]]})["outputs"] == [[0, 7]]


def test_engines_that_die_together_accuse_nobody(fake_suite):
    suite = fake_suite
    for model in ("busy", "idle"):
        suite.upload(model, b"fake\n", "fake")
        suite.deploy(model, 1)
    answer = []
    body = {"model": "busy", "inputs": [[1, 3000]]}
    client = suite.client()
    asking = threading.Thread(target=lambda: answer.append(client.request("POST", "/predict", body)))
    asking.start()
    for sent in (1, 2):
        suite.eventually(lambda n=sent: suite.metric("maas_gateway_jobs_total") == n, 60, "no job")
        suite.eventually(lambda: suite.serving("busy") and suite.serving("idle"), 60, "no engine")
        before = suite.eventually(lambda: (p := suite.engine_pids())[1:] and p, 60, "two engines")
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        suite.eventually(lambda b=before: not set(b) & set(suite.engine_pids()), 60, "not seen")
    asking.join()
    assert answer[0][0] == 200, answer


def test_a_poisonous_request_at_another_gateway_condemns_nobody_here(fake_suite):
    suite = fake_suite
    other = suite.second_gateway()
    suite.upload("f", b"fake\n", "fake")
    suite.deploy("f", 1)
    suite.eventually(lambda: other.request("GET", "/readyz?model=f")[0] == 200, 60, "not ready")
    for _ in range(3):
        answers = []

        def ask(client, row, answers=answers):
            body = {"model": "f", "inputs": [row]}
            answers.append((row, client.request("POST", "/predict", body)[0]))

        jobs = suite.metric("maas_gateway_jobs_total")
        asking = [threading.Thread(target=ask, args=(suite.client(), [1, 300]))]
        asking[0].start()
        suite.eventually(lambda n=jobs: suite.metric("maas_gateway_jobs_total") > n, 60, "no job")
        # Both wait for the same engine now; the poisonous one is there first.
        asking += [threading.Thread(target=ask, args=(other, [2, 0]))]
        asking += [threading.Thread(target=ask, args=(suite.client(), [0, 7]))]
        for thread in asking[1:]:
            thread.start()
        for thread in asking:
            thread.join()
        assert sorted(answers) == [([0, 7], 200), ([1, 300], 200), ([2, 0], 422)]


def test_one_bad_request_does_not_spoil_a_batch(fake_suite):
    suite = fake_suite
    suite.upload("f", b"fake\n", "fake")
    suite.deploy("f", 1)
    results = {}

    def ask(name, row):
        results[name] = suite.client().request("POST", "/predict", {"inputs": [row]})

    # While the engine is busy with the first, the others gather to one batch.
    threads = [threading.Thread(target=ask, args=("busy", [1, 300]))]
    threads[0].start()
    for i in range(6):
        threads.append(threading.Thread(target=ask, args=(i, [4 if i == 3 else 0, i])))
        threads[-1].start()
    for thread in threads:
        thread.join()
    for i in range(6):
        status, _, answer = results[i]
        if i == 3:
            assert status == 400 and "told to fail" in answer["error"]
        else:
            assert status == 200 and answer["outputs"] == [[0, i]]


def test_sigterm_drains_every_process(make_suite):
    suite = serving_suite(make_suite)
    statuses = suite.stop()
    assert statuses == {name: 0 for name in statuses}, statuses
    for process in suite.processes.values():
        assert not process.alive()


WRK_SECONDS = 60 if os.environ.get("MAAS_FULL") else 15
WRK_SCRIPT = """
wrk.method = "POST"
wrk.body = '{"inputs":[[1,2]]}'
bad = 0
local mine
function setup(thread) mine = thread end
function response(status, headers, body)
  if status ~= 200 or body ~= '{"outputs":[[2,4]],"model":"m","version":"1"}' then bad = bad + 1 end
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("COUNT %d bad %d errors %d\\n", summary.requests, mine:get("bad"),
    e.connect + e.read + e.write + e.timeout + e.status))
end
"""


def kill_an_engine(suite):
    """Its pid, or None: those that are told of have ended already."""
    for pid in suite.engine_pids():
        try:
            os.kill(pid, signal.SIGKILL)
            return pid
        except ProcessLookupError:
            pass
    return None


def kill_something(suite, what):
    """One SIGKILL, and the wait until the suite is whole again."""
    if what == "engine":
        victim = suite.eventually(lambda: kill_an_engine(suite), 60, "an engine")
        suite.eventually(
            lambda: len(suite.engine_pids()) == 2 and victim not in suite.engine_pids(),
            60,
            "the engine did not come back",
        )
        return
    suite.processes[what].kill()
    suite.processes[what].start()
    suite.eventually(
        lambda: suite.api.request("GET", "/api/datasets")[0] == 200, 60, f"{what} is not back"
    )
    suite.eventually(lambda: len(suite.engine_pids()) == 2, 60, "two engines")


def test_wrk_sees_nothing_of_all_the_killing(make_suite, tmp_path):
    suite = serving_suite(make_suite)
    script = tmp_path / "post.lua"
    script.write_text(WRK_SCRIPT, encoding="ascii")
    wrk = subprocess.Popen(
        ["wrk", "-t1", "-c32", f"-d{WRK_SECONDS}s", "--timeout", "30s", "-s", str(script),
         suite.url + "/predict"],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    kills = 0
    for what in itertools.cycle(["engine", "worker-1", "registry", "redis", "worker-2"]):
        if wrk.poll() is not None:
            break
        kill_something(suite, what)
        kills += 1
    out = wrk.communicate()[0].decode()
    requests, bad, errors = map(int, re.search(r"COUNT (\d+) bad (\d+) errors (\d+)", out).groups())
    assert kills >= 4 and requests > 1000
    assert bad == 0 and errors == 0, out


def test_run_without_end_is_stopped_at_its_deadline(make_suite):
    """The only engine is free again soon after nobody waits for its answer."""
    suite = make_suite(workers=1)
    suite.upload("loop", networks.countdown())
    suite.deploy("loop", 1)
    path = "/v2/models/loop/infer"

    def ask(turns, **more):
        tensor = {"name": "x", "datatype": "INT64", "shape": [1], "data": [turns]}
        return suite.api.request("POST", path, {"inputs": [tensor], **more})

    pid = suite.eventually(suite.engine_pids, 20, "the engine is not reported")
    assert ask(10**15, parameters={"timeout": 300000})[0] == 504
    status, _, answer = ask(3)
    assert (status, answer["outputs"][0]["data"]) == (200, [3])
    assert suite.engine_pids() == pid  # by the same process


def test_a_run_that_heeds_nothing_ends_with_its_engine(make_suite):
    suite = make_suite(workers=1, options={"worker": ["--allow-fake"]})
    suite.upload("f", b"fake\n", "fake")
    suite.deploy("f", 1)
    pids = suite.eventually(suite.engine_pids, 20, "the engine is not reported")
    headers = {"X-Request-Timeout-Ms": "200"}
    status, _, answer = suite.api.request("POST", "/predict", {"inputs": [[7, 60000]]}, headers)
    assert status == 504, answer
    status, _, answer = suite.api.request("POST", "/predict", {"inputs": [[0, 5]]})
    assert status == 200 and answer["outputs"] == [[0, 5]], answer
    suite.eventually(lambda: suite.engine_pids() not in ([], pids), 20, "the same engine")


def test_sigterm_under_traffic_fails_no_request(fake_suite):
    """Connections that are kept are served until they are told of the end."""
    suite, body = fake_suite, json.dumps({"inputs": [[0, 1]]})
    suite.upload("f", b"fake\n", "fake")
    suite.deploy("f", 1)
    counts, told, wrong = [0] * 8, [], []

    def client(number):
        connection = http.client.HTTPConnection("127.0.0.1", suite.port, timeout=30)
        try:
            while number not in told:
                connection.request("POST", "/predict", body)
                answer = connection.getresponse()
                assert (answer.status, answer.read()[:20]) == (200, b'{"outputs":[[0,1]],"')
                counts[number] += 1
                if answer.getheader("connection") == "close":
                    told.append(number)
        except (AssertionError, OSError, http.client.HTTPException) as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(len(counts))]
    for thread in threads:
        thread.start()
    suite.eventually(lambda: min(counts) > 20 or wrong, 20, "no traffic")
    assert suite.processes["gateway"].stop() == 0
    for thread in threads:
        thread.join()
    assert not wrong and len(told) == len(counts)
