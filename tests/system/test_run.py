"""`make run`, as a person uses it: the quickstart, the lines that it prints and those of the README."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile

import networks
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
README = os.path.join(ROOT, "README.md")
SANITIZED = os.path.basename(os.path.dirname(os.environ["MAAS_BIN"])) not in ("gcc", "clang")
PATIENCE = 300


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Run:
    """run.py in a process group of its own, and what it has printed so far."""

    def __init__(self, data, port):
        command = [sys.executable, os.path.join(ROOT, "deploy/local/run.py"), "--bin",
                   os.path.abspath(os.environ["MAAS_BIN"]), "--data", data, "--port", str(port)]  # fmt: skip
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.text = ""

    def until(self, pattern):
        """Reads on until a line has the pattern."""
        for line in self.process.stdout:
            self.text += line
            if re.search(pattern, line):
                return line
        raise AssertionError(f"it ended without {pattern!r}:\n{self.text}")

    def interrupt(self):
        os.killpg(self.process.pid, signal.SIGINT)  # Ctrl-C reaches all processes of the terminal
        self.text += self.process.stdout.read()
        return self.process.wait(PATIENCE)


def processes_of(data):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.path.realpath(f"/proc/{pid}/cwd").startswith(data):
                found.append(pid)
        except OSError:
            pass  # it has ended meanwhile, or is not ours
    return found


def curl_lines(text):
    """The curl commands in a text, continued lines joined."""
    return re.findall(r"^ *(curl .*)$", text.replace("\\\n", " "), re.MULTILINE)


def without_training(text):
    """test_readme.py pastes that part, whose commands are no lines that stand alone."""
    return re.sub(r"### Train your own\n.*?(?=\n### )", "", text, flags=re.DOTALL)


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="maas-run-") as path:
        with open(os.path.join(path, "model.onnx"), "wb") as file:
            file.write(networks.times(2))
        yield path


@pytest.mark.skipif(SANITIZED, reason="trains at full size: for the build that people run")
@pytest.mark.timeout(2 * PATIENCE)
def test_quickstart_and_readme_as_pasted(folder):
    from suite import Suite  # noqa: PLC0415

    data, port = os.path.join(folder, "data"), free_port()
    run = Run(data, port)
    try:
        run.until(r"curl .*/metrics")
        found = re.search(r"accuracy on the held-out test set (0\.\d+)", run.text)
        assert float(found.group(1)) > 0.85, run.text
        assert len(re.findall(r"^ +\d  \S.*[01]\.\d{4}", run.text, re.MULTILINE)) == 10, run.text
        with open(README, encoding="utf-8") as file:
            readme = file.read().replace("127.0.0.1:8080", f"127.0.0.1:{port}")
        lines = curl_lines(run.text) + curl_lines(without_training(readme))
        assert len(lines) > 10

        def works(line):
            out = subprocess.run(line, shell=True, cwd=folder, check=True, capture_output=True).stdout
            if line.endswith("/metrics"):
                return b"maas_gateway_requests_total" in out
            return out and "error" not in json.loads(out)

        for line in lines:
            if "readyz" in line:
                Suite.eventually(lambda x=line: works(x), PATIENCE, line)
            assert works(line), line
    finally:
        assert run.interrupt() == 0, run.text
    assert "All processes have ended." in run.text
    assert not processes_of(data)

    again = Run(data, port)
    try:
        again.until("fashion-mnist +serves version 1")
        line = curl_lines(run.text)[0]
        Suite.eventually(lambda: works(line), PATIENCE, line)
        assert "Training" not in again.text
    finally:
        assert again.interrupt() == 0, again.text
    assert not processes_of(data)
