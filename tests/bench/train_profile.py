"""A table's profile, on one core and in constant memory.  PROFILE_MIB (environment) makes the file smaller."""

import json
import os
import subprocess
import tempfile
import time

from tools import ROUNDS, median
from train_tools import most_bytes, peer, record

MIB = int(os.environ.get("PROFILE_MIB", "1024"))
LOOK_SECONDS = 0.02


def profiled(bin_dir, path):
    """(seconds, most bytes, the profile)"""
    core = str(min(os.sched_getaffinity(0)))
    command = ["taskset", "-c", core, os.path.join(bin_dir, "maas-trainer"), "--profile", path]
    begin, most = time.monotonic(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            most = max(most, most_bytes(process.pid))
            try:
                process.wait(LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                pass
        seconds = time.monotonic() - begin
        return seconds, most, json.loads(process.stdout.read())


def profile(bin_dir):
    with tempfile.TemporaryDirectory(prefix="maas-profile-") as folder:
        path = os.path.join(folder, "large.csv")
        peer("csv_maker.py", path, str(MIB))
        size = os.path.getsize(path)
        runs = [profiled(bin_dir, path) for _ in range(ROUNDS)]
        assert all(found["rows"] and len(found["columns"]) == 10 for _, _, found in runs)
    note = f"{size / 1e6:.0f} MB, {runs[0][2]['rows']} rows"
    yield record("D", "profile of a table, one core", round(median(size / 1e6 / s for s, _, _ in runs)), "MB/s", 100, note=note)
    yield record("D", "its memory, at most", round(max(most for _, most, _ in runs) / 2**20, 1), "MiB", 64, "<=")


CASES = {"profile": profile}
