"""What a trained version answers, compared with what its trainer has computed for the same rows.

Both see raw rows: the trainer in its data set, the server in requests.  Python's ONNX Runtime runs
the version's file a third time, after a full check of it.
"""

import io

import numpy as np
import onnx
import onnxruntime

import tables

SERVED = 1e-4  # how far an answer may be from the trainer's own; of values: in units of their size
PYTHON = 1e-5  # and Python's ONNX Runtime from the answer
AT_A_TIME = 500  # rows of a request
OUTPUTS = ("probabilities", "values")
TYPES = {"tensor(float)": np.float32, "tensor(string)": object}

# Of each learner of tables what it learns: (task, target, what is left out).
CLASSES = ("classification", tables.CLASS, tables.VALUE)
VALUES = ("regression", tables.VALUE, tables.CLASS)
LEARNERS = {
    "linear": [VALUES], "logistic": [CLASSES], "mlp": [CLASSES, VALUES], "tree": [CLASSES, VALUES],
    "forest": [CLASSES, VALUES], "boosted": [CLASSES, VALUES], "auto": [CLASSES, VALUES],
}  # fmt: skip
HELD = 0.2  # the last rows of a table


def jobs_of_tables(dataset, params):
    """A job by its model's name for every learner of tables and what it learns; params by learner."""
    jobs = {}
    for learner, tasks in LEARNERS.items():
        for task, target, other in tasks:
            given = {"task": task, "order": tables.ORDER, "test": HELD, "drop": other, **params.get(learner, {})}
            jobs[f"{learner}-{task}"] = {"learner": learner, "dataset": dataset, "target": target, "params": given}
    return jobs


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def upload_images(api, dataset, x, y):
    """Images of which a part is held out; that part, as rows of a request."""
    split = round(len(x) * (1 - HELD))
    for name, array in (("train", slice(split)), ("test", slice(split, None))):
        api.call("PUT", f"/api/datasets/{dataset}/files/x_{name}.npy", npy(x[array]))
        api.call("PUT", f"/api/datasets/{dataset}/files/y_{name}.npy", npy(y[array]))
    return x[split:].reshape(len(x) - split, -1).tolist()


def held_out(cells):
    """The rows that the jobs of tables do not learn from."""
    rows = round(HELD * len(cells[tables.ORDER]))
    return {name: column[-rows:] for name, column in cells.items()}


def described(api, model):
    """It can be asked, and the gateway has heard what it takes."""
    return (
        api.request("GET", f"/readyz?model={model}")[0] == 200
        and api.get(f"/api/models/{model}/versions/1")["check"] == "passed"
    )


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
    python, kind = in_python(api.get(f"/api/models/{model}/versions/1/artifact"), inputs)
    size = np.abs(trained).max() if kind == "values" else 1
    other = (served.argmax(1) != trained.argmax(1)).sum() if kind == "probabilities" else 0
    return {
        "served": float(np.abs(served - trained).max() / size),
        "python": float(np.abs(served - python).max() / size),
        "classes": int(other),
    }


def equal(found):
    return found["served"] <= SERVED and found["python"] <= PYTHON and not found["classes"]
