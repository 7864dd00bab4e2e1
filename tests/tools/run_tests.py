#!/usr/bin/env python3
"""Runs the unit tests (Criterion binaries) and the system tests (pytest), and counts them.

With --only clients: the tests with other people's clients, of which some may be missing, but
not all: it is a failure when none has passed.  With --valgrind: the unit tests, under valgrind,
of which only the reports count: it has no 80-bit numbers, and time is another there.

The last line is `N passed, N failed, N skipped`.  A report of a sanitizer or of valgrind in any
process, also in one that a test has started, is a failed test.
"""

import argparse
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

UNIT_SECONDS = 300
SYSTEM_WORKERS = "6"
CLIENTS = "build/clients"  # where tests/clients/install.py has put them
REPORT = re.compile(
    r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:|^==\d+== \S", re.M
)


class Counts:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def line(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def environment(build, reports):
    here = os.path.dirname(os.path.abspath(__file__))
    env = dict(os.environ)
    env["MAAS_BIN"] = os.path.abspath(os.path.join(build, "bin"))
    env["MAAS_TOOLS"] = os.path.abspath(os.path.join(build, "tools"))
    log = f"log_path={os.path.join(reports, 'report')}:log_exe_name=1"
    env["ASAN_OPTIONS"] = f"{log}:detect_leaks=1:exitcode=99:handle_abort=0"
    env["UBSAN_OPTIONS"] = f"{log}:print_stacktrace=1"
    env["LSAN_OPTIONS"] = f"suppressions={here}/lsan.supp:print_suppressions=0"
    env["TSAN_OPTIONS"] = (
        f"{log}:ignore_noninstrumented_modules=1:exitcode=66:suppressions={here}/tsan.supp"
    )
    return env


def valgrind(reports):
    """The command before a program; says nothing but errors."""
    return ["valgrind", "-q", "--trace-children=yes", "--leak-check=full", "--num-callers=30",
            "--show-leak-kinds=definite", f"--log-file={os.path.join(reports, 'report.%p')}"]  # fmt: skip


def run_unit(path, env, prefix):
    try:
        result = subprocess.run(
            [*prefix, path, "--tap=-", "-j1"],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=UNIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        out = (error.stdout or b"").decode("utf-8", "replace")
        return 0, 1, 0, f"{out}\nstill running after {UNIT_SECONDS} s"
    out = result.stdout.decode("utf-8", "replace") + result.stderr.decode("utf-8", "replace")
    passed = len(re.findall(r"^ok ", out, re.M))
    skipped = len(re.findall(r"^ok .*# SKIP", out, re.M))
    failed = len(re.findall(r"^not ok ", out, re.M))
    if result.returncode != 0 and failed == 0:
        failed = 1
    if passed == 0 and failed == 0:
        failed = 1  # a test program without tests
    return passed - skipped, failed, skipped, out


def unit(build, env, counts, prefix):
    paths = [
        p
        for p in sorted(glob.glob(os.path.join(build, "tests/unit/*/test_*")))
        if os.access(p, os.X_OK) and not os.path.splitext(p)[1]
    ]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, result in zip(paths, pool.map(lambda p: run_unit(p, env, prefix), paths)):
            passed, failed, skipped, out = result
            counts.passed += passed
            counts.failed += failed
            counts.skipped += skipped
            name = os.path.relpath(path, os.path.join(build, "tests"))
            print(f"{name:40} {passed:4} passed {failed:4} failed", flush=True)
            if failed:
                print(out, flush=True)


def clients(env, counts, extra):
    env["MAAS_CLIENTS"] = os.path.abspath(CLIENTS)
    python = os.path.join(CLIENTS, "venv", "bin", "python")
    system(env, counts, ["-rs", *extra], python, "tests/clients")


def system(env, counts, extra, python=sys.executable, folder="tests/system"):
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        command = [python, "-m", "pytest", "-q", "-n", SYSTEM_WORKERS, "--timeout=300",
                   "-p", "no:cacheprovider", "-W", "ignore::DeprecationWarning",
                   f"--junit-xml={report.name}", folder]  # fmt: skip
        code = subprocess.run(command + extra, env=env, check=False).returncode
        try:
            suites = xml.etree.ElementTree.parse(report.name).getroot().iter("testsuite")
        except xml.etree.ElementTree.ParseError:
            counts.failed += 1
            return
        for suite in suites:
            total, bad = int(suite.get("tests", 0)), 0
            bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped = int(suite.get("skipped", 0))
            counts.passed += total - bad - skipped
            counts.failed += bad
            counts.skipped += skipped
            if code not in (0, 5) and bad == 0:
                counts.failed += 1


def reports_of(folder, counts):
    for path in sorted(glob.glob(os.path.join(folder, "report*"))):
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        if REPORT.search(text):
            counts.failed += 1
            print(f"\n{os.path.basename(path)}:\n{text}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build/gcc")
    parser.add_argument("--only", choices=["unit", "system", "clients"])
    parser.add_argument("--valgrind", action="store_true")
    args, extra = parser.parse_known_args()
    counts = Counts()
    with tempfile.TemporaryDirectory(prefix="maas-reports-") as reports:
        env = environment(args.build, reports)
        if args.only in (None, "unit"):
            unit(args.build, env, counts, valgrind(reports) if args.valgrind else [])
        if args.valgrind:
            counts.failed = 0
        if args.only in (None, "system"):
            system(env, counts, extra)
        if args.only == "clients":
            clients(env, counts, extra)
        reports_of(reports, counts)
    print(counts.line(), flush=True)
    return 0 if counts.failed == 0 and counts.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
