#!/usr/bin/env python3
"""compare_onnx.py MODEL INPUTS ANSWERS: what ONNX Runtime answers equals what was computed.

INPUTS and ANSWERS (probabilities, or values) are raw float32, as many rows as the model's widths
make of them.  Prints the largest difference; ends with 1 when it is above 1e-5 (of values: of their
size) or a row's class differs, two that are as likely as each other excepted.
"""

import sys

import numpy as np
import onnx
import onnxruntime

TOLERANCE = 1e-5
ROWS = 1000  # in one run


def main():
    model_path, inputs_path, expected_path = sys.argv[1:]
    model = onnx.load(model_path)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model_path, providers=["CPUExecutionProvider"])
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[0]) == ("input", "tensor(float)", "N"), given
    assert answer.name in ("probabilities", "values"), answer
    assert (answer.type, answer.shape[0]) == ("tensor(float)", "N"), answer
    x = np.fromfile(inputs_path, dtype="<f4").reshape(-1, given.shape[1])
    expected = np.fromfile(expected_path, dtype="<f4").reshape(-1, answer.shape[1])
    assert len(x) == len(expected) > 0
    parts = [session.run(None, {"input": x[i : i + ROWS]})[0] for i in range(0, len(x), ROWS)]
    got = np.concatenate(parts)
    size = np.abs(expected).max() if answer.name == "values" else 1
    worst = float(np.abs(got - expected).max() / size)
    chosen = expected[np.arange(len(got)), got.argmax(1)]
    wrong = int((chosen < expected.max(1) - TOLERANCE).sum()) if answer.name != "values" else 0
    print(f"{len(x)} rows: largest difference {worst:.3g}, other class in {wrong}")
    return 0 if worst <= TOLERANCE and wrong == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
