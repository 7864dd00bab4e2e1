"""What the benchmarks of training share: records, peers, and a suite with a trainer."""

import importlib.util
import json
import os
import subprocess
import sys
import time

from tools import Bench

HERE = os.path.dirname(os.path.abspath(__file__))
FASHION = "/usr/share/datasets/fashion-mnist"
FILES = ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz",
         "t10k-labels-idx1-ubyte.gz"]  # fmt: skip
TRAIN_SECONDS = 900


def record(number, what, value, unit, goal=None, relation=">=", **more):
    return {"number": number, "what": what, "value": value, "unit": unit, "goal": goal,
            "relation": relation, **more}  # fmt: skip


def installed(module):
    return importlib.util.find_spec(module) is not None


def line(*command, timeout=None):
    """The JSON line that a program prints."""
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=timeout)
    return json.loads(done.stdout.decode().splitlines()[-1])


def peer(script, *arguments, timeout=None):
    """What another program of this folder prints, in a process of its own: libraries' threads and memory stay apart."""
    return line(sys.executable, "-W", "ignore", os.path.join(HERE, script), *arguments, timeout=timeout)


class Training(Bench):
    """A suite with a trainer, which leaves its predictions in a folder."""

    def __init__(self, bin_dir, workers=0):
        super().__init__(bin_dir, workers=workers, trainers=1, options={"trainer": ["--predictions", "."]})

    def upload_fashion(self):
        for name in FILES:
            self.api.upload(f"/api/datasets/fashion/files/{name}", os.path.join(FASHION, name))

    def submit(self, **job):
        return self.api.call("POST", "/api/training", {"model": "m", "seed": 1, **job})["id"]

    def ended(self, id):
        job = self.suite.eventually(
            lambda: (j := self.api.get(f"/api/training/{id}"))["state"] not in ("queued", "running") and j,
            TRAIN_SECONDS, "the training does not end",
        )  # fmt: skip
        assert job["state"] == "done", job
        return job

    def train(self, **job):
        """The finished job, and the seconds that a client has waited."""
        begin = time.monotonic()
        done = self.ended(self.submit(**job))
        return done, time.monotonic() - begin

    def predictions(self, id):
        return os.path.join(self.suite.data, f"{id}.f32")

    def most_bytes(self):
        """The trainer's largest resident memory so far."""
        return most_bytes(self.suite.processes["trainer-1"].pid)


def most_bytes(pid):
    """Of a living process.  (What wait4 says of a dead one counts what its parent had when it forked.)"""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return 1024 * next((int(text.split()[1]) for text in status if text.startswith("VmHWM")), 0)
