"""More versions than memory: what a request for a version without an engine waits for."""

import os
import random
import subprocess
import sys
import tempfile
import time

import numpy as np

import networks
from cases import record
from lone_engine import lone_engine
from tools import ROW, WAIT_SECONDS, Bench, median

HERE = os.path.dirname(os.path.abspath(__file__))
VERSIONS = 1000
ROOM = 50  # engines
REQUESTS = 600
COLD_MS = 100  # beside the load of the model
COLD_WAIT_US = 5000  # who waits so long in an idle suite waits for an engine
LAYERS = [10, 50, 10]


def load_ms(data):
    """The model alone, in a process that has the runtime already."""
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(data)
        file.flush()
        out = subprocess.run([sys.executable, os.path.join(HERE, "load_peer.py"), file.name], check=True,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout  # fmt: skip
    return float(out.splitlines()[-1])


def memory_of_one(bin_dir, data):
    with Bench(bin_dir) as b:
        b.serve("net", data)
        b.api.call("POST", "/predict", {"inputs": [ROW]})
        return b.suite.eventually(
            lambda: sum(w["memory_bytes"] for w in b.api.get("/api/workers")["workers"]), WAIT_SECONDS, "no report"
        )


def engine_ms(bin_dir, data):
    """An engine's process alone, from its start until it says that it has loaded: what this machine needs now."""
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(data)
        file.flush()
        begin = time.monotonic()
        engine, ours = lone_engine(bin_dir, file.name, stderr=subprocess.DEVNULL)
        assert ours.recv(1), "the engine says nothing"
        ms = 1000 * (time.monotonic() - begin)
        ours.close()  # and it ends
        engine.wait()
    return ms


class Crowd:
    """Versions that are all deployed; each is recognised by its answers."""

    def __init__(self, bench):
        self.bench = bench
        self.answers = []
        for n in range(VERSIONS):
            data, answer = networks.perceptron(LAYERS, seed=n)
            self.answers.append(answer([ROW])[0])
            bench.api.call("POST", f"/api/models/m{n}/versions?format=onnx", data)
            bench.api.call("PUT", f"/api/models/m{n}/deployment", {"version": "1"})
        self.eventually(self._all_ready, "not all are ready")

    def eventually(self, condition, what):
        return self.bench.suite.eventually(condition, 5 * WAIT_SECONDS, what)

    def _all_ready(self):
        return self.bench.api.request("GET", "/readyz")[0] == 200

    def worker(self):
        return self.bench.api.get("/api/workers")["workers"][0]

    def ask(self, n):
        """(it waited for an engine, ms)"""
        begin = time.monotonic()
        status, headers, answer = self.bench.api.request("POST", "/predict", {"model": f"m{n}", "inputs": [ROW]})
        ms = 1000 * (time.monotonic() - begin)
        assert status == 200, answer
        assert np.allclose(answer["outputs"][0], self.answers[n], atol=1e-4), f"m{n} answers for another"
        return int(headers["x-queue-time-us"]) > COLD_WAIT_US, ms


def many(bin_dir):
    """9: requests by Zipf's law for more versions than there is memory for."""
    data = networks.perceptron(LAYERS)[0]
    alone, one = load_ms(data), memory_of_one(bin_dir, data)
    budget = int(one * (ROOM + 0.5))
    draw = random.Random(9)
    weights = [1 / (n + 1) for n in range(VERSIONS)]
    with Bench(bin_dir, options={"worker": ["--memory-bytes", str(budget)]}) as b:
        begin = time.monotonic()
        crowd = Crowd(b)
        took = time.monotonic() - begin
        got, engine = [], []
        for i, n in enumerate(draw.choices(range(VERSIONS), weights, k=REQUESTS)):
            got.append(crowd.ask(n))
            if i % (REQUESTS // 20) == 0:
                engine.append(engine_ms(bin_dir, data))
        worker = crowd.worker()
    cold = sorted(ms for waited, ms in got if waited)
    warm = [ms for waited, ms in got if not waited]
    note = (f"{len(cold)} of {REQUESTS} cold, p99 {cold[int(len(cold) * 0.99)]:.0f} ms; warm p50 {median(warm):.1f} ms; "
            f"an engine's start alone {median(engine):.0f} ms; {VERSIONS} deployed in {took:.0f} s")  # fmt: skip
    yield record(9, f"{VERSIONS} versions, memory for {ROOM}, first byte of a cold one, p50",
                 round(median(cold), 1), "ms", round(COLD_MS + alone, 1), "<=", note=note)  # fmt: skip
    yield record(9, "the same, memory of the engines over the budget",
                 round(worker["memory_bytes"] / worker["memory_budget_bytes"], 3), "", 1, "<=",
                 note=f"{len(worker['engines'])} engines, {one / 1e6:.1f} MB each")  # fmt: skip


CASES = {"many": many}
