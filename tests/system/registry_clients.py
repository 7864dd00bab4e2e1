"""Clients of registries that ask for random things, several at a time, and note what happened.

One thread does it all, so what was sent and answered has one order: Operation.sent and .answered
count it.  A client's choices depend on the seed alone; which versions they mean, on what the
clients have heard of until then.
"""

import bisect
import dataclasses
import functools
import hashlib
import json
import random
import time

import zmq

from peer import CHUNK_BYTES, Peer, Subscriber, decode, statuses
from registry_rig import artifact, put
from registry_rules import FAILED, PASSED, WHOLE

CLIENTS = 6
DEPTH = 4  # operations that a client has open
MODELS = ("m", "m-a", "m.b", "mb", "n0", "n1")
FLEETING = ("gone", "gone-too")  # mostly not in use, so that all of a model can go
LIVE = 24  # versions of one model; beyond that they are deleted, not made
ALIASES = ("a", "a-b", "a.b", "a1", "champion", "next")
MANY_ALIASES = "n1"  # so that it comes to their limit
ANSWER_SECONDS = 30

named = functools.cache(artifact)


@dataclasses.dataclass
class Operation:
    name: str  # the registry is told that this one asks, so the history tells it again
    kind: str
    request: dict
    data: bytes | None = None  # CHUNK_PUT
    sent: int = 0
    sent_s: float = 0.0
    answered: int | None = None  # None: nobody knows what became of it
    answered_s: float = 0.0
    answer: dict | bytes | None = None  # None: refused
    status: str = ""
    text: str = ""


class Heard:
    """What the clients have heard of; they tell each other."""

    def __init__(self):
        self.live = {m: [] for m in MODELS + FLEETING}
        self.last = dict.fromkeys(MODELS + FLEETING, 0)
        self.aliases = {}
        self.ids = {}
        self.stored = []  # contents of which all chunks were put
        self.commits = []  # with a key

    def note(self, op):
        q = op.request
        if op.answer is None:
            return
        if op.kind == "CHUNK_PUT":
            self.stored.append(op.data)
        elif op.kind == "VERSION_COMMIT":
            live, number = self.live[q["model"]], op.answer["number"]
            if number not in live:
                bisect.insort(live, number)
            self.last[q["model"]] = max(self.last[q["model"]], number)
        elif op.kind in ("VERSION_DELETE", "MODEL_DELETE"):
            gone = {v["number"] for v in op.answer["versions"]}
            self.live[q["model"]] = [n for n in self.live[q["model"]] if n not in gone]
        elif op.kind == "ALIAS_PUT":
            self.aliases[q["model"]] = {a["name"]: a["version"] for a in op.answer["aliases"]}
        elif op.kind == "HISTORY_GET":
            self.ids[q["model"]] = [e["id"] for e in op.answer["entries"]]


