"""Versions, deployments and inference, with all processes real."""

import functools
import os

import numpy as np
import pytest
from onnx import TensorProto

import networks


def test_predict_equals_the_model(suite):
    data, answer = networks.perceptron([10, 50, 10])
    version = suite.upload("net", data)
    assert version["check"] == "passed"
    assert version["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 10]}]
    suite.deploy("net", 1)
    rows = np.random.default_rng(2).standard_normal((7, 10)).astype("f")
    got = suite.api.call("POST", "/predict", {"inputs": rows.tolist()})
    assert got["model"] == "net" and got["version"] == "1"
    np.testing.assert_allclose(got["outputs"], answer(rows), rtol=1e-5, atol=1e-5)


def test_model_by_body_and_by_query(suite):
    for name, factor in (("two", 2), ("three", 3)):
        suite.upload(name, networks.times(factor))
        suite.deploy(name, 1)
    call = suite.api.call
    assert call("POST", "/predict", {"model": "two", "inputs": [[1, 2]]})["outputs"] == [[2, 4]]
    assert call("POST", "/predict?model=three", {"inputs": [[1, 2]]})["outputs"] == [[3, 6]]
    status, _, answer = suite.api.request("POST", "/predict", {"inputs": [[1, 2]]})
    assert status == 400 and "2 models are deployed" in answer["error"]


def test_several_inputs_and_outputs(suite):
    suite.upload("pair", networks.add_and_sub())
    suite.deploy("pair", 1)
    got = suite.api.call("POST", "/predict", {"inputs": {"a": [[3, 4]], "b": [[1, 2]]}})
    assert got["outputs"] == {"sum": [[4, 6]], "difference": [[2, 2]]}
    got = suite.api.call(
        "POST",
        "/v2/models/pair/infer",
        {
            "inputs": [
                {"name": "b", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]},
                {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [[3, 4]]},
            ],
            "outputs": [{"name": "difference"}],
            "id": "one",
        },
    )
    assert got["id"] == "one" and got["model_version"] == "1"
    assert got["outputs"] == [
        {"name": "difference", "datatype": "FP32", "shape": [1, 2], "data": [2, 2]}
    ]


