"""ONNX Runtime alone, for `make bench`: rows a second of a model in batches of 64, on one thread."""

import sys
import time

import numpy as np
import onnxruntime

ROWS = 64

path, seconds = sys.argv[1], float(sys.argv[2])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(path, options)
x = np.random.default_rng(1).standard_normal((ROWS, 784)).astype("f")
session.run(None, {"input": x})
count, begin = 0, time.monotonic()
while time.monotonic() < begin + seconds:
    for _ in range(20):
        session.run(None, {"input": x})
    count += 20 * ROWS
print(count / (time.monotonic() - begin))
