"""The ONNX project's model cases (Debian's libonnx-testdata), uploaded and asked over HTTP.

Each case is a model with inputs and the outputs that it must give.  It is asked three ways:
binary tensors, JSON tensors, and POST /predict.  What ONNX Runtime cannot do is listed here by
name and reason, and must be refused with that reason: a case that begins to work fails the
test until its line is removed.
"""

import glob
import json
import locale
import os
import struct

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from api import ApiError

HEADER = "Inference-Header-Content-Length"
HOME = "/usr/share/libonnx-testdata/data"
COLLECTIONS = ["simple", "pytorch-converted", "pytorch-operator"]
COUNT = 140  # of cases in Debian 13
GROUP = 24  # engines at once
PATIENCE = 120

DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64", "object": "BYTES",
}  # fmt: skip
NUMPY = {theirs: np.dtype(ours).newbyteorder("<") for ours, theirs in DATATYPES.items() if ours != "object"}

# ONNX Runtime implements these operators from a later operator set on, or not at all.
OLD = {
    "Add(6)": """Softsign operator_add_broadcast operator_add_size1_broadcast operator_addconstant
        operator_add_size1_right_broadcast operator_add_size1_singleton_broadcast operator_basic
        operator_non_float_params operator_params""",
    "AveragePool(1)": """AvgPool1d AvgPool1d_stride AvgPool2d AvgPool2d_stride AvgPool3d
        AvgPool3d_stride AvgPool3d_stride1_pad0_gpu_input""",
    "BatchNormalization(6)": """BatchNorm1d_3d_input_eval BatchNorm2d_eval
        BatchNorm2d_momentum_eval BatchNorm3d_eval BatchNorm3d_momentum_eval""",
    "Gemm(6)": "Linear operator_addmm operator_mm",
    "Gradient(1)": "gradient_of_add gradient_of_add_and_mul",
    "Mul(6)": "GLU GLU_dim PoissonNLLLLoss_no_reduce",
    "Pow(1)": "operator_pow",
    "PRelu(6)": """PReLU_1d PReLU_1d_multiparam PReLU_2d PReLU_2d_multiparam PReLU_3d
        PReLU_3d_multiparam""",
}
REFUSED = {
    name: f"Could not find an implementation for {operator}"
    for operator, names in OLD.items()
    for name in names.split()
}
# StringNormalizer needs this locale, which a machine may lack.
LOCALE = "en_US.UTF-8"
STRNORM = "strnorm_model_monday_"
LOCALE_REFUSED = [STRNORM + "empty_output", STRNORM + "insensintive_upper_twodim"]
LOCALE_FAILS = [STRNORM + "casesensintive_" + change for change in ("lower", "nochangecase", "upper")]


# ---- cases


def tensor(path):
    made = onnx.TensorProto()
    with open(path, "rb") as file:
        made.ParseFromString(file.read())
    return numpy_helper.to_array(made)


class Case:
    def __init__(self, directory):
        self.name = os.path.basename(directory).removeprefix("test_")
        self.path = os.path.join(directory, "model.onnx")
        graph = onnx.load(self.path).graph
        weights = {w.name for w in graph.initializer}
        self.inputs = [i for i in graph.input if i.name not in weights]
        self.outputs = list(graph.output)
        data = os.path.join(directory, "test_data_set_0")
        self.given = {t.name: tensor(f"{data}/input_{i}.pb") for i, t in enumerate(self.inputs)}
        self.expected = {t.name: tensor(f"{data}/output_{i}.pb") for i, t in enumerate(self.outputs)}


def cases(collection):
    found = sorted(glob.glob(f"{HOME}/{collection}/*/model.onnx"))
    return [Case(os.path.dirname(path)) for path in found]


# ---- arrays as the protocol has them


def datatype(array):
    return DATATYPES[array.dtype.name]


def text_of(element):
    return element.decode() if isinstance(element, bytes) else element


def pack(array):
    if datatype(array) != "BYTES":
        return array.astype(array.dtype.newbyteorder("<")).tobytes()
    texts = [text_of(e).encode() for e in array.ravel()]
    return b"".join(struct.pack("<I", len(t)) + t for t in texts)


def unpack(kind, shape, data):
    if kind != "BYTES":
        return np.frombuffer(data, NUMPY[kind]).reshape(shape)
    texts = []
    while data:
        end = 4 + struct.unpack_from("<I", data)[0]
        texts.append(data[4:end].decode())
        data = data[end:]
    return np.array(texts, object).reshape(shape)


def plain(array, nested):
    """What JSON has for the array; it has no NaN."""
    array = np.vectorize(text_of, otypes=[object])(array) if datatype(array) == "BYTES" else array
    return array.tolist() if nested else array.ravel().tolist()


def from_plain(kind, shape, data):
    if kind == "BYTES":
        return np.array(data, object).reshape(shape)
    return np.array(data, NUMPY[kind]).reshape(shape)  # None becomes NaN


def same(got, expected):
    assert got.shape == expected.shape and datatype(got) == datatype(expected)
    if datatype(expected) == "BYTES":
        assert plain(got, True) == plain(expected, True)
    else:
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)


# ---- three ways to ask


