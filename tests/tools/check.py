#!/usr/bin/env python3
"""`make check`: every step that CI adds to the tests, with its time, and one line that counts.

Some need nothing but the cores, and run beside others, which wait a third of their time.
All that gcc builds without a sanitizer has the same flags, so that it is built once.
"""

import concurrent.futures
import re
import subprocess
import sys
import time

COUNT = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.M)
PYTEST = re.compile(r"(\d+) (passed|failed|skipped)")

LAST_WORDS = 20000  # bytes of a failed step's output that are shown, and lines with errors before them
ERRORS_MAX = 40

STEPS = [
    ("layers", ["make", "layers"]),
    ("text", ["make", "text"]),
    ("format", ["make", "format"]),
    ("shellcheck", ["make", "shellcheck"]),
    ("gcc -Werror", ["make", "WERROR=1", "build-tests"]),
    ("clang -Werror", ["make", "CC=clang", "WERROR=1", "build-tests"]),
    ("clang-tidy", ["chrt", "--idle", "0", "make", "tidy"]),
    ("clients", ["make", "WERROR=1", "test-clients"]),
    ("tests, ASan + UBSan", ["make", "SAN=address,undefined", "test"]),
    ("tests, TSan", ["make", "SAN=thread", "test"]),
    ("chaos", ["make", "WERROR=1", "chaos", "SECONDS=60"]),
    ("fuzz", ["nice", "make", "WERROR=1", "fuzz"]),
    ("compose", ["make", "compose-test"]),
]
ASIDE = {"clang -Werror", "clang-tidy", "fuzz"}  # run beside those that follow


def run(name, command):
    begin = time.monotonic()
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, stdin=subprocess.DEVNULL
    )
    text = result.stdout.decode("utf-8", "replace")
    seconds = time.monotonic() - begin
    state = "ok" if result.returncode == 0 else "FAILED"
    print(f"{name:22} {state:7} {seconds:6.0f} s", flush=True)
    if result.returncode != 0:
        words = [line for line in text[:-LAST_WORDS].splitlines() if "error:" in line]
        print("\n".join(words[:ERRORS_MAX]), text[-LAST_WORDS:], sep="\n", flush=True)
    return result.returncode == 0, text


def counted(name, text):
    """passed, failed, skipped of a step that runs tests; None for others."""
    if name == "compose":
        found = {word: int(number) for number, word in PYTEST.findall(text)}
        return found.get("passed", 0), found.get("failed", 0), found.get("skipped", 0)
    lines = COUNT.findall(text)
    if not lines:
        return None
    return tuple(int(n or 0) for n in lines[-1])


def steps(pool):
    """Runs them all; name, whether it went well, and what it said, of each that has ended."""
    aside = []
    for name, command in STEPS:
        if name in ASIDE:
            aside.append((name, pool.submit(run, name, command)))
        else:
            yield name, *run(name, command)
    for name, future in aside:
        yield name, *future.result()


def main():
    totals = [0, 0, 0]
    with concurrent.futures.ThreadPoolExecutor(len(ASIDE)) as pool:
        for name, ok, text in steps(pool):
            numbers = counted(name, text)
            if numbers is None:
                numbers = (1, 0, 0) if ok else (0, 1, 0)
            elif not ok and numbers[1] == 0:
                numbers = (numbers[0], 1, numbers[2])
            totals = [a + b for a, b in zip(totals, numbers)]
    print(f"{totals[0]} passed, {totals[1]} failed, {totals[2]} skipped", flush=True)
    return 0 if totals[1] == 0 and totals[0] > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
