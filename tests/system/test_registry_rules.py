"""Several clients ask two registries on one Redis for random things; every answer, every event and the
history must be what the rules (registry_rules.py) say.

Each change has the name of the operation that made it in the history, and the events number all
changes, so the order in which things have happened is known.  What changed nothing, refusals too, has
to be right for a moment between its request and its answer.
"""

import bisect
import heapq
import json
import os
import random

import pytest

import registry_rules as rules
from peer import eventually
from registry_clients import FLEETING, MODELS, Crowd
from registry_rig import SANITIZED, store
from test_registry_catalog import history, replay, snapshot, told

FULL = bool(os.environ.get("MAAS_FULL"))
OPERATIONS = int(os.environ.get("OPERATIONS") or (100000 if FULL else 1600 if SANITIZED else 6000))
KILLS = OPERATIONS // 1500
SEED = int(os.environ.get("SEED") or random.randrange(1 << 32))
CHECK_LEASE_S = 60
pytestmark = pytest.mark.timeout(1800 if FULL else 300)


def has(actual, expected):
    """What is expected is there; of records only the fields that are named."""
    if isinstance(expected, dict):
        return isinstance(actual, dict) and all(k in actual and has(actual[k], v) for k, v in expected.items())
    if isinstance(expected, list):
        return len(actual) == len(expected) and all(map(has, actual, expected))
    return actual == expected


class Timeline:
    """The values of something, each from a moment on."""

    def __init__(self, first):
        self.moments, self.values = [0], [first]

    def set(self, moment, value):
        self.moments.append(moment)
        self.values.append(value)

    def at(self, moment):
        return self.values[bisect.bisect_right(self.moments, moment) - 1]


class Past:
    """What was, at each moment: moment n is behind the nth change."""

    def __init__(self, entries, chunks):
        self.models, self.keys, self.held = {}, {}, {}
        self.entries = entries  # of each model's history, the oldest first
        self.places = {m: {e["id"]: i for i, e in enumerate(list_)} for m, list_ in entries.items()}
        self.chunks = chunks  # digests of those that were put

    def model(self, name):
        return self.models.setdefault(name, Timeline(rules.Model(name)))

    def add(self, n, outcome):
        old, new = self.model(outcome.model.name).values[-1], outcome.model
        for versions, others, by in ((new.versions, old.versions, 1), (old.versions, new.versions, -1)):
            for number in versions.keys() - others.keys():
                for digest in rules.digests_of(versions[number]):
                    line = self.held.setdefault(digest, Timeline(0))
                    line.set(n, line.values[-1] + by)
        self.models[new.name].set(n, new)
        if outcome.key:
            self.keys.setdefault(outcome.key[0], Timeline(None)).set(n, outcome.key[1])


class Moment:
    """What the rules ask of a state."""

    def __init__(self, past, n):
        self.past, self.n = past, n

    def model(self, name):
        return self.past.model(name).at(self.n)

    def models(self):
        """Those that are known, by name."""
        everything = (self.model(name) for name in sorted(self.past.models))
        return [m for m in everything if m.versions]

    def key(self, key):
        return self.past.keys[key].at(self.n) if key in self.past.keys else None

    def holders(self, digest):
        return self.past.held[digest].at(self.n) if digest in self.past.held else 0

    def stored(self, chunk):
        return chunk in self.past.chunks

    def entry(self, model, id_):
        return self.past.places[model][id_]


def catalog_page(moment, after="", after_version=0):
    """What a snapshot has from there on."""
    out = {"versions": [], "deployments": [], "aliases": []}
    for m in moment.models():
        if m.name < after:
            continue
        first = after_version + 1 if m.name == after else 1
        out["versions"] += [rules.version_record(m, v) for n, v in sorted(m.versions.items()) if n >= first]
        if m.deployed and m.deployed.traffic:  # what serves nothing is not told
            out["deployments"].append(rules.deployment_record(m, m.deployed))
        if m.aliases_revision:
            out["aliases"].append(rules.aliases_record(m))
    return out