class Client:
    """Chooses what to ask."""

    def __init__(self, name, seed, heard):
        self.name, self.heard = name, heard
        self.rng = random.Random(f"{seed}-{name}")
        self.count = 0
        kinds = {self._commit: 22, self._check: 15, self._alias: 16, self._describe: 9, self._deploy: 18,
                 self._rollback: 7, self._delete: 12, self._delete_model: 2, self._history: 3,
                 self._snapshot: 0.4, self._manifest: 2, self._chunk: 2, self._put: 5, self._claim: 2}  # fmt: skip
        self.choices, self.weights = list(kinds), list(kinds.values())

    def next(self):
        self.count += 1
        name = f"{self.name}.{self.count}"
        kind, request, *data = self.rng.choices(self.choices, self.weights)[0](name)
        return Operation(name, kind, request, *data)

    # ---- what is meant

    def _chance(self, share):
        return self.rng.random() < share

    def _model(self, fleeting=0.15):
        if self._chance(fleeting):
            return self.rng.choice(FLEETING)
        return "nobody" if self._chance(0.01) else self.rng.choice(MODELS)

    def _number(self, model, newest=True):
        """A version, the new ones more often, or the old ones; sometimes one that is not there."""
        rank, wrong, off = self.rng.random() ** 2, self._chance(0.04), self.rng.randrange(1, 4)
        live = self.heard.live.get(model)
        if wrong or not live:
            return max(1, self.heard.last.get(model, 0) + 2 - off)
        place = int(rank * len(live))
        return live[-1 - place] if newest else live[place]

    def _stored(self):
        rank = self.rng.random() ** 2
        return self.heard.stored[-1 - int(rank * len(self.heard.stored))]

    def _content(self):
        stored = self._stored()
        return b"that nobody puts" if self._chance(0.02) else stored

    def _about(self, name, model, **more):
        return {"model": model, "process": name, **more}

    # ---- versions

    def _tags(self):
        return self.rng.choice(("", "{}", '{"team":"red"}', '{"team":"blue","n":1}', '{"x":{"y":[]}}'))

    def _words(self):
        return self.rng.choice(("", "plain", 'Grüße "quoted" \\ and\ttab', "x" * 300))

    def _commit(self, name):
        model = self._model(0.3)
        old = self._number(model, newest=False)
        q = self._about(name, model, format="fake", source="upload", tags=self._tags(),
                        description=self._words(), lineage=json.dumps({"op": name}),
                        **named(self._content()))  # fmt: skip
        if self._chance(0.15):
            q["file"] = "model.onnx"
            q["parts"] = [{"name": f"part{i}", **named(self._content())}
                          for i in range(self.rng.randrange(3))]  # fmt: skip
        if self._chance(0.3):
            q["key"] = name
            q.update(self._repeat(name))
        q["deploy"] = self._chance(0.08) and model in MODELS
        if self._chance(0.02):
            q["tags"] = self.rng.choice(("[1]", "{", "1"))
        if model == "nobody" or len(self.heard.live[q["model"]]) > LIVE:
            return "VERSION_DELETE", self._about(name, model, version=old)
        if q.get("key") == name:
            self.heard.commits.append(q)
        return "VERSION_COMMIT", q

    def _repeat(self, name):
        """Of what was committed with a key: the same again, or the key for something else."""
        again, rank, how = self._chance(0.5), self.rng.random() ** 2, self.rng.random()
        if not again or not self.heard.commits:
            return {}
        old = self.heard.commits[-1 - int(rank * len(self.heard.commits))]
        if how < 0.1:
            return {"key": old["key"]}
        if how < 0.2:
            return {"key": old["key"], "model": old["model"]}
        return {**old, "process": name, "lineage": json.dumps({"op": name})}

    def _check(self, name):
        model = self._model()
        failed = self._chance(0.15)
        q = self._about(name, model, version=self._number(model), check=FAILED if failed else PASSED)
        if failed:
            q["reason"] = self.rng.choice(("it does not load", 'no "graph"\n'))
        return "VERSION_CHECKED", {**q, "check": 3} if self._chance(0.01) else q

    def _claim(self, name):
        return "CHECK_CLAIM", {"name": name}

    def _describe(self, name):
        model = self._model()
        return "VERSION_DESCRIBE", self._about(name, model, version=self._number(model), tags=self._tags(),
                                               description=self._words(), changes=self.rng.randrange(4))  # fmt: skip

    def _delete(self, name):
        model = self._model(0.3)
        return "VERSION_DELETE", self._about(name, model, version=self._number(model, newest=False))

    def _delete_model(self, name):
        return "MODEL_DELETE", self._about(name, self._model(0.9))

    # ---- aliases and deployments

    def _alias(self, name):
        model = self._model(0.02)
        alias, other = self.rng.choice(ALIASES), f"b{self.rng.randrange(80)}"
        if model == MANY_ALIASES:
            alias = other
        number = 0 if self._chance(0.1 if model == MANY_ALIASES else 0.3) else self._number(model)
        if model in FLEETING and self._chance(0.7):
            number = 0
        q = self._about(name, model, alias="17" if self._chance(0.01) else alias, version=number)
        compare, guess = self._chance(0.6), self._number(model)
        if compare:
            known = self.heard.aliases.get(model, {}).get(alias, 0)
            q.update(compare=True, expected=guess if self._chance(0.1) else known)
        return "ALIAS_PUT", q

    def _traffic(self, model):
        count = self.rng.randrange(1, 5)
        cuts = sorted(self.rng.sample(range(1, WHOLE), count - 1))
        weights = [b - a for a, b in zip([0, *cuts], [*cuts, WHOLE])]
        numbers = dict.fromkeys(self._number(model) for _ in range(count))
        weights[len(numbers) - 1 :] = [WHOLE - sum(weights[: len(numbers) - 1])]
        return [{"version": n, "weight": w} for n, w in zip(numbers, weights)]

    def _settings(self, model):
        rng = self.rng
        new = self._chance(0.5)
        shadow = list(dict.fromkeys(self._number(model, new) for _ in range(rng.randrange(3))))
        return {"changes": rng.choice((0, 0, 1 << rng.randrange(7), 1 << 6, rng.randrange(128))), "shadow": shadow,
                "instances": rng.randrange(3), "max_batch": rng.choice((0, 8)), "queue_max": rng.choice((0, 9)),
                "max_batch_delay_ms": rng.choice((0, 5)), "pool": rng.choice(("", "gold")),
                "sticky": rng.choice(("", "header:x-user-id"))}  # fmt: skip

    def _deploy(self, name):
        model = self._model(0.1)
        q = self._about(name, model, **self._settings(model))
        if self._chance(0.6) or model in FLEETING:
            q["version"] = 0 if self._chance(0.6 if model in FLEETING else 0.1) else self._number(model)
        else:
            q["traffic"] = self._traffic(model)
        if self._chance(0.06):
            q.update(self.rng.choice((
                {"traffic": [{"version": 1, "weight": 9999}]}, {"traffic": [{"version": 0, "weight": WHOLE}]},
                {"traffic": [{"version": 1, "weight": 5000}] * 2}, {"shadow": [1, 1]}, {"instances": 65},
                {"sticky": "cookie:a"}, {"sticky": "header:"}, {"pool": "a b"}, {"queue_max": 1000001},
            )))  # fmt: skip
        return "DEPLOY", q

    def _rollback(self, name):
        return "ROLLBACK", self._about(name, self._model(0.02))

    # ---- reading, and artifacts

    def _history(self, name):
        model, back, rank = self._model(), self._chance(0.5), self.rng.random()
        q = {"model": model, "limit": self.rng.randrange(1, 20)}
        ids = self.heard.ids.get(model)
        if back and ids:
            q["before"] = ids[int(rank * len(ids))]
        return "HISTORY_GET", q

    def _snapshot(self, name):
        model = "" if self._chance(0.5) else self._model()
        return "SNAPSHOT", {"after": model, "after_version": self._number(model) if model else 0}

    def _manifest(self, name):
        return "MANIFEST_GET", {"digest": hashlib.sha256(self._content()).digest()}

    def _chunk(self, name):
        return "CHUNK_GET", {"digest": hashlib.sha256(self._content()[:CHUNK_BYTES]).digest()}

    def _put(self, name):
        data = name.encode() if self._chance(0.5) else self._stored()[:CHUNK_BYTES]
        return "CHUNK_PUT", {"digest": hashlib.sha256(data).digest()}, data


