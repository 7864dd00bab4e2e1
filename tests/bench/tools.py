"""What the benchmarks share: the suite, nginx, wrk, and rounds that alternate."""

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import tempfile

from api import Api
from suite import Suite

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = int(os.environ.get("SECONDS_EACH", "3"))
ROW = [0.1 * i for i in range(10)]
WAIT_SECONDS = 60
HEADER = "Inference-Header-Content-Length"

WRK_SCRIPT = """
wrk.method = "POST"
local file = io.open(%s, "rb")
wrk.body = file:read("*a")
file:close()
for name, value in string.gmatch(%s, "([^:]+):([^\\n]+)\\n") do wrk.headers[name] = value end
function done(summary, latency, requests)
  io.write(string.format("JSON {\\"requests\\":%%d,\\"us\\":%%d,\\"p50_us\\":%%d,\\"p99_us\\":%%d,\\"errors\\":%%d}\\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.timeout))
end
"""


def request_file(directory, name, body, headers):
    """A script for wrk that sends this request."""
    data = os.path.join(directory, name + ".body")
    with open(data, "wb") as file:
        file.write(body)
    text = "".join(f"{k}:{v}\n" for k, v in headers.items())
    script = os.path.join(directory, name + ".lua")
    with open(script, "w", encoding="utf-8") as file:
        file.write(WRK_SCRIPT % (json.dumps(data), json.dumps(text)))
    return script


def json_request(directory, name, value):
    return request_file(directory, name, json.dumps(value).encode(), {"Content-Type": "application/json"})


def binary_request(directory, name, tensor, shape, data):
    """An inference with one binary FP32 tensor in, and binary data out."""
    head = json.dumps(
        {
            "inputs": [{"name": tensor, "datatype": "FP32", "shape": shape,
                        "parameters": {"binary_data_size": len(data)}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()  # fmt: skip
    return request_file(directory, name, head + data, {HEADER: len(head)})


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Nginx:
    """`return 200` with the body that the gateway answers."""

    def __init__(self, directory, body):
        self.port = free_port()
        config = os.path.join(directory, "nginx.conf")
        with open(config, "w", encoding="utf-8") as file:
            file.write(
                f"daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log stderr crit;\n"
                "events { worker_connections 1024; }\n"
                "http { access_log off; keepalive_requests 1000000000; default_type application/json;\n"
                f"  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;\n"
                f"  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;\n"
                f"  server {{ listen 127.0.0.1:{self.port}; location / {{ return 200 '{body}'; }} }} }}\n"
            )
        self.process = subprocess.Popen(["nginx", "-c", config], stderr=subprocess.DEVNULL)
        Suite.eventually(self._up, WAIT_SECONDS, "nginx does not start")

    def _up(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        self.process.terminate()
        self.process.wait()


def wrk(port, path, connections, script, seconds=SECONDS):
    out = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script, f"http://127.0.0.1:{port}{path}"],
        capture_output=True,
        check=True,
    ).stdout.decode()
    found = json.loads(re.search(r"JSON (.*)", out).group(1))
    assert found["errors"] == 0, f"{found['errors']} answers were not 200"
    found["rps"] = found["requests"] * 1e6 / found["us"]
    return found


class Bench:
    """A suite in a directory of its own, with what the cases need around it."""

    def __init__(self, bin_dir, **options):
        self.directory = tempfile.mkdtemp(prefix="maas-bench-")
        options.setdefault("workers", 1)
        options.setdefault("trainers", 0)
        self.suite = Suite(bin_dir, self.directory, **options).start()
        self.api = Api("127.0.0.1", self.suite.port)
        self.suite.eventually(
            lambda: self.api.request("GET", "/api/models")[0] == 200, WAIT_SECONDS, "no catalog"
        )
        self.stops = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for other in self.stops:
            other.stop()
        self.api.close()
        self.suite.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def port(self):
        return self.suite.port

    def serve(self, model, data, fmt="onnx", **deployment):
        """Uploads, deploys, and waits until it is ready."""
        self.api.call("POST", f"/api/models/{model}/versions?format={fmt}", data)
        path = f"/api/models/{model}/versions/1"
        self.suite.eventually(
            lambda: self.api.get(path)["check"] == "passed", WAIT_SECONDS, "no check"
        )
        self.api.call("PUT", f"/api/models/{model}/deployment", {"version": "1", **deployment})
        self.suite.eventually(
            lambda: self.api.request("GET", f"/readyz?model={model}")[0] == 200, WAIT_SECONDS, "not ready"
        )

    def nginx(self, body):
        self.stops.append(Nginx(self.directory, body))
        return self.stops[-1]

    def rss_kib(self, name):
        with open(f"/proc/{self.suite.processes[name].pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def median(values):
    return statistics.median(values)


def mean(values):
    return statistics.fmean(values)


def beside(*sides):
    """Alternating rounds of measurements: a list of each."""
    rounds = [[side() for side in sides] for _ in range(ROUNDS)]
    return [list(side) for side in zip(*rounds)]
