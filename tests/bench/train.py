#!/usr/bin/env python3
"""The benchmarks of training, each beside its other side where that is installed (make bench-peers).

A case is a function of the binaries' folder that yields records, as in bench.py; it is added to
CASES.  They are printed as a table and written as JSON lines to build/bench-train.json.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
for folder in (HERE, os.path.join(TOP, "tests", "system"), os.path.join(TOP, "deploy", "local")):
    sys.path.insert(0, folder)

import bench  # noqa: E402
from tools import ROUNDS, Bench, median  # noqa: E402

FASHION = "/usr/share/datasets/fashion-mnist"
FILES = ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz",
         "t10k-labels-idx1-ubyte.gz"]  # fmt: skip
FASHION_BYTES = 60000 * 784 * 4  # of the training images as float32
TRAIN_SECONDS = 280


def record(number, what, value, unit, goal=None, relation=">=", **more):
    return {"number": number, "what": what, "value": value, "unit": unit, "goal": goal,
            "relation": relation, **more}  # fmt: skip


def installed(module):
    return importlib.util.find_spec(module) is not None


def line(*command):
    """The JSON line that a program prints."""
    done = subprocess.run(command, capture_output=True, check=True)
    return json.loads(done.stdout.decode().splitlines()[-1])


def ours(bin_dir, *arguments):
    return line(os.path.join(os.path.dirname(bin_dir), "bench", "bench_descent"), *arguments)


def theirs(*arguments):
    return line(sys.executable, os.path.join(HERE, "torch_peer.py"), *arguments)


def threads():
    """One, and all."""
    return sorted({1, len(os.sched_getaffinity(0))})


def epoch(bin_dir):
    """1: seconds of an epoch of 784-256-128-10, each side with its best number of threads."""
    files = [os.path.join(FASHION, name) for name in FILES[:2]]
    pairs = []
    for _ in range(ROUNDS):
        we = {n: ours(bin_dir, "epoch", str(n), *files)["seconds"] for n in threads()}
        they = {n: theirs("epoch", str(n), FASHION)["seconds"] for n in threads()} if installed("torch") else {}
        pairs.append((we, they))
    best = median(min(we.values()) for we, _ in pairs)
    note = ", ".join(f"{n} threads {median(we[n] for we, _ in pairs):.3f}" for n in threads())
    yield record(1, "Fashion-MNIST, batch 128, an epoch", best, "s", note=note)
    if pairs[0][1]:
        note = ", ".join(f"{n} threads {median(they[n] for _, they in pairs):.3f} s" for n in threads())
        ratio = median(min(they.values()) / min(we.values()) for we, they in pairs)
        yield record(1, "the same, PyTorch over ours", round(ratio, 2), "", 2, note="PyTorch " + note)


def steps(bin_dir):
    """2: steps of 10-50-10 with batches of 10."""
    pairs = []
    for _ in range(ROUNDS):
        we = ours(bin_dir, "steps")["per_second"]
        pairs.append((we, theirs("steps")["per_second"] if installed("torch") else 0))
    yield record(2, "10-50-10, batch 10, steps", median(we for we, _ in pairs), "/s")
    if pairs[0][1]:
        ratio = median(we / they for we, they in pairs)
        yield record(2, "the same, ours over PyTorch", round(ratio, 1), "", 20,
                     note=f"PyTorch {median(they for _, they in pairs):.0f}/s")  # fmt: skip


class Training(Bench):
    """A suite with a trainer, and the images as a data set."""

    def __init__(self, bin_dir):
        super().__init__(bin_dir, workers=0, trainers=1)
        for name in FILES:
            self.api.upload(f"/api/datasets/fashion/files/{name}", os.path.join(FASHION, name))

    def train(self, **job):
        """The finished job, and the seconds that a client has waited."""
        begin = time.monotonic()
        id = self.api.call("POST", "/api/training", {"model": "m", "dataset": "fashion", "seed": 1, **job})["id"]
        done = self.suite.eventually(
            lambda: (j := self.api.get(f"/api/training/{id}"))["state"] not in ("queued", "running") and j,
            TRAIN_SECONDS, "the training does not end",
        )  # fmt: skip
        assert done["state"] == "done", done
        return done, time.monotonic() - begin

    def most_bytes(self):
        """The trainer's largest resident memory so far."""
        with open(f"/proc/{self.suite.processes['trainer-1'].pid}/status", encoding="ascii") as status:
            return 1024 * next(int(text.split()[1]) for text in status if text.startswith("VmHWM"))


def perceptron(bin_dir):
    """3 and 8: a whole run with the defaults, its accuracy and its memory."""
    with Training(bin_dir) as b:
        job, seconds = b.train(learner="mlp")
        yield record(3, "Fashion-MNIST, perceptron, test accuracy", job["metrics"]["accuracy"], "", 0.89)
        yield record(3, "the same, from the job to the version", round(seconds, 1), "s", 60, "<=")
        yield record(8, "its memory over the data as float32", round(b.most_bytes() / FASHION_BYTES, 2), "", 1.5,
                     "<=", note=f"{b.most_bytes() / 1e6:.0f} MB")  # fmt: skip


CASES = {"epoch": epoch, "steps": steps, "perceptron": perceptron}

if __name__ == "__main__":
    bench.main(CASES, "build/bench-train.json", __doc__)