class Registry:
    """One of the registries, as long as it lives; its events as they are told."""

    def __init__(self, store, number, clients):
        self.process = store.registries[number]
        self.events = Subscriber(f"ipc://{store.home}/events{number}.sock")
        self.rpc, self.clients = store.rpc(number), clients
        self.peers = {}  # of each client, once events are heard
        self.open = {}  # (client, number) -> operation

    def heard(self):
        if not self.peers:
            self.peers = {c: Peer(self.rpc) for c in self.clients}

    def close(self):
        for thing in (self.events, *self.peers.values()):
            thing.close()


class Crowd:
    """All clients, until `total` operations have been asked for.  Registries are killed `kills` times."""

    def __init__(self, store, seed, total, kills=0):
        self.store, self.total = store, total
        self.rng = random.Random(f"{seed}-kills")
        self.heard = Heard()
        self._first()
        self.clients = {Client(f"c{i}", seed, self.heard): 0 for i in range(CLIENTS)}  # -> how many are open
        self.registries = [Registry(store, n, self.clients) for n in range(len(store.registries))]
        self.operations = []
        self.events = {}  # number -> what was told, the same by all
        self.clock = 0
        self.kills = sorted(self.rng.sample(range(total // 20, total), kills), reverse=True)

    def _first(self):
        """Some artifacts to begin with, one of two chunks."""
        self.heard.stored += [b"first", b"second", bytes(CHUNK_BYTES) + b"tail"]
        with Peer(self.store.rpc()) as peer:
            fields = [put(peer, data) for data in self.heard.stored]
        text = b"".join(f["chunks"] for f in fields)
        self.first_chunks = [text[i : i + 32] for i in range(0, len(text), 32)]

    def run(self):
        while len(self.operations) < self.total or any(r.open for r in self.registries):
            for client in self.clients:
                self._ask(client)
            self._hear(ANSWER_SECONDS)
            if self.kills and len(self.operations) >= self.kills[-1] and all(r.peers for r in self.registries):
                self.kills.pop()
                self._kill(self.rng.randrange(len(self.registries)))
        return self

    def hear_until(self, seq):
        """The events to that number."""
        while not self.events.keys() >= set(range(1, seq + 1)):
            self._hear(ANSWER_SECONDS)

    def finish(self):
        for r in self.registries:
            r.close()

    def _ask(self, client):
        while self.clients[client] < DEPTH and len(self.operations) < self.total:
            living = [r for r in self.registries if r.peers]
            if not living:
                return
            registry = client.rng.choice(living)
            op = client.next()
            self.clock += 1
            op.sent, op.sent_s = self.clock, time.monotonic()
            number = registry.peers[client].send(op.kind, op.data, **op.request)
            registry.open[client, number] = op
            self.clients[client] += 1
            self.operations.append(op)

    def _hear(self, seconds):
        poller, owners = zmq.Poller(), {}
        for r in self.registries:
            for client, thing in ((None, r.events), *r.peers.items()):
                owners[thing.socket] = r, client
                poller.register(thing.socket, zmq.POLLIN)
        ready = poller.poll(seconds * 1000)
        assert ready, f"nothing was heard for {seconds} s"
        for socket, _ in ready:
            self._take(socket, *owners[socket])

    def _take(self, socket, registry, client):
        for _ in range(CLIENTS * DEPTH):
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if client is None:
                self._event(registry, decode(frames[0])[2])
            else:
                self._answer(registry, client, frames)

    def _event(self, registry, event):
        registry.heard()
        if event["versions"] or event["deployments"] or event["aliases"]:
            assert self.events.setdefault(event["seq"], event) == event

    def _answer(self, registry, client, frames):
        kind, number, body = decode(frames[0])
        op = registry.open.pop((client, number))
        self.clients[client] -= 1
        self.clock += 1
        op.answered, op.answered_s = self.clock, time.monotonic()
        if kind == "FAILURE":
            op.status, op.text = statuses()[body["status"]], body["text"]
        else:
            op.status, op.answer = "OK", frames[1] if kind == "CHUNK" else body
        self.heard.note(op)

    def _kill(self, number):
        registry = self.registries[number]
        registry.process.kill()
        for client, _ in registry.open:
            self.clients[client] -= 1
        registry.close()
        registry.process.start()
        self.registries[number] = Registry(self.store, number, self.clients)