class Judge:
    """Finds a moment for each operation, or the one that has none."""

    def __init__(self, operations, events, entries, chunks):
        self.operations, self.events = operations, events
        self.past = Past(entries, chunks)
        self.seqs = [0]  # number of the last event before each moment
        self.moments = {}  # name of an operation that changed something -> moment

    # ---- what was changed

    def walk(self):
        """Plays all changes, in the order of their events."""
        named = {op.name: op for op in self.operations}
        read = dict.fromkeys(self.past.entries, 0)
        seq = 0
        while seq < len(self.events):
            event = self.events[seq + 1]
            model = next(r["model"] for k in ("versions", "deployments", "aliases") for r in event[k])
            op = named[self.past.entries[model][read[model]]["who"]]
            n = len(self.seqs)
            try:
                outcome = rules.predict(Moment(self.past, n - 1), op.kind, op.request)
            except rules.Refused as refusal:
                raise AssertionError(f"{op} was to be refused: {refusal}") from None
            assert outcome.changes and op.name not in self.moments, f"{op} had nothing to change"
            for change in outcome.changes:
                seq += 1
                self._told(op, change, self.events[seq], self.past.entries[model][read[model]])
                read[model] += 1
            assert op.answered is None or self._answers(op, outcome), f"{op}: not {outcome.answer}"
            self.moments[op.name] = n
            self.past.add(n, outcome)
            self.seqs.append(seq)
        assert read == {m: len(list_) for m, list_ in self.past.entries.items()}, "changes without event"

    def _told(self, op, change, event, entry):
        what, before, after, kind, record = change
        assert entry["who"] == op.name and entry["what"] == what, (op, entry, change)
        for side, value in (("from", before), ("to", after)):
            assert (json.loads(entry[side]) if entry[side] else None) == value, (op, side, entry, value)
        expected = {"versions": [], "deployments": [], "aliases": [], kind: [record]}
        assert has(event, expected), (op, event, expected)

    def _answers(self, op, outcome):
        if op.kind == "HISTORY_GET":
            entries = self.past.entries[op.request["model"]]
            told = [entries[i] for i in outcome.answer["entries"]]
            return op.answer and (op.answer["entries"], op.answer["more"]) == (told, outcome.answer["more"])
        return op.answer is not None and has(op.answer, outcome.answer)

    # ---- all others

    def place(self):
        """Each answered operation happens between its request and its answer; so does each change."""
        floor, answered = 0, []  # (when, moment) of those that have not pushed the floor up yet
        limits = self._limits()
        for op in self.operations:
            while answered and answered[0][0] < op.sent:
                floor = max(floor, heapq.heappop(answered)[1])
            n = self.moments.get(op.name)
            if n is not None:
                assert n > floor, f"{op} came after what came later"
            elif op.answered is None:
                continue  # it may have happened, or not, and has changed nothing
            else:
                n = self._find(op, floor, limits(op.answered))
            if op.answered is not None:
                heapq.heappush(answered, (op.answered, n))

    def _limits(self):
        """Which moment is the last that may have been when an answer came."""
        sent, first = [], []
        lowest = len(self.seqs)
        for op in reversed(self.operations):
            lowest = min(lowest, self.moments.get(op.name, lowest))
            sent.append(-op.sent)
            first.append(lowest)

        def limit(answered):
            later = bisect.bisect_left(sent, -answered)  # so many were sent after it
            return (first[later - 1] if later else len(self.seqs)) - 1

        return limit

    def _find(self, op, low, high):
        for n in range(low, high + 1):
            if self._fits(op, n):
                return n
        moment = Moment(self.past, low)
        raise AssertionError(
            f"{op} fits no moment of {low} to {high}; first {moment.model(op.request.get('model'))}"
        )

    def _fits(self, op, n):
        moment = Moment(self.past, n)
        if op.kind in ("CHUNK_PUT", "CHUNK_GET"):
            return op.status == ("OK" if moment.stored(op.request["digest"]) else "NOT_FOUND")
        if op.kind == "SNAPSHOT":
            page = catalog_page(moment, **op.request)
            return op.answer["seq"] == self.seqs[n] and not op.answer["more"] and has(op.answer, page)
        if op.kind == "CHECK_CLAIM":
            return self._fits_claim(op, moment)
        try:
            outcome = rules.predict(moment, op.kind, op.request)
        except rules.Refused as refusal:
            return op.status == refusal.status and refusal.word in op.text
        return not outcome.changes and self._answers(op, outcome)

    @staticmethod
    def _fits_claim(op, moment):
        if op.answer is None:
            return op.status == "NOT_FOUND"
        model = moment.model(op.answer["model"])
        v = model.versions.get(op.answer["number"])
        return v and v.check == rules.PENDING and has(op.answer, rules.version_record(model, v))

    def claims(self):
        """Who claims a check has it alone until the claim has run out."""
        since = {}
        for op in (op for op in self.operations if op.kind == "CHECK_CLAIM" and op.answer):
            version = op.answer["model"], op.answer["number"]
            assert op.answered_s - since.get(version, -CHECK_LEASE_S) >= CHECK_LEASE_S, op
            since[version] = op.sent_s


# ---- what Redis holds

