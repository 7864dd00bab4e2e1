"""What a trained version answers, compared with what its trainer has computed for the same rows.

Both see raw rows: the trainer in its data set, the server in requests.  Python's ONNX Runtime runs
the version's file a third time, after a full check of it.
"""

import numpy as np
import onnx
import onnxruntime

SERVED = 1e-4  # how far an answer may be from the trainer's own; of values: in units of their size
PYTHON = 1e-5  # and Python's ONNX Runtime from the answer
AT_A_TIME = 500  # rows of a request
OUTPUTS = ("probabilities", "values")
TYPES = {"tensor(float)": np.float32, "tensor(string)": object}


def raw(api, model, cells):
    """The columns that the model takes, as a client sends them: numbers (or null), and text."""
    given = api.get(f"/v2/models/{model}")["inputs"]

    def value(datatype, cell):
        if datatype == "BYTES":
            return cell
        return float(cell) if cell else None

    return {i["name"]: [[value(i["datatype"], cell)] for cell in cells[i["name"]]] for i in given}


def part(inputs, at):
    if isinstance(inputs, dict):
        return {name: rows[at : at + AT_A_TIME] for name, rows in inputs.items()}
    return inputs[at : at + AT_A_TIME]


def answers(api, model, inputs):
    """Of all rows, in several requests."""
    rows = len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs)
    got = []
    for at in range(0, rows, AT_A_TIME):
        got += api.call("POST", "/predict", {"model": model, "inputs": part(inputs, at)})["outputs"]
    return np.array(got, dtype=np.float32)


def in_python(data, inputs):
    """(answers, their name) of the file, in Python's ONNX Runtime."""
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    given = session.get_inputs()
    columns = inputs if isinstance(inputs, dict) else {given[0].name: inputs}
    feed = {i.name: np.array(columns[i.name], dtype=TYPES[i.type]) for i in given}
    (out,) = session.get_outputs()
    assert out.name in OUTPUTS, out
    return session.run(None, feed)[0], out.name


def compare(api, model, inputs, trained):
    """How far apart they are: {"served": ..., "python": ..., "classes": rows of another class}."""
    served = answers(api, model, inputs)
    trained = trained.reshape(served.shape)
    data = api.get(f"/api/models/{model}/versions/1/artifact")
    python, kind = in_python(data, inputs)
    size = np.abs(trained).max() if kind == "values" else 1
    other = (served.argmax(1) != trained.argmax(1)).sum() if kind == "probabilities" else 0
    return {
        "served": float(np.abs(served - trained).max() / size),
        "python": float(np.abs(served - python).max() / size),
        "classes": int(other),
    }


def equal(found):
    return found["served"] <= SERVED and found["python"] <= PYTHON and not found["classes"]
