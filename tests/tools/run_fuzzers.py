#!/usr/bin/env python3
"""`make fuzz`: every fuzzer for some seconds, one per core at a time; a line for each, and one that counts.

What a run finds new is kept in WORK/found/NAME for the next one.  An input that fails is written
to WORK/NAME-crash-...: once the fault is mended it goes into tests/fuzz/corpus/NAME.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time

FUZZERS = pathlib.Path("tests/fuzz")
CORPUS = FUZZERS / "corpus"
LAST_WORDS = 6000  # bytes of a failed fuzzer's output that are shown
STATE = re.compile(r"^#\d+\t\w+\s+cov: (\d+).*\n", re.M)
INPUTS = re.compile(r"^stat::number_of_executed_units:\s*(\d+)", re.M)


def command(args, name):
    found = args.work / "found" / name
    found.mkdir(parents=True, exist_ok=True)
    (CORPUS / name).mkdir(parents=True, exist_ok=True)
    words = FUZZERS / f"{name}.dict"
    return [
        args.bin / name,
        *([f"-dict={words}"] if words.exists() else []),
        f"-max_total_time={args.seconds}",
        f"-max_len={args.max_len}",
        f"-runs={args.runs}",
        "-rss_limit_mb=2048",
        "-timeout=30",
        "-print_final_stats=1",
        f"-artifact_prefix={args.work / name}-",
        found,
        CORPUS / name,
    ]


def run(args, name):
    begin = time.monotonic()
    log = args.work / f"{name}.log"
    with open(log, "wb") as file:
        code = subprocess.run(command(args, name), stdout=file, stderr=file, check=False).returncode
    text = log.read_text("utf-8", "replace")
    inputs = INPUTS.findall(text)
    coverage = STATE.findall(text)
    print(
        f"{name:10} {'FAILED' if code else 'ok':7} {inputs[-1] if inputs else '?':>10} inputs "
        f"{time.monotonic() - begin:5.0f} s  {coverage[-1] if coverage else '?':>5} edges",
        flush=True,
    )
    if code:
        print(STATE.sub("", text)[-LAST_WORDS:], flush=True)
    return code == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--runs", type=int, default=-1, help="inputs for each fuzzer, at most")
    parser.add_argument("--max-len", type=int, default=65536)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("names", nargs="*", help="some of them")
    args = parser.parse_args()
    there = sorted(p.name[len("fuzz_") : -2] for p in FUZZERS.glob("fuzz_*.c"))
    unknown = set(args.names) - set(there)
    if unknown:
        parser.error(f"no such fuzzer: {', '.join(sorted(unknown))}; there are {', '.join(there)}")
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        passed = sum(pool.map(lambda name: run(args, name), args.names or there))
    count = len(args.names or there)
    print(f"{passed} passed, {count - passed} failed")
    return 0 if passed == count else 1


if __name__ == "__main__":
    sys.exit(main())
