#!/usr/bin/env python3
"""Writes the codec fuzzer's first inputs: one envelope of each message with every field set."""

import json
import os
import subprocess
import sys

import msgpack

VALUES = {"u32": 7, "u64": 1 << 40, "i64": -5, "f64": 0.5, "boolean": True, "str": "text",
          "bin": b"\x00" * 32, "i64s": [-1, 3]}  # fmt: skip


def struct(schema, name):
    return {
        f["tag"]: [struct(schema, f["of"])] if f["type"] == "list" else VALUES[f["type"]]
        for f in schema["structs"][name]
    }


def main():
    tool, folder = sys.argv[1:]
    schema = json.loads(subprocess.run([tool], capture_output=True, check=True).stdout)
    for name, message in schema["messages"].items():
        with open(os.path.join(folder, name.lower()), "wb") as file:
            file.write(msgpack.packb([message["kind"], 1, struct(schema, message["body"])]))


if __name__ == "__main__":
    main()
