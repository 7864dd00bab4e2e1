#!/usr/bin/env python3
"""The benchmarks of training, each beside its other side where that is installed (make bench-peers).

A case is a function of the binaries' folder that yields records, as in bench.py; it is added to the
CASES of its file.  They are printed as a table and written as JSON lines to build/bench-train.json.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
for folder in (HERE, os.path.join(TOP, "tests", "system"), os.path.join(TOP, "deploy", "local")):
    sys.path.insert(0, folder)

import bench  # noqa: E402
import train_fashion  # noqa: E402
import train_profile  # noqa: E402
import train_served  # noqa: E402
import train_speed  # noqa: E402
import train_tables  # noqa: E402

PARTS = [train_speed, train_fashion, train_tables, train_served, train_profile]
CASES = {name: case for part in PARTS for name, case in part.CASES.items()}

if __name__ == "__main__":
    bench.main(CASES, "build/bench-train.json", __doc__)