HELD = """
local hex = function(s) return (s:gsub('.', function(c) return string.format('%02x', c:byte()) end)) end
local out = { manifests = {}, kept = {}, left = {}, bytes = 0 }
for _, key in ipairs(redis.call('KEYS', 'maas:manifest:*')) do
    local m = redis.call('HMGET', key, 'refs', 'chunks')
    out.manifests[hex(key:sub(15))] = { tonumber(m[1]), hex(m[2]) }
end
local kept = redis.call('HGETALL', 'maas:kept')
for i = 1, #kept, 2 do out.kept[hex(kept[i])] = tonumber(kept[i + 1]) end
for _, key in ipairs(redis.call('KEYS', 'maas:chunk:*')) do
    out.left[hex(key:sub(12))] = redis.call('PTTL', key)
end
for _, key in ipairs(redis.call('KEYS', 'maas:{*}:version:*')) do
    out.bytes = out.bytes + redis.call('HGET', key, 'bytes')
end
out.catalog = redis.call('HMGET', 'maas:catalog', 'versions', 'bytes')
out.models = redis.call('ZRANGE', 'maas:models', 0, -1)
out.pending = redis.call('ZRANGE', 'maas:pending', 0, -1)
return cjson.encode(out)"""


def check_redis(store, end, chunks):
    """Artifacts have as many references as versions hold them, chunks as manifests; nothing is left."""
    eventually(lambda: store.cli("LLEN", "maas:released") == b"0", 120, "what was released stays")
    there = json.loads(store.cli("EVAL", HELD, "0"))
    held = {d.hex(): end.holders(d) for d in end.past.held if end.holders(d)}
    assert {d: refs for d, (refs, _) in there["manifests"].items()} == held
    kept = {}
    for _, digests in there["manifests"].values():
        for i in range(0, len(digests), 64):
            kept[digests[i : i + 64]] = kept.get(digests[i : i + 64], 0) + 1
    assert (there["kept"] or {}) == kept
    assert {d.hex() for d in chunks} <= there["left"].keys()
    assert all((ttl == -1) == (d in kept) for d, ttl in there["left"].items())
    versions = [(m.name, v) for m in end.models() for v in m.versions.values()]
    assert there["catalog"] == [str(len(versions)), str(there["bytes"])]
    assert there["models"] == [m.name for m in end.models()]
    assert sorted(there["pending"] or []) == sorted(f"{m}:{v.number}" for m, v in versions if v.check == rules.PENDING)


def same_everywhere(store, end, entries):
    """Both registries tell the state that the rules lead to, and that the history leads to."""
    page = catalog_page(end)
    for n in range(len(store.registries)):
        peer = store.peer(n)
        seen = snapshot(peer)
        assert has({k: [*seen[k].values()] for k in page}, page)
        for m in entries:
            assert history(peer, m) == entries[m]
            state, said = replay(entries[m]), told(seen, m)
            if state["deployment"] and state["deployment"]["version"] == "0":
                state["deployment"] = None  # what serves nothing is not told
            assert state == said, m


def look_back(store, crowd):
    """Judges all that the crowd has done.  The judge, for numbers."""
    peer = store.peer()
    entries = {m: history(peer, m) for m in (*MODELS, *FLEETING)}
    crowd.hear_until(snapshot(peer)["seq"])
    chunks = {op.request["digest"] for op in crowd.operations if op.kind == "CHUNK_PUT" and op.answered}
    chunks |= {bytes(c) for c in crowd.first_chunks}
    judge = Judge(crowd.operations, crowd.events, entries, chunks)
    judge.walk()
    judge.place()
    judge.claims()
    end = Moment(judge.past, len(judge.seqs))
    same_everywhere(store, end, entries)
    check_redis(store, end, chunks)
    return judge


def report(crowd, judge):
    counts = {}
    for op in crowd.operations:
        how = "changed" if op.name in judge.moments else op.status or "lost"
        counts.setdefault(op.kind, {}).setdefault(how, 0)
        counts[op.kind][how] += 1
    for kind, by in sorted(counts.items()):
        print(f"{kind:18}", "  ".join(f"{how} {n}" for how, n in sorted(by.items())))


@pytest.mark.parametrize("kills", [0, KILLS], ids=["both live", "registries are killed"])
def test_registries_keep_the_rules(store, kills):
    print(f"SEED={SEED}")
    store.add_registry()
    store.ready(1)
    crowd = Crowd(store, f"{SEED}-{kills}", OPERATIONS // 2, kills)
    try:
        crowd.run()
        report(crowd, look_back(store, crowd))
    finally:
        crowd.finish()
