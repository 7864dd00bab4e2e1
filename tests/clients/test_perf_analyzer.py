"""perf_analyzer: it reads metadata, configuration and statistics, and then asks as fast as told."""

import csv
import os
import subprocess
import sys

import pytest
from onnx import TensorProto

import networks
from needed import needs

needs("perf-analyzer")
SECONDS = 60
# Windows of so many requests, three times, whatever they say: it asks until it has counted them.
# With --request-count it waits for ever when an answer was there before it began to count.
MEASURE = ["--measurement-mode", "count_windows", "--measurement-request-count", "100",
           "--stability-percentage", "999"]  # fmt: skip
PROGRAM = os.path.join(os.path.dirname(sys.executable), "perf_analyzer")


def analyze(suite, model, *more):
    """Its table, by the names of the columns."""
    out = os.path.join(suite.directory, "report.csv")
    command = [PROGRAM, "-m", model, "-u", f"127.0.0.1:{suite.port}", "-i", "http", "-f", out,
               *MEASURE, "--max-threads", "4", *more]  # fmt: skip
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"{late}:\n{late.stdout}\n{suite.api.get('/v2/models/stats')}") from None
    assert result.returncode == 0, result.stdout + result.stderr
    with open(out, encoding="utf-8") as file:
        return list(csv.DictReader(file)), result.stdout


@pytest.mark.parametrize(
    "more",
    [
        ["--concurrency-range", "4"],
        ["--concurrency-range", "4", "--async"],
        ["-b", "8"],
        ["--input-tensor-format", "json", "--output-tensor-format", "json"],
        ["--request-rate-range", "100"],
    ],
    ids=lambda more: " ".join(more),
)
def test_float_rows(suite, more):
    suite.upload("two", networks.times(2))
    suite.deploy("two", 1)
    rows, said = analyze(suite, "two", *more)
    assert len(rows) == 1 and float(rows[0]["Inferences/Second"]) > 0, said
    assert float(rows[0]["Server Compute Infer"]) > 0, said
    stats = suite.api.get("/v2/models/two/stats")["model_stats"][0]
    assert stats["inference_stats"]["success"]["count"] >= 200
    assert stats["inference_stats"]["fail"]["count"] == 0


def test_strings_with_an_open_shape(suite):
    suite.upload("same", networks.identity(TensorProto.STRING, ("N", "M")))
    suite.deploy("same", 1)
    rows, said = analyze(suite, "same", "--shape", "x:5", "--string-length", "20")
    assert float(rows[0]["Inferences/Second"]) > 0, said


def test_several_inputs(suite):
    suite.upload("pair", networks.add_and_sub())
    suite.deploy("pair", 1)
    rows, said = analyze(suite, "pair")
    assert float(rows[0]["Inferences/Second"]) > 0, said
