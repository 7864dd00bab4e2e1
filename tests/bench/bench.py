#!/usr/bin/env python3
"""The benchmarks: each beside its other side, in alternating rounds on this machine.

A case is a function of the binaries' folder that yields records; a record has a number of the
table, what was measured, the value, and what it should reach.  They are printed as a table and
written as JSON lines to build/bench.json.  ROUNDS and SECONDS_EACH (environment) set the length.
"""

import argparse
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
for folder in (HERE, os.path.join(TOP, "tests", "system"), os.path.join(TOP, "deploy", "local")):
    sys.path.insert(0, folder)

import artifacts  # noqa: E402
import cases  # noqa: E402
import catalog  # noqa: E402
import limits  # noqa: E402
import many  # noqa: E402


def show(r):
    goal = "" if r.get("goal") is None else f"{r['relation']} {r['goal']}"
    reached = "" if r.get("goal") is None else ("yes" if ok(r) else "NO")
    print(f"{r['number']:>3} {r['what']:<58} {r['value']:>10} {r['unit']:<10} {goal:>9} {reached:<4} "
          f"{r.get('note', '')}", flush=True)  # fmt: skip


def ok(r):
    return r["value"] >= r["goal"] if r["relation"] == ">=" else r["value"] <= r["goal"]


def main(every, out_path, about):
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--bin", default="build/gcc/bin")
    parser.add_argument("--out", default=out_path)
    parser.add_argument("--only", default="", help="names of cases, with commas")
    args = parser.parse_args()
    wanted = [name for name in args.only.split(",") if name]
    with open(args.out, "w", encoding="utf-8") as out:
        for name, case in every.items():
            if wanted and name not in wanted:
                continue
            for record in case(os.path.abspath(args.bin)):
                out.write(json.dumps({"case": name, **record}) + "\n")
                show(record)
    print(f"written to {args.out}")


if __name__ == "__main__":
    main({**cases.CASES, **limits.CASES, **many.CASES, **catalog.CASES, **artifacts.CASES}, "build/bench.json", __doc__)
