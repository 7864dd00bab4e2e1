"""The usual stack, for `make bench`: Flask, TorchScript, the same network, the same JSON."""

import flask
import torch

torch.set_num_threads(1)
torch.manual_seed(1)
network = torch.jit.script(
    torch.nn.Sequential(torch.nn.Linear(10, 50), torch.nn.ReLU(), torch.nn.Linear(50, 10)).eval()
)
app = flask.Flask(__name__)


@app.post("/predict")
def predict():
    rows = torch.tensor(flask.request.get_json()["inputs"], dtype=torch.float32)
    with torch.inference_mode():
        outputs = network(rows)
    return flask.jsonify({"outputs": outputs.tolist(), "model": "net", "version": "1"})
