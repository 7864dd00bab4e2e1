"""ONNX Runtime alone, for `make bench`: milliseconds to load a model, in a process that has loaded one."""

import statistics
import sys
import time

import onnxruntime

times = []
for _ in range(21):
    begin = time.monotonic()
    onnxruntime.InferenceSession(sys.argv[1])
    times.append(1000 * (time.monotonic() - begin))
print(statistics.median(times[1:]))