def ask_binary(api, case):
    inputs = [
        {"name": name, "datatype": datatype(a), "shape": a.shape,
         "parameters": {"binary_data_size": len(pack(a))}}
        for name, a in case.given.items()
    ]  # fmt: skip
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    body = head + b"".join(pack(a) for a in case.given.values())
    status, headers, answer = api.request(
        "POST", f"/v2/models/{case.name}/infer", body, {HEADER: str(len(head))}
    )
    assert status == 200, answer
    at = int(headers[HEADER])
    outputs = {}
    for o in json.loads(answer[:at])["outputs"]:
        end = at + o["parameters"]["binary_data_size"]
        outputs[o["name"]] = unpack(o["datatype"], o["shape"], answer[at:end])
        at = end
    assert at == len(answer)
    return outputs


def ask_json(api, case):
    inputs = [
        {"name": name, "datatype": datatype(a), "shape": a.shape, "data": plain(a, i % 2 and a.ndim)}
        for i, (name, a) in enumerate(case.given.items())
    ]
    answer = api.call("POST", f"/v2/models/{case.name}/infer", {"inputs": inputs})
    return {o["name"]: from_plain(o["datatype"], o["shape"], o["data"]) for o in answer["outputs"]}


def ask_predict(api, case):
    """Its answers have no shapes: they are nested."""
    inputs = {name: plain(a, True) for name, a in case.given.items()}
    answer = api.call("POST", f"/predict?model={case.name}", {"inputs": inputs})["outputs"]
    named = answer if len(case.outputs) > 1 else {case.outputs[0].name: answer}
    return {
        name: from_plain(datatype(e), np.shape(named[name]), named[name])
        for name, e in case.expected.items()
    }


def check_metadata(api, case):
    told = api.get(f"/v2/models/{case.name}")
    for tensors, side in ((case.inputs, "inputs"), (case.outputs, "outputs")):
        assert [t["name"] for t in told[side]] == [t.name for t in tensors]
    for name, array in case.given.items():
        entry = next(t for t in told["inputs"] if t["name"] == name)
        assert entry["datatype"] == datatype(array) and len(entry["shape"]) == array.ndim


def ask(api, case):
    check_metadata(api, case)
    binary, text, rows = (f(api, case) for f in (ask_binary, ask_json, ask_predict))
    assert list(binary) == list(text) == [t.name for t in case.outputs]
    for name, expected in case.expected.items():
        for got in (binary[name], text[name], rows[name]):
            same(got, expected)
        if datatype(expected) != "BYTES":
            np.testing.assert_array_equal(binary[name], text[name])


# ---- tests


def upload_all(suite, list_of_cases):
    """Registers all versions; the reasons of those that cannot be loaded, by name."""
    for case in list_of_cases:
        with open(case.path, "rb") as file:
            done = suite.api.call("POST", f"/api/models/{case.name}/versions", file)
        assert done["version"] == "1"
    checked = {}

    def all_checked():
        for case in list_of_cases:
            if case.name not in checked:
                version = suite.api.get(f"/api/models/{case.name}/versions/1")
                if version["check"] == "pending":
                    return False
                checked[case.name] = version
        return True

    suite.eventually(all_checked, PATIENCE, "the versions are not checked")
    return {name: v["reason"] for name, v in checked.items() if v["check"] == "failed"}


def ask_group(suite, group):
    wrong = {}
    for case in group:
        suite.api.call("PUT", f"/api/models/{case.name}/deployment", {"version": "1"})
    for case in group:
        try:
            ask(suite.api, case)
        except (AssertionError, ApiError) as error:
            wrong[case.name] = str(error)
    for case in group:
        suite.api.call("POST", f"/v2/repository/models/{case.name}/unload")
    suite.eventually(lambda: not suite.engine_pids(), PATIENCE, "engines do not end")
    return wrong


def locale_is_there():
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, LOCALE)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_CTYPE, before)
    return True


def check_refused(api, refused, reasons):
    """Exactly those that are known, each with its reason, and none can be deployed."""
    assert set(refused) == set(reasons)
    for name, reason in refused.items():
        assert reasons[name] in reason
        status, _, answer = api.request("PUT", f"/api/models/{name}/deployment", {"version": "1"})
        assert status == 409 and reasons[name] in answer["error"], answer


def check_failing(suite, case):
    """It loads, but cannot answer: a clear error, and the engine lives on."""
    suite.deploy(case.name, 1)
    engines = suite.engine_pids()
    for form in (ask_json, ask_predict):
        with pytest.raises(ApiError, match=LOCALE) as caught:
            form(suite.api, case)
        assert caught.value.status in (400, 500)
    assert suite.engine_pids() == engines
    suite.api.call("POST", f"/v2/repository/models/{case.name}/unload")


def test_all_are_there():
    names = [case.name for collection in COLLECTIONS for case in cases(collection)]
    assert len(names) == len(set(names)) == COUNT
    assert set(names) >= {*REFUSED, *LOCALE_REFUSED, *LOCALE_FAILS}


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_cases(suite, collection):
    known = {case.name: case for case in cases(collection)}
    reasons, fails = dict(REFUSED), []
    if not locale_is_there():
        reasons.update(dict.fromkeys(LOCALE_REFUSED, LOCALE))
        fails = LOCALE_FAILS
    refused = upload_all(suite, known.values())
    check_refused(suite.api, refused, {n: r for n, r in reasons.items() if n in known})
    works = [case for name, case in known.items() if name not in refused and name not in fails]
    wrong = {}
    for i in range(0, len(works), GROUP):
        wrong.update(ask_group(suite, works[i : i + GROUP]))
    assert wrong == {}
    for name in known.keys() & set(fails):
        check_failing(suite, known[name])
    assert b"\nmaas_gateway_engines_lost_total " not in suite.api.get("/metrics")
    assert all(p.alive() for p in suite.processes.values())
