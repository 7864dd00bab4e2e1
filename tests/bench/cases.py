"""Throughput and latency beside others: nginx, Flask, ONNX Runtime alone."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np

import networks
from tools import (
    ROUNDS,
    ROW,
    SECONDS,
    Bench,
    Suite,
    WAIT_SECONDS,
    beside,
    binary_request,
    free_port,
    json_request,
    median,
    wrk,
)

HERE = os.path.dirname(os.path.abspath(__file__))
FASHION = [784, 256, 128, 10]
IMAGE = [1, 3, 224, 224]


def record(number, what, value, unit, goal=None, relation=">=", **more):
    return {"number": number, "what": what, "value": value, "unit": unit, "goal": goal,
            "relation": relation, "rounds": ROUNDS, "seconds": SECONDS, **more}  # fmt: skip


def tiny(bench):
    data, answer = networks.perceptron([10, 50, 10])
    bench.serve("net", data)
    got = bench.api.call("POST", "/predict", {"inputs": [ROW]})
    assert abs(got["outputs"][0][0] - float(answer([ROW])[0][0])) < 1e-4
    return json.dumps(got, separators=(",", ":"))


def told(measured):
    """The medians of one side, in words."""
    return (f"{median(r['rps'] for r in measured):.0f}/s, p50 {median(r['p50_us'] for r in measured)} us, "
            f"p99 {median(r['p99_us'] for r in measured)} us")  # fmt: skip


def predict(bin_dir):
    """1 and 3: POST /predict beside nginx `return 200` with the same body; and where cores may sleep."""
    goals = {32: 0.70, 64: 0.85}
    with Bench(bin_dir) as b, Bench(bin_dir, options={"gateway": ["--keep-awake=false"]}) as sleepy:
        nginx = b.nginx(tiny(b))
        tiny(sleepy)
        script = json_request(b.directory, "predict", {"inputs": [ROW]})
        for connections in (32, 64, 1):
            ours, theirs, asleep = beside(
                lambda: wrk(b.port, "/predict", connections, script),
                lambda: wrk(nginx.port, "/predict", connections, script),
                lambda: wrk(sleepy.port, "/predict", connections, script),
            )
            note = f"{told(ours)}; nginx {told(theirs)}"
            if connections > 1:
                what = f"predict 10-50-10, {connections} connections, share of nginx"
                for name, side, goal in (("", ours, goals[connections]), (", --keep-awake=false", asleep, None)):
                    ratio = median(x["rps"] / y["rps"] for x, y in zip(side, theirs))
                    yield record(1, what + name, round(ratio, 3), "", goal, note=note if goal else told(side))
                continue
            ratio = median(x["p50_us"] / y["p50_us"] for x, y in zip(ours, theirs))
            yield record(3, "predict, 1 connection, p50 over nginx's", round(ratio, 2), "", 2.5, "<=", note=note)
            yield record(3, "predict, 1 connection, p99", median(r["p99_us"] for r in ours) / 1000, "ms", 1, "<=")
            yield record(3, "the same, --keep-awake=false", median(r["p99_us"] for r in asleep) / 1000, "ms",
                         note=told(asleep))  # fmt: skip


class Flask:
    """The same network as TorchScript behind Flask and gunicorn (python3-torch: make bench-peers)."""

    def __init__(self, directory):
        self.port = free_port()
        self.process = subprocess.Popen(
            ["gunicorn", "-w", "2", "-b", f"127.0.0.1:{self.port}", "--chdir", HERE, "--log-level",
             "critical", "flask_peer:app"],
            cwd=directory,
        )  # fmt: skip
        Suite.eventually(self._up, WAIT_SECONDS, "gunicorn does not start")

    def _up(self):
        import http.client  # noqa: PLC0415

        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("POST", "/predict", json.dumps({"inputs": [ROW]}),
                               {"Content-Type": "application/json"})  # fmt: skip
            return connection.getresponse().status == 200
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait()


def flask(bin_dir):
    """2: POST /predict beside Flask + gunicorn + TorchScript."""
    if not importlib.util.find_spec("torch") or not importlib.util.find_spec("flask"):
        print("  2 predict beside Flask + TorchScript: skipped, run `make bench-peers` first")
        return
    with Bench(bin_dir) as b:
        tiny(b)
        peer = Flask(b.directory)
        b.stops.append(peer)
        script = json_request(b.directory, "predict", {"inputs": [ROW]})
        ours, theirs = beside(
            lambda: wrk(b.port, "/predict", 32, script), lambda: wrk(peer.port, "/predict", 32, script)
        )
        ratio = median(x["rps"] / y["rps"] for x, y in zip(ours, theirs))
        yield record(2, "predict, 32 connections, over Flask + TorchScript", round(ratio, 1), "", 10,
                     note=f"Flask {median(r['rps'] for r in theirs):.0f}/s")  # fmt: skip


def runtime_rows_per_second(path):
    """ONNX Runtime alone: one thread, in one process, batches of 64."""
    out = subprocess.run(
        [sys.executable, os.path.join(HERE, "runtime_peer.py"), path, str(SECONDS)],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ).stdout  # fmt: skip
    return float(out.splitlines()[-1])


def fashion(bin_dir):
    """4 and 5: the Fashion-MNIST network with binary tensors beside ONNX Runtime alone."""
    data, _ = networks.perceptron(FASHION)
    with Bench(bin_dir) as b:
        b.serve("fashion", data)
        path = os.path.join(b.directory, "fashion.onnx")
        with open(path, "wb") as file:
            file.write(data)
        for number, rows, goal in ((4, 1, None), (5, 64, 0.70)):
            tensor = np.random.default_rng(2).standard_normal((rows, 784)).astype("<f4").tobytes()
            script = binary_request(b.directory, f"rows{rows}", "input", [rows, 784], tensor)
            ours, theirs = beside(
                lambda: wrk(b.port, "/v2/models/fashion/infer", 64, script)["rps"] * rows,
                lambda: runtime_rows_per_second(path),
            )
            ratio = median(x / y for x, y in zip(ours, theirs))
            yield record(number, f"784-256-128-10, binary, 64 connections x {rows} rows, share of the runtime",
                         round(ratio, 3), "", goal,
                         note=f"{median(ours):.0f} rows/s; runtime {median(theirs):.0f} rows/s")  # fmt: skip


def echo(bin_dir):
    """6: an image in and out."""
    with Bench(bin_dir) as b:
        b.serve("same", networks.identity(1, IMAGE))
        data = np.zeros(IMAGE, "<f4").tobytes()
        script = binary_request(b.directory, "image", "x", IMAGE, data)
        runs = [wrk(b.port, "/v2/models/same/infer", 4, script) for _ in range(ROUNDS)]
        rate = median(r["rps"] for r in runs) * len(data) / 1e9
        yield record(6, "1x3x224x224 FP32 echoed, each way", round(rate, 2), "GB/s", 1)


CASES = {"predict": predict, "flask": flask, "fashion": fashion, "echo": echo}