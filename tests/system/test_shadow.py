"""Shadow versions: they get copies of the requests, and nobody waits for them."""

import json
import subprocess
import time

import numpy as np
from onnx import TensorProto, helper

import networks
from conftest import PATIENCE
from test_metrics import metrics

PATH = "/api/models/m/deployment"


def deploy(suite, version, *shadows, ready=True):
    """Deploys, and waits until an engine of each version is there."""
    suite.api.call("PUT", PATH, {"version": str(version), "shadow": [str(s) for s in shadows]})
    up = lambda d: all(t["engines"] >= t["wanted"] > 0 for t in d["traffic"] + (d["shadow"] if ready else []))
    suite.eventually(lambda: up(suite.api.get(PATH)["deployment"]), PATIENCE, "not all are ready")


def shadow(suite, version):
    """What the deployment says of a shadow."""
    return next(s for s in suite.api.get(PATH)["deployment"]["shadow"] if s["version"] == str(version))


def settled(suite, version, count):
    """The same, once all copies of so many requests have ended."""
    over = lambda s: not s["open"] and s["compared"] + s["failed"] + s["dropped"] >= count and s
    return suite.eventually(lambda: over(shadow(suite, version)), PATIENCE, "copies stay open")


def series(suite, name, primary, of, **more):
    labels = {"model": "m", "version": primary, "shadow": of, **more}
    text = ",".join(f'{k}="{v}"' for k, v in labels.items())
    return metrics(suite)[("maas_gateway_shadow_" + name, text)]


def test_two_networks_whose_difference_is_known(suite):
    sizes, rng = [6, 16, 4], np.random.default_rng(5)
    (one, answer), (two, other) = networks.perceptron(sizes, 1), networks.perceptron(sizes, 2)
    for data in (one, two, one):
        suite.upload("m", data)
    deploy(suite, 1, 2, 3)
    gaps, largest, agreeing, rows = [], 0, 0, 0
    for count in (1, 3, 8, 2000):  # the last ones are compared on another thread
        x = rng.standard_normal((count, 6)).astype("f")
        tensor = {"name": "input", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
        got = suite.api.call("POST", "/v2/models/m/infer", {"inputs": [tensor]})
        a, b = answer(x), other(x)
        assert got["model_version"] == "1"
        assert np.allclose(np.reshape(got["outputs"][0]["data"], a.shape), a, atol=1e-4)
        gaps.append(np.abs(a - b).mean())
        largest = max(largest, np.abs(a - b).max())
        agreeing += int((a.argmax(1) == b.argmax(1)).sum())
        rows += count
    shown = settled(suite, 2, 4)
    assert (shown["copies"], shown["compared"], shown["rows"]) == (4, 4, rows)
    assert abs(shown["mean_difference"] - np.mean(gaps)) < 1e-4
    assert abs(shown["agreeing"] - agreeing) <= 2  # sums in another order may turn a close decision
    assert 0 < shown["agreeing"] < rows
    assert abs(series(suite, "difference_sum", 1, 2, output="output") - sum(gaps)) < 1e-3
    assert series(suite, "difference_count", 1, 2, output="output") == 4
    assert abs(series(suite, "largest_difference", 1, 2, output="output") - largest) < 1e-3
    assert series(suite, "rows_total", 1, 2, output="output") == rows
    assert series(suite, "rows_agreeing_total", 1, 2, output="output") == shown["agreeing"]
    twin = settled(suite, 3, 4)
    assert (twin["mean_difference"], twin["agreeing"]) == (0, rows)
    assert series(suite, "dropped_total", 1, 3, reason="engines") == 0


def two_inputs(nodes, inputs, outputs):
    info = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2])
    return networks.model([helper.make_node(*n) for n in nodes], [info(n) for n in inputs], [info(n) for n in outputs])


def test_inputs_and_outputs_go_by_their_names(suite):
    both = [("Add", ["a", "b"], ["sum"]), ("Sub", ["a", "b"], ["difference"])]
    suite.upload("m", networks.add_and_sub())
    suite.upload("m", two_inputs(both, "ba", ["difference", "sum"]))
    suite.upload("m", two_inputs([("Identity", ["a"], ["sum"])], "a", ["sum"]))
    suite.upload("m", two_inputs([("Identity", ["c"], ["sum"])], "c", ["sum"]))
    deploy(suite, 1, 2, 3, 4)
    a, b = np.array([[1, 2], [3, 4]], "<f4"), np.array([[5, 7], [11, -13]], "<f4")
    tensors = [
        {"name": name, "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}} for name in "ab"
    ]
    head = json.dumps({"inputs": tensors}).encode()
    body = head + a.tobytes() + b.tobytes()
    for _ in range(2):  # binary tensors are parts of the body
        got = suite.api.call("POST", "/v2/models/m/infer", body, {"Inference-Header-Content-Length": str(len(head))})
        assert got["outputs"][0]["data"] == (a + b).ravel().tolist()
    same = settled(suite, 2, 2)
    assert (same["compared"], same["mean_difference"], same["rows"], same["agreeing"]) == (2, 0, 4, 4)
    less = settled(suite, 3, 2)
    assert (less["compared"], less["mean_difference"]) == (2, np.abs(b).mean())
    assert series(suite, "mismatched_total", 1, 3, output="difference") == 2
    assert series(suite, "mismatched_total", 1, 3, output="sum") == 0
    assert settled(suite, 4, 2)["copies"] == 0
    assert series(suite, "dropped_total", 1, 4, reason="inputs") == 2


# Version 1 serves.
SLOW, FAILING, CRASHING, ODD = range(2, 6)
HABITS = (b"fake\n", b"fake slow=1000\n", b"fake broken\n", b"fake fatal\n", b"fake add=nan\n")
BODY = {"inputs": [[0, 7]], "model": "m"}  # 7 is fatal


def seconds(text):
    """Of "1.25ms", as wrk says it."""
    number, unit = (text[:-2], text[-2:]) if text[-2] in "um" else (text[:-1], text[-1:])
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[unit]


def load(suite, tmp_path):
    """Two seconds of 32 connections, none of which may see a failure: (requests, 99th percentile)."""
    script = tmp_path / "load.lua"
    script.write_text(f"wrk.method = 'POST'\nwrk.body = '{json.dumps(BODY)}'\n", encoding="ascii")
    argv = ["wrk", "-t1", "-c32", "-d2s", "--latency", "-s", str(script), f"{suite.url}/predict"]
    text = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "Non-2xx" not in text and "Socket errors" not in text, text
    percentile = next(line.split()[1] for line in text.splitlines() if line.split()[:1] == ["99%"])
    return int(text.split(" requests in ")[0].split()[-1]), seconds(percentile)


def test_bad_shadows_hurt_nobody(fake_suite, tmp_path):
    suite = fake_suite
    for habit in HABITS:
        suite.upload("m", habit, "fake")
    deploy(suite, 1, SLOW, FAILING, CRASHING, ODD)
    assert suite.api.call("POST", "/predict", BODY)["outputs"] == [[0, 7]]
    suite.eventually(lambda: shadow(suite, CRASHING)["failed"], PATIENCE, "no copy has crashed its engine")
    requests, percentile = load(suite, tmp_path)
    assert requests > 200, "with the slow shadow it would be two per connection"
    assert percentile < 1, "the slow shadow takes a second"
    slow, crashing = shadow(suite, SLOW), shadow(suite, CRASHING)
    assert slow["copies"] >= slow["compared"] + slow["failed"]
    assert slow["dropped"] > 0 and crashing["dropped"] > 0  # what does not fit, and what has no engine
    failing = settled(suite, FAILING, requests + 1)
    assert failing["failed"] > 0 and failing["compared"] == 0
    odd = settled(suite, ODD, requests + 1)
    assert odd["compared"] > 0 and odd["failed"] == 0
    assert series(suite, "not_finite_total", 1, ODD, output="y") == odd["compared"]
    samples = metrics(suite)
    answered = {k: v for k, v in samples.items() if k[0] == "maas_gateway_requests_total" and "/predict" in k[1]}
    assert sum(answered.values()) > requests and all('status="200"' in labels for _, labels in answered)
    assert samples[("maas_gateway_poisoned_total", "")] == 0
    begin = time.monotonic()
    assert suite.processes["gateway"].stop() == 0
    assert time.monotonic() - begin < 5, "copies hold up the end"


def test_who_is_no_shadow_any_more_gets_no_copies(fake_suite):
    suite = fake_suite
    for habit in (b"fake\n", b"fake slow=1000\n"):
        suite.upload("m", habit, "fake")
    deploy(suite, 1, SLOW)
    named = suite.api.call("POST", "/predict?version=2", {"inputs": [[0, 0]], "model": "m"})
    assert named["version"] == "2"  # it answers who asks for it; that is not copied
    for _ in range(3):
        suite.api.call("POST", "/predict", BODY)
    assert shadow(suite, SLOW)["copies"] == 3
    deploy(suite, 1)
    count = lambda name, **more: series(suite, name, 1, SLOW, **more)
    over = lambda: count("compared_total") + count("dropped_total", reason="ended")
    suite.eventually(lambda: over() == 3, PATIENCE, "copies stay open")
    assert count("dropped_total", reason="ended") > 0
    suite.api.call("POST", "/predict", BODY)
    assert count("copies_total") == 3
