#!/usr/bin/env python3
"""compare_prep.py MODEL COLUMNS FEATURES: what the exported preprocessing makes of raw columns.

COLUMNS is JSON: a list of values per input's name, null where a number is missing.  FEATURES is raw
float32.  Prints the largest difference; ends with 1 when it is above 1e-5.
"""

import json
import sys

import numpy as np
import onnx
import onnxruntime

TOLERANCE = 1e-5
TYPES = {"tensor(float)": np.float32, "tensor(string)": object}


def main():
    model_path, columns_path, expected_path = sys.argv[1:]
    onnx.checker.check_model(onnx.load(model_path), full_check=True)
    session = onnxruntime.InferenceSession(model_path, providers=["CPUExecutionProvider"])
    with open(columns_path, encoding="utf-8") as file:
        columns = json.load(file)
    given = {i.name: i for i in session.get_inputs()}
    if "input" in given:
        columns = {"input": np.array(list(columns.values()), dtype=np.float32).T}
    assert given.keys() == columns.keys(), (sorted(given), sorted(columns))
    feed = {}
    for name, values in columns.items():
        width = given[name].shape[1]
        feed[name] = np.array(values, dtype=TYPES[given[name].type]).reshape(-1, width)
    got = session.run(None, feed)[0]
    expected = np.fromfile(expected_path, dtype="<f4").reshape(got.shape)
    worst = float(np.abs(got - expected).max())
    print(f"{got.shape}: largest difference {worst:.3g}")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
