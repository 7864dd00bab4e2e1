"""The load, and the judge of every answer.

Each Client holds one keep-alive connection to one gateway and asks one model, one request after
the other, at a steady pace.  A request has its own X-Request-Id and its own numbers, so an answer
that belongs to another request, a second answer or a wrong version's answer is seen at once:

    - the answer carries the request's id,
    - it is 200 (or the 400 that the fake model was told to give),
    - it names a version that was asked to be deployed, not older than what this gateway has
      served before (but for the one before that, while the new one has no engine here),
    - and its values are that version's function of the request's numbers.

What is not accepted: no fault of this test lasts as long as a request's deadline (30 s), and the
queues are never full; so 429, 503 and 504 are failures here, as is a connection that breaks, and
an answer that does not come within ANSWER_SECONDS.  The one excuse: the gateway was killed while
the request was out, or told to end less than ACCEPT_SECONDS after the request was sent.
A gateway that starts gets its first request when its /readyz says yes.
"""

import asyncio
import contextlib
import json
import random
import time

ANSWER_SECONDS = 45
ACCEPT_SECONDS = 0.2
CONNECT_SECONDS = 5
PACE_SECONDS = 0.08  # between two requests of one client
CLIENTS = 2  # for each pair of gateway and model
ROWS_MAX = 3
NUMBERS = 4000  # that one client counts through
STALE_MAX = 2  # deployments that an answer may lie behind the newest one seen
WRONG_KEPT = 50


class Gateway:
    """A gateway as its clients know it.  `ends`: (moment, killed) of each end it was put to."""

    def __init__(self, name, port):
        self.name = name
        self.port = port
        self.ends = []

    def excuses(self, opened, sent, now):
        """Whether a connection of that age may break with that request on it."""
        return any(
            opened <= moment <= now and (killed or sent > moment - ACCEPT_SECONDS)
            for moment, killed in self.ends
        )


class Watch:
    """The time until each pair of gateway and model has answered a request that was sent after
    the watch began."""

    def __init__(self, pairs):
        self.begin = time.monotonic()
        self.waiting = set(pairs)
        self.last = 0.0

    def saw(self, pair, sent, now):
        if pair in self.waiting and sent >= self.begin:
            self.waiting.discard(pair)
            self.last = now - self.begin


