#!/usr/bin/env python3
"""Requests per second and latency of POST /predict beside nginx answering a constant body.

Both serve the same body under the same wrk settings, in alternating rounds on this machine;
the medians are shown.  Every record goes to build/bench.json as one JSON line.
"""

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "deploy", "local"))
sys.path.insert(0, os.path.join(ROOT, "tests", "system"))

import networks  # noqa: E402
from api import Api  # noqa: E402
from suite import Suite  # noqa: E402

ROUNDS = 5
SECONDS = 3
CONNECTIONS = (1, 32, 64)
ROW = [0.1 * i for i in range(10)]
WAIT_SECONDS = 60

WRK_SCRIPT = """
wrk.method = "POST"
wrk.body = %s
wrk.headers["Content-Type"] = "application/json"
function done(summary, latency, requests)
  io.write(string.format("JSON {\\"requests\\":%%d,\\"us\\":%%d,\\"p50_us\\":%%d,\\"p99_us\\":%%d,\\"errors\\":%%d}\\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.timeout))
end
"""


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


def wrk(port, path, connections, script):
    out = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "-s", script, f"http://127.0.0.1:{port}{path}"],
        capture_output=True,
        check=True,
    ).stdout.decode()
    found = json.loads(re.search(r"JSON (.*)", out).group(1))
    assert found["errors"] == 0, f"{found['errors']} answers were not 200"
    found["rps"] = found["requests"] * 1e6 / found["us"]
    return found


def start_suite(args, directory):
    data, answer = networks.perceptron([10, 50, 10])
    suite = Suite(args.bin, directory, workers=1, trainers=0).start()
    api = Api("127.0.0.1", suite.port)
    suite.eventually(lambda: api.request("GET", "/api/models")[0] == 200, WAIT_SECONDS, "no catalog")
    api.call("POST", "/api/models/net/versions", data)
    suite.eventually(
        lambda: api.get("/api/models/net/versions/1")["check"] == "passed", WAIT_SECONDS, "no check"
    )
    api.call("PUT", "/api/models/net/deployment", {"version": "1"})
    suite.eventually(
        lambda: api.request("GET", "/readyz?model=net")[0] == 200, WAIT_SECONDS, "not ready"
    )
    got = api.call("POST", "/predict", {"inputs": [ROW]})
    assert abs(got["outputs"][0][0] - float(answer([ROW])[0][0])) < 1e-4
    api.close()
    return suite, json.dumps(got, separators=(",", ":"))


def measure(suite, nginx, script, connections):
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(wrk(suite.port, "/predict", connections, script))
        theirs.append(wrk(nginx.port, "/predict", connections, script))
    record = {"bench": "predict 10-50-10", "connections": connections, "rounds": ROUNDS}
    for name, runs in (("maas", ours), ("nginx", theirs)):
        for key in ("rps", "p50_us", "p99_us"):
            record[f"{name}_{key}"] = round(statistics.median(r[key] for r in runs), 1)
    record["rps_ratio"] = round(
        statistics.median(a["rps"] / b["rps"] for a, b in zip(ours, theirs)), 3
    )
    return record


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", default="build/gcc/bin")
    parser.add_argument("--out", default="build/bench.json")
    args = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="maas-bench-")
    suite = nginx = None
    try:
        suite, body = start_suite(args, directory)
        nginx = Nginx(directory, body)
        script = os.path.join(directory, "post.lua")
        with open(script, "w", encoding="utf-8") as file:
            file.write(WRK_SCRIPT % json.dumps(json.dumps({"inputs": [ROW]})))
        print(f"{'connections':>11} {'MaaS req/s':>11} {'nginx req/s':>12} {'ratio':>6} "
              f"{'MaaS p50':>9} {'p99':>8} {'nginx p50':>10} {'p99':>8}   (microseconds)")  # fmt: skip
        with open(args.out, "w", encoding="utf-8") as out:
            for connections in CONNECTIONS:
                r = measure(suite, nginx, script, connections)
                out.write(json.dumps(r) + "\n")
                print(f"{connections:>11} {r['maas_rps']:>11.0f} {r['nginx_rps']:>12.0f} "
                      f"{r['rps_ratio']:>6.2f} {r['maas_p50_us']:>9.0f} {r['maas_p99_us']:>8.0f} "
                      f"{r['nginx_p50_us']:>10.0f} {r['nginx_p99_us']:>8.0f}", flush=True)  # fmt: skip
        print(f"written to {args.out}")
    finally:
        if nginx:
            nginx.stop()
        if suite:
            suite.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
