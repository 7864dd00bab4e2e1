"""The README's tables of endpoints: complete, and each example works as it is typed; "Train your own", as it is pasted.

A new endpoint is a row there; nothing is to be added here, unless its example needs a file.
"""

import glob
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile

import pytest

from conftest import ROOT
from test_training import iris
from test_warmup import doubled, samples

# `METHOD /path` | words | `example` | status
ROW = re.compile(r"^\| `([A-Z]+) (/[^`]*)` \|.*\| `([^`]*)` \| (\d{3}) \|$", re.MULTILINE)
ROUTE = re.compile(r'\{ "([A-Z]+)", "(/[^"]*)", \w+, \w+ \}')
PATIENCE = 60


def readme():
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        return file.read()


def rows():
    return ROW.findall(readme())


def test_every_endpoint_is_in_the_readme():
    routes = set()
    for path in glob.glob(os.path.join(ROOT, "services/gateway/api/*.c")):
        with open(path, encoding="utf-8") as file:
            routes |= set(ROUTE.findall(file.read()))
    shown = {(method, re.sub(r"\{\w+\}", "{}", path.partition("?")[0])) for method, path, _, _ in rows()}
    assert len(routes) > 50
    assert routes - shown == set(), "endpoints that the README does not show"
    assert shown - routes == set(), "endpoints that are not there"


def test_examples_are_of_their_endpoint():
    for method, path, example, _ in rows():
        path = path.partition("?")[0]
        pattern = re.sub(r"\\\{\w+\\\}", r"[^/: \"?]+", re.escape(path))
        assert re.search(r"\$U" + pattern + r"([ \"?]|$)", example), example
        said = re.search(r"-X ([A-Z]+)", example)
        plain = "PUT" if " -T " in example else "POST" if " -d " in example else "GET"
        assert method == (said.group(1) if said else plain), example


def write_files(folder):
    """What the examples send."""
    model, warmup = doubled(), samples(([[1, 2]], [[2, 4]]))
    with tarfile.open(folder / "model.tar", "w") as archive:
        for name, data in (("model.onnx", model), ("warmup.json", warmup)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    (folder / "model.onnx").write_bytes(model)
    (folder / "iris.csv").write_bytes(iris())
    return hashlib.sha256(model).hexdigest()


def run(example, folder, env):
    """(status, answer)"""
    script = 'curl() { command curl -sS -w "\\n%{http_code}" "$@"; }\n' + example
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env={**os.environ, **env}, capture_output=True, timeout=PATIENCE
    )
    assert done.returncode == 0, (example, done.stderr)
    answer, _, status = done.stdout.rpartition(b"\n")
    return int(status), answer


def checked(suite):
    """No new version waits for its check."""
    index = suite.api.get("/api/models")["models"]
    models = [suite.api.get(f"/api/models/{m['name']}") for m in index]
    return all(v["check"] != "pending" for m in models for v in m["versions"])


@pytest.mark.timeout(3 * PATIENCE)
def test_the_examples(make_suite, tmp_path):
    suite, empty = make_suite(), make_suite(workers=0)
    env = {"SUM": write_files(tmp_path), "ID": ""}
    for method, path, example, status in rows():
        env["U"] = empty.url if path == "/api/restore" else suite.url  # it wants an empty one
        suite.eventually(lambda: checked(suite), PATIENCE, "no check")  # people type slower
        got, answer = run(example, tmp_path, env)
        assert got == int(status), (example, answer)
        if answer.startswith(b"{"):
            env["ID"] = json.loads(answer).get("id", env["ID"])


def test_train_your_own_as_it_is_pasted(make_suite, tmp_path):
    suite = make_suite(trainers=1)
    commands = re.search(r"### Train your own\n.*?```sh\n(.*?)```", readme(), re.DOTALL).group(1)
    script = commands.replace("http://127.0.0.1:8080", suite.url)
    done = subprocess.run(["bash", "-ec", script], cwd=tmp_path, capture_output=True, timeout=2 * PATIENCE)
    said = done.stdout.decode()
    assert done.returncode == 0, (said, done.stderr)
    assert "event: epoch\n" in said and "event: end\n" in said
    assert '"state":"done"' in said and '{"ready":true}' in said
    fifty_in_oslo, fifty_in_rome, nobody = json.JSONDecoder().raw_decode(said[said.rindex('{"outputs"') :])[0]["outputs"]
    assert fifty_in_oslo[1] > 0.5 > fifty_in_rome[1]  # no, yes
    assert sum(nobody) == pytest.approx(1)
