"""Fixtures: a whole suite per test, in a directory of its own."""

import os
import shutil
import sys
import tempfile

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "deploy", "local"))
sys.path.insert(0, os.path.join(ROOT, "tests", "system"))

from api import Api  # noqa: E402
from suite import Process, Suite  # noqa: E402

# What the tests call the suite of a sanitizer build may take longer.
PATIENCE = 60


class TestSuite(Suite):
    """A suite with a client, and words for what tests wait for."""

    __test__ = False

    def __init__(self, **options):
        self.directory = tempfile.mkdtemp(prefix="maas-test-")
        options.setdefault("workers", 1)
        options.setdefault("trainers", 0)
        super().__init__(os.environ["MAAS_BIN"], self.directory, **options)
        self.clients = []

    def start(self):
        super().start()
        self.api = self.client()
        self.eventually(
            lambda: self.api.request("GET", "/api/models")[0] == 200, PATIENCE, "no catalog"
        )
        return self

    def client(self):
        client = Api("127.0.0.1", self.port)
        self.clients.append(client)
        return client

    def upload(self, model, data, fmt="onnx"):
        """Registers a version and waits for its check; the version as the API shows it."""
        done = self.api.call("POST", f"/api/models/{model}/versions?format={fmt}", data)
        path = f"/api/models/{model}/versions/{done['version']}"
        return self.eventually(
            lambda: (v := self.api.get(path))["check"] != "pending" and v, PATIENCE, "no check"
        )

    def deploy(self, model, version, wait=True):
        self.api.call("PUT", f"/api/models/{model}/deployment", {"version": version})
        if wait:
            self.eventually(lambda: self.serving(model) == str(version), PATIENCE, "not serving")

    def serving(self, model):
        answer = self.api.get(f"/api/models/{model}")
        version = answer["deployment"]["serving"]
        engines = {v["version"]: v["engines"] for v in answer["versions"]}
        return version if engines.get(version) else None

    def engine_pids(self):
        workers = self.api.get("/api/workers")["workers"]
        return [e["pid"] for w in workers for e in w["engines"] if e["pid"]]

    def second_gateway(self, **options):
        """A client of one more gateway for the same engines; events="..." and such."""
        argv = list(self.processes["gateway"].argv)
        argv[argv.index("--http") + 1] = "127.0.0.1:0"
        argv[argv.index("--jobs") + 1] = "ipc://run/jobs-2.sock"
        for name, value in options.items():
            argv[argv.index("--" + name) + 1] = value
        process = self.processes["gateway-2"] = Process(self, "gateway-2", argv).start()
        port = self.eventually(lambda: self._logged_port(process), 20, "the gateway does not start")
        self.clients.append(Api("127.0.0.1", port))
        return self.clients[-1]

    def metric(self, name):
        """The value of a series without labels."""
        lines = self.api.get("/metrics").decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(name + " "))

    def finish(self):
        for client in self.clients:
            client.close()
        statuses = self.stop()
        logs = {name: p.log() for name, p in self.processes.items()}
        shutil.rmtree(self.directory, ignore_errors=True)
        return statuses, logs


@pytest.fixture
def make_suite():
    suites = []

    def make(**options):
        suite = TestSuite(**options)
        suites.append(suite)
        return suite.start()

    yield make
    for suite in suites:
        suite.finish()


@pytest.fixture
def suite(make_suite):
    return make_suite()


@pytest.fixture
def fake_suite(make_suite):
    """A suite whose worker runs fake models too."""
    return make_suite(options={"worker": ["--allow-fake"]})