@pytest.mark.parametrize(
    "kind, datatype, data",
    [
        (TensorProto.FLOAT, "FP32", [[0.1, -3.4e38]]),
        (TensorProto.DOUBLE, "FP64", [[0.1, 1e300]]),
        (TensorProto.INT8, "INT8", [[-128, 127]]),
        (TensorProto.INT16, "INT16", [[-32768, 32767]]),
        (TensorProto.INT32, "INT32", [[-(2**31), 2**31 - 1]]),
        (TensorProto.INT64, "INT64", [[-(2**63), 2**63 - 1]]),
        (TensorProto.UINT8, "UINT8", [[0, 255]]),
        (TensorProto.UINT16, "UINT16", [[0, 65535]]),
        (TensorProto.UINT32, "UINT32", [[0, 2**32 - 1]]),
        (TensorProto.UINT64, "UINT64", [[0, 2**64 - 1]]),
        (TensorProto.BOOL, "BOOL", [[True, False]]),
        (TensorProto.STRING, "BYTES", [["", "Grüße \"quoted\"\n"]]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_datatype_goes_round(suite, kind, datatype, data):
    suite.upload("same", networks.identity(kind))
    suite.deploy("same", 1)
    tensor = {"name": "x", "datatype": datatype, "shape": [1, 2], "data": data}
    got = suite.api.call("POST", "/v2/models/same/infer", {"inputs": [tensor]})["outputs"][0]
    assert got["datatype"] == datatype and got["shape"] == [1, 2]
    if datatype == "FP32":
        assert np.array_equal(np.array(got["data"], "f"), np.array(data[0], "f"))
    else:
        assert got["data"] == data[0]


def test_open_inference_metadata_and_health(suite):
    get = suite.api.get
    assert get("/v2")["name"] == "maas"
    assert get("/v2/health/live") == {"live": True}
    assert get("/v2/health/ready")["ready"] is True
    suite.upload("two", networks.times(2))
    assert suite.api.request("GET", "/v2/models/two/ready")[0] == 503
    suite.deploy("two", 1)
    assert get("/v2/models/two/ready") == {"name": "two", "ready": True}
    assert get("/v2/models/two/versions/1/ready")["ready"] is True
    meta = get("/v2/models/two")
    assert meta["versions"] == ["1"] and meta["platform"] == "onnxruntime_onnx"
    assert meta["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]


def test_bad_model_is_shown_and_never_served(suite):
    suite.upload("two", networks.times(2))
    suite.deploy("two", 1)
    bad = suite.upload("two", b"this is no ONNX file")
    assert bad["check"] == "failed" and bad["state"] == "failed" and bad["reason"]
    status, _, answer = suite.api.request("PUT", "/api/models/two/deployment", {"version": "2"})
    assert status == 409 and "protobuf parsing failed" in answer["error"]
    assert suite.api.call("POST", "/predict", {"inputs": [[1, 2]]})["version"] == "1"


def test_rollout_and_back_without_a_failed_request(make_suite):
    suite = make_suite(workers=2)
    for factor in (2, 3):
        suite.upload("m", networks.times(factor))
    suite.deploy("m", 1)
    client, seen = suite.client(), []

    def until(version):
        """Asks all the time until this version answers; every answer must be right."""
        got = client.call("POST", "/predict", {"inputs": [[1, 10]]})
        factor = {"1": 2, "2": 3}[got["version"]]
        assert got["outputs"] == [[factor, 10 * factor]]
        seen.append(got["version"])
        return got["version"] == version

    for version in ("2", "1", "2"):
        begin = len(seen)
        suite.deploy("m", version, wait=False)
        suite.eventually(lambda v=version: until(v), 60, "the new version never answered")
        assert seen[begin:] == sorted(seen[begin:], key=lambda v, last=version: v == last)


def test_named_version_answers_only_itself(suite):
    suite.upload("m", networks.times(2))
    suite.upload("m", networks.times(3))
    suite.deploy("m", 1)
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    got = suite.api.call("POST", "/v2/models/m/versions/1/infer", {"inputs": [tensor]})
    assert got["model_version"] == "1"
    status, _, answer = suite.api.request(
        "POST", "/v2/models/m/versions/2/infer", {"inputs": [tensor]}
    )
    assert status == 409 and "not deployed" in answer["error"]
    status, _, answer = suite.api.request(
        "POST", "/v2/models/m/versions/9/infer", {"inputs": [tensor]}
    )
    assert status == 404 and "no version 9" in answer["error"]


def test_idle_memory(make_suite):
    variant = os.path.basename(os.path.dirname(os.environ["MAAS_BIN"]))
    if "-" in variant:
        pytest.skip("a sanitizer's memory says nothing")
    suite = make_suite()
    for name in ("registry", "gateway", "worker-1"):
        with open(f"/proc/{suite.processes[name].pid}/status", encoding="ascii") as file:
            rss = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
        assert rss <= 12 * 1024, f"{name} has {rss} KiB"


def test_gateway_that_hears_no_events_serves_what_is_deployed_through_it(suite):
    other = suite.second_gateway(events="ipc://run/nobody.sock")
    suite.eventually(lambda: other.request("GET", "/api/models")[0] == 200, 60, "no catalog")
    for version in (1, 2):
        suite.upload("m", networks.times(version + 1))
        other.call("PUT", "/api/models/m/deployment", {"version": version})
        ask = functools.partial(other.call, "POST", "/predict", {"model": "m", "inputs": [[1, 2]]})
        wanted = [[version + 1, 2 * version + 2]]  # the one before may answer until then
        suite.eventually(lambda a=ask, w=wanted: a()["outputs"] == w, 60, "not the new version")


def test_gateway_that_is_cut_off_from_the_registry_follows_the_engines(suite):
    """It cannot hear of a rollout through another gateway, but the new version's engines come."""
    run = os.path.join(suite.data, "run")
    for name in ("rpc", "events"):
        os.symlink(f"{name}.sock", f"{run}/{name}-2.sock")
    other = suite.second_gateway(registry="ipc://run/rpc-2.sock", events="ipc://run/events-2.sock")
    suite.upload("m", networks.times(2))
    suite.upload("m", networks.times(3))
    suite.deploy("m", 1)
    ask = functools.partial(other.request, "POST", "/predict", {"model": "m", "inputs": [[1, 2]]})
    suite.eventually(lambda: ask()[0] == 200, 60, "the second gateway does not serve")
    for name in ("rpc", "events"):
        os.unlink(f"{run}/{name}-2.sock")
    suite.processes["registry"].kill()
    suite.processes["registry"].start()
    suite.eventually(lambda: suite.api.request("GET", "/api/datasets")[0] == 200, 60, "no registry")
    suite.deploy("m", 2)
    suite.eventually(
        lambda: (a := ask())[0] == 200 and a[2]["outputs"] == [[3, 6]], 60, "not the new version"
    )
    assert other.get("/api/models/m")["deployment"]["version"] == "1"  # that is all it knows
