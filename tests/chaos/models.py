"""The models of the chaos test, and the thread that deploys new versions of them.

A version is known by its answers: an ONNX version computes y = x * a + b with its own a and b,
small enough that float32 is exact.  The fake runtime echoes, sleeps and fails on demand.

    steady   ONNX, one version, asked for by its number
    small    ONNX, a new version all the time
    large    the same, in a file of several chunks
    fake     the same for the fake runtime; some of its versions cannot be loaded

A Model remembers what it has asked the suite for: `functions` (version -> a, b), `asked` (versions
in the order of their deployment, whether or not the answer came), `acked` (what was answered 2xx,
and must therefore be there at the end).
"""

import http.client
import json
import random
import struct
import threading
import time

ROLLING = ("small", "large", "fake")
NAMES = ("steady", *ROLLING)
LARGE_BYTES = 2_300_000
SERVE_SECONDS = 30  # a rollout that takes longer than this is left to itself
PAUSE_SECONDS = 0.3
FACTOR_MAX, OFFSET_MAX = 400, 1000
PASSING = (429, 502, 503, 504)  # answers of the API while something it needs is away
BROKEN_EVERY = 5  # of the fake versions

# ---- ONNX, as bytes: a message is a list of (field number, value)


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def message(*fields):
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def _number(name, value):
    return message((1, 1), (2, 1), (8, name), (9, struct.pack("<f", value)))


def _tensor(name):
    shape = message((1, message((2, "N"))), (1, message((1, 2))))
    return message((1, name), (2, message((1, message((1, 1), (2, shape))))))


def onnx(a, b, padding=""):
    """y = x * a + b for rows of two numbers."""
    graph = message(
        (1, message((1, "x"), (1, "a"), (2, "h"), (4, "Mul"))),
        (1, message((1, "h"), (1, "b"), (2, "y"), (4, "Add"))),
        (2, "g"),
        (5, _number("a", a)),
        (5, _number("b", b)),
        (11, _tensor("x")),
        (12, _tensor("y")),
    )
    return message((1, 8), (6, padding), (7, graph), (8, message((1, ""), (2, 17))))


# ---- a client for the API that outlives gateways


def ask(port, method, path, body=None, seconds=10):
    """(status, value); (0, reason) when no answer came."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        connection.request(method, path, body=data)
        answer = connection.getresponse()
        text = answer.read()
        kind = answer.headers.get("Content-Type", "")
        return answer.status, json.loads(text) if kind.startswith("application/json") else text
    except (OSError, http.client.HTTPException) as error:
        return 0, repr(error)
    finally:
        connection.close()


class Model:
    def __init__(self, name, seed):
        self.name = name
        self.random = random.Random(f"{seed} {name}")
        self.functions = {}
        self.asked = []
        self.acked = set()
        self.acked_deployment = 0  # index in asked
        self.made = 0

    def make(self):
        """(bytes, format, function) of a new version; function None: it cannot be loaded."""
        self.made += 1
        a, b = self.random.randint(1, FACTOR_MAX), self.random.randint(0, OFFSET_MAX)
        if self.name == "fake":
            if self.made % BROKEN_EVERY == 0:
                return b"fake fail=made so\n", "fake", None
            return f"fake load={self.random.choice((0, 100, 700))}\n".encode(), "fake", (1, 0)
        padding = ""
        if self.name == "large":
            padding = f"{self.random.getrandbits(4 * LARGE_BYTES):x}"
        return onnx(a, b, padding), "onnx", (a, b)


class Rollouts:
    """Uploads and deploys, one version after the other, until stopped."""

    def __init__(self, ports, seed, failed):
        self.models = {name: Model(name, seed) for name in NAMES}
        self.ports = ports
        self.random = random.Random(f"{seed} rollouts")
        self.failed = failed  # called with a sentence
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.seconds = []  # from the upload to the answer of both gateways
        self.refused = {}  # passing troubles of the API, by what was asked and status

    def start(self):
        self.thread.start()

    def stop(self):
        self.stopping.set()
        self.thread.join()

    def first(self):
        """One version of each model, before the load begins."""
        for model in self.models.values():
            version, _ = self._upload(model)
            self._deploy(model, version)
            if not self._wait_until_served(model, version, 60):
                raise SystemExit(f"the first version of {model.name} is not served")

    def _call(self, what, method, path, body, good, also=()):
        """The value when the status is `good`, None when the trouble will pass."""
        status, value = ask(self.random.choice(self.ports), method, path, body, 60)
        if status == good:
            return value
        if status and status not in PASSING and status not in also:
            self.failed(f"{what} of {path} was answered {status} {value}")
        key = f"{what} {status}"
        self.refused[key] = self.refused.get(key, 0) + 1
        return None

    def _upload(self, model):
        data, form, function = model.make()
        path = f"/api/models/{model.name}/versions?format={form}"
        value = self._call("upload", "POST", path, data, 201)
        if not value:
            return None, function
        version = int(value["version"])
        if function:
            model.functions[version] = function
        model.acked.add(version)
        return version, function

    def _deploy(self, model, version, also=()):
        model.asked.append(version)
        index = len(model.asked)
        path = f"/api/models/{model.name}/deployment"
        if self._call("deployment", "PUT", path, {"version": str(version)}, 200, also):
            model.acked_deployment = index
            return True
        return False

    def _serving(self, model, port):
        status, value = ask(port, "GET", f"/api/models/{model.name}")
        deployment = value.get("deployment") if status == 200 else None
        return int(deployment["serving"]) if deployment else 0

    def _wait_until_served(self, model, version, seconds=SERVE_SECONDS):
        deadline = time.monotonic() + seconds
        while not self.stopping.wait(0.05) and time.monotonic() < deadline:
            if all(self._serving(model, port) == version for port in self.ports):
                return True
        return False

    def _wait_until_failed(self, model, version):
        deadline = time.monotonic() + SERVE_SECONDS
        path = f"/api/models/{model.name}/versions/{version}"
        while not self.stopping.wait(0.05) and time.monotonic() < deadline:
            status, value = ask(self.ports[0], "GET", path)
            if status == 200 and value["check"] == "failed":
                return

    def _roll(self, model):
        begin = time.monotonic()
        version, function = self._upload(model)
        if not version:
            return
        if not function:
            self._deploy(model, version, (409,))
            self._wait_until_failed(model, version)
        elif self._deploy(model, version) and self._wait_until_served(model, version):
            self.seconds.append(time.monotonic() - begin)

    def _run(self):
        while not self.stopping.wait(PAUSE_SECONDS):
            self._roll(self.models[self.random.choice(ROLLING)])
