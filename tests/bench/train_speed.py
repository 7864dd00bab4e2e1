"""1 and 2: gradient descent beside PyTorch's."""

import math
import os
import subprocess

from tools import ROUNDS, median
from train_tools import FASHION, FILES, installed, line, peer, record

PATIENCE = 40  # seconds for PyTorch's few epochs, which take about 8


def ours(bin_dir, *arguments):
    return line(os.path.join(os.path.dirname(bin_dir), "bench", "bench_descent"), *arguments)


def theirs(*arguments, timeout=None):
    return peer("torch_peer.py", *arguments, timeout=timeout)


def their_epoch(threads):
    """Seconds; infinite where PyTorch's threads only wait for each other, as two did on some machines."""
    try:
        return theirs("epoch", str(threads), FASHION, timeout=PATIENCE)["seconds"]
    except subprocess.TimeoutExpired:
        return math.inf


def threads():
    """One, and all."""
    return sorted({1, len(os.sched_getaffinity(0))})


def epoch(bin_dir):
    """1: seconds of an epoch of 784-256-128-10, each side with its best number of threads."""
    files = [os.path.join(FASHION, name) for name in FILES[:2]]
    pairs, their_threads = [], threads() if installed("torch") else []
    for _ in range(ROUNDS):
        we = {n: ours(bin_dir, "epoch", str(n), *files)["seconds"] for n in threads()}
        they = {n: their_epoch(n) for n in their_threads}
        their_threads = [n for n in their_threads if they[n] < math.inf]
        pairs.append((we, they))
    best = median(min(we.values()) for we, _ in pairs)
    note = ", ".join(f"{n} threads {median(we[n] for we, _ in pairs):.3f}" for n in threads())
    yield record(1, "Fashion-MNIST, batch 128, an epoch", best, "s", note=note)
    if pairs[0][1]:
        note = ", ".join(f"{n} threads {median(they.get(n, math.inf) for _, they in pairs):.3f} s" for n in threads())
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


CASES = {"epoch": epoch, "steps": steps}