class Client:
    def __init__(self, load, gateway, model, number):
        self.load = load
        self.gateway = gateway
        self.model = model
        self.number = number
        self.count = 0
        self.random = random.Random(number)
        self.reader = self.writer = None
        self.opened = 0.0  # when the connection was
        self.sent = 0.0  # 0: no request is out
        self.id = ""

    # ---- connection

    async def run(self):
        while not self.load.stopping.is_set():
            try:
                await self._connect()
                while not self.load.stopping.is_set():
                    await self._one()
                    await self.load.pause(PACE_SECONDS * self.random.uniform(0.5, 1.5))
                await self._end()
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self._broke(error)
            finally:
                if self.writer:
                    self.writer.transport.abort()
                    self.writer = None

    async def _connect(self):
        self.sent = 0.0
        while not self.load.stopping.is_set():
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                self.opened = time.monotonic()
                async with asyncio.timeout(CONNECT_SECONDS):
                    self.reader, self.writer = await asyncio.open_connection(
                        "127.0.0.1", self.gateway.port
                    )
                    self.writer.write(b"GET /readyz HTTP/1.1\r\nhost: m\r\n\r\n")
                    status, _, _ = await self._read()
                    if status == 200:
                        return
            if self.writer:
                self.writer.transport.abort()
                self.writer = None
            await self.load.pause(0.05)

    def _broke(self, error):
        now = time.monotonic()
        late = isinstance(error, TimeoutError)
        if not late and self.gateway.excuses(self.opened, self.sent or now, now):
            self.load.excused += bool(self.sent)
            return
        what = f"request {self.id} of {self.model.name}" if self.sent else "an idle connection"
        age = f" after {now - self.sent:.1f} s" if self.sent else ""
        self.load.wrong("unanswered", f"{what} at {self.gateway.name}: {error!r}{age}")

    async def _end(self):
        """Nothing may come behind the last answer."""
        self.sent = 0.0
        if not self.writer:
            return
        self.writer.write_eof()
        async with asyncio.timeout(CONNECT_SECONDS):
            rest = await self.reader.read()
        if rest:
            self.load.wrong("answered twice", f"{rest[:200]!r} came after the last answer")

    # ---- one request

    def _make(self):
        """(path, body, rows)"""
        self.count += 1
        rows = [
            [self.number * 100 + row, (self.count * ROWS_MAX + row) % NUMBERS]
            for row in range(self.random.randint(1, ROWS_MAX))
        ]
        if self.model.name == "fake":
            rows = [[0, row[1]] for row in rows]
            rows[0] = self.random.choice(([0, rows[0][1]], [0, rows[0][1]], [1, 20], [4, 1]))
        if self.model.name == "steady" or self.count % 2:
            flat = [n for row in rows for n in row]
            tensor = {"name": "x", "datatype": "FP32", "shape": [len(rows), 2], "data": flat}
            pin = "/versions/1" if self.model.name == "steady" else ""
            return f"/v2/models/{self.model.name}{pin}/infer", {"inputs": [tensor]}, rows
        return "/predict", {"model": self.model.name, "inputs": rows}, rows

    async def _one(self):
        path, body, rows = self._make()
        data = json.dumps(body).encode()
        self.id = f"c{self.number}-{self.count}"
        head = f"POST {path} HTTP/1.1\r\nhost: m\r\nx-request-id: {self.id}\r\n"
        newest = self.load.newest(self)
        self.sent = time.monotonic()
        self.load.sent += 1
        self.writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        async with asyncio.timeout(ANSWER_SECONDS):
            status, headers, text = await self._read()
        now = time.monotonic()
        trouble = self._judge(status, headers, text, rows, newest)
        if trouble:
            age = f"{now - self.sent:.1f} s"
            self.load.wrong(trouble[0], f"{self.id} {path} {rows} at {self.gateway.name}: "
                            f"{trouble[1]} ({age})")  # fmt: skip
        else:
            self.load.right(self, now)
        self.sent = 0.0
        if headers.get("connection") == "close":
            raise ConnectionResetError("the gateway said close")

    async def _read(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, body

    # ---- the judge: None, or (kind, sentence)

    def _judge(self, status, headers, text, rows, newest):
        if headers.get("x-request-id") != self.id:
            return "another's answer", f"the id is {headers.get('x-request-id')}"
        told_to_fail = self.model.name == "fake" and any(row[0] == 4 for row in rows)
        if status != (400 if told_to_fail else 200):
            return f"status {status}", text[:300].decode("latin-1")
        if told_to_fail:
            return None if b"told to fail" in text else ("wrong error", text[:300].decode())
        value = json.loads(text)
        version = int(value.get("version") or value.get("model_version"))
        return self._judge_version(version, newest) or self._judge_value(version, value, rows)

    def _judge_version(self, version, newest):
        if version not in self.model.functions or version not in self.model.asked:
            return "wrong version", f"version {version} was never deployed"
        order = [v for v in self.model.asked if v in self.model.functions]
        index = order.index(version)
        if index < newest - STALE_MAX:
            return "stale version", f"version {version} after {order[newest]}"
        self.load.see(self, index)
        return None

    def _judge_value(self, version, value, rows):
        a, b = self.model.functions[version]
        wanted = [[a * n + b for n in row] for row in rows]
        got = value["outputs"]
        if isinstance(got[0], dict):
            flat = got[0]["data"]
            got = [flat[i : i + 2] for i in range(0, len(flat), 2)]
        if got != wanted:
            return "wrong value", f"version {version} says {got}, not {wanted}"
        return None


class Load:
    """All clients.  Fields are written on the event loop and read by the main thread."""

    def __init__(self, gateways, models):
        self.stopping = asyncio.Event()
        self.gateways = gateways
        self.sent = self.answered = self.excused = 0
        self.seconds = []
        self.worst = 0.0  # of the requests that were sent since then
        self.worst_since = 0.0
        self.troubles = {}  # kind -> count
        self.sentences = []
        self.watches = []
        self.seen = {}  # (gateway, model) -> index of the newest deployment that has answered
        pairs = [(g, m) for g in gateways for m in models for _ in range(CLIENTS)]
        self.clients = [Client(self, g, m, i) for i, (g, m) in enumerate(pairs)]
        self.tasks = []

    async def start(self):
        self.tasks = [asyncio.ensure_future(c.run()) for c in self.clients]

    async def stop(self):
        self.stopping.set()
        await asyncio.gather(*self.tasks)

    async def pause(self, seconds):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    def forget_worst(self):
        """Requests that are with the victim already still count, those of an earlier fault do not."""
        self.worst_since = time.monotonic() - ACCEPT_SECONDS
        self.worst = 0.0

    def newest(self, client):
        return self.seen.get((client.gateway.name, client.model.name), 0)

    def see(self, client, index):
        key = (client.gateway.name, client.model.name)
        if index > self.seen.get(key, 0):
            self.seen[key] = index

    def right(self, client, now):
        self.answered += 1
        self.seconds.append(now - client.sent)
        if client.sent >= self.worst_since:
            self.worst = max(self.worst, now - client.sent)
        for watch in tuple(self.watches):
            watch.saw((client.gateway.name, client.model.name), client.sent, now)

    def wrong(self, kind, sentence):
        self.troubles[kind] = self.troubles.get(kind, 0) + 1
        if len(self.sentences) < WRONG_KEPT:
            self.sentences.append((time.monotonic(), f"{kind}: {sentence}"))
