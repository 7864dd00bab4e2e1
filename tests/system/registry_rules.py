"""The rules of the registry in writing: what it must answer to a request, and what changes then.

`predict(state, kind, request)` is the whole of it.  The state is given by what it is asked:
model(name), key(key), holders(digest), stored(chunk) and entry(name, id), so that it may be that of
any moment.
Nothing here asks a registry; test_registry_rules.py compares.
"""

import dataclasses
import json
import re

PENDING, PASSED, FAILED = 0, 1, 2
CHECKS = ("pending", "passed", "failed")
SETTINGS = ("instances", "max_batch", "max_batch_delay_ms", "queue_max", "pool", "sticky", "shadow")
MOST = {"instances": 64, "max_batch": 4096, "max_batch_delay_ms": 10000, "queue_max": 1000000}
TAGS, DESCRIPTION = 1, 2
WHOLE = 10000
ALIASES_MAX = 64
ENTRIES_MAX = 100
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Refused(Exception):
    """The answer is this status, in a sentence that has this word."""

    def __init__(self, status, word=""):
        super().__init__(status, word)
        self.status, self.word = status, word


@dataclasses.dataclass(frozen=True)
class Version:
    """`made` is what can never change."""

    number: int
    made: dict
    tags: str
    description: str
    revision: int = 1
    check: int = PENDING
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Deployment:
    revision: int = 0
    traffic: tuple = ()  # of (version, weight)
    previous_traffic: tuple = ()
    shadow: tuple = ()
    instances: int = 0
    max_batch: int = 0
    max_batch_delay_ms: int = 0
    queue_max: int = 0
    pool: str = ""
    sticky: str = ""


@dataclasses.dataclass(frozen=True)
class Model:
    """One that was never heard of is Model(name)."""

    name: str
    last: int = 0  # number that was given
    versions: dict = dataclasses.field(default_factory=dict)  # of those that are there, by number
    aliases: dict = dataclasses.field(default_factory=dict)
    aliases_revision: int = 0
    deployed: Deployment | None = None
    before: Deployment | None = None  # what a rollback goes back to
    revision: int = 0  # of deployments; it outlives them
    entries: int = 0  # of its history

    def known(self):
        if not self.versions:
            raise Refused("NOT_FOUND", f"no model '{self.name}'")
        return self

    def version(self, number, otherwise="NOT_FOUND"):
        self.known()
        if number not in self.versions:
            raise Refused(otherwise, f"no version {number}")
        return self.versions[number]


@dataclasses.dataclass
class Outcome:
    """answer: what the answer must have.  Each change: (what, from, to, kind of its event, what the
    event must have); from and to are JSON values, None is absent."""

    answer: dict
    model: Model | None = None
    changes: list = dataclasses.field(default_factory=list)
    key: tuple | None = None  # that was not known before, and what it stands for

    def change(self, what, before, after, kind, event):
        self.changes.append((what, before, after, kind, event))
        self.model = dataclasses.replace(self.model, entries=self.model.entries + 1)


def refuse_unless(condition, word, status="INVALID"):
    if not condition:
        raise Refused(status, word)


def json_object(text):
    try:
        return text == "" or isinstance(json.loads(text), dict)
    except ValueError:
        return False


# ---- as records tell it, and as the history does


def version_record(model, v):
    return {"model": model.name, "number": v.number, **v.made, "tags": v.tags, "check": v.check,
            "description": v.description, "revision": v.revision, "reason": v.reason,
            "deleted": False}  # fmt: skip


def largest(traffic):
    """The version with the largest share, the first of several; 0: there is none."""
    return max(traffic, key=lambda share: share[1])[0] if traffic else 0


def records(traffic):
    return [{"version": v, "weight": w} for v, w in traffic]


def deployment_record(model, d):
    return {"model": model.name, **dataclasses.asdict(d), "shadow": list(d.shadow),
            "traffic": records(d.traffic), "previous_traffic": records(d.previous_traffic),
            "version": largest(d.traffic), "previous": largest(d.previous_traffic)}  # fmt: skip


def aliases_record(model):
    named = [{"name": a, "version": n} for a, n in sorted(model.aliases.items())]
    return {"model": model.name, "revision": model.aliases_revision, "aliases": named}


def deployment_json(d):
    if d is None:
        return None
    part = lambda traffic: [{"version": str(v), "weight": w / 100} for v, w in traffic]
    return {**dataclasses.asdict(d), "version": str(largest(d.traffic)), "traffic": part(d.traffic),
            "previous_traffic": part(d.previous_traffic), "shadow": [str(n) for n in d.shadow]}  # fmt: skip


def described_json(v):
    return {"version": str(v.number), "tags": json.loads(v.tags or "{}"), "description": v.description}


def alias_json(alias, number):
    return {"alias": alias, "version": str(number)} if number else None


# ---- versions


def with_version(model, v):
    return dataclasses.replace(model, versions={**model.versions, v.number: v})


def what_was_made(q):
    """What a commit fixes for ever."""
    parts = q.get("parts", [])
    files = [{k: f[k] for k in ("name", "digest", "size_bytes")} for f in parts]
    if "file" in q:
        files.insert(0, {"name": q["file"], "digest": q["digest"], "size_bytes": q["size_bytes"]})
    return {"format": q["format"], "digest": q["digest"], "size_bytes": q["size_bytes"],
            "source": q["source"], "lineage": q.get("lineage", ""), "files": files}  # fmt: skip


def digests_of(v):
    """The artifacts that a version holds."""
    return [v.made["digest"]] + [f["digest"] for f in v.made["files"][1:]]


def of_key(state, model, q):
    """The version that this key has made already."""
    place = state.key(q["key"]) if q.get("key") else None
    if not place:
        return None
    of, number, digest = place
    refuse_unless(of == model.name, f"model '{of}'", "CONFLICT")
    refuse_unless(digest == q["digest"], "other contents", "CONFLICT")
    refuse_unless(number in model.versions, "deleted", "CONFLICT")
    return model.versions[number]


def commit(state, q):
    """A key makes one version, however often it comes.  Numbers only grow."""
    refuse_unless(json_object(q.get("tags", "")), "tags")
    artifacts = [q, *q.get("parts", [])]
    refuse_unless(all(len(a["chunks"]) > 32 or a["chunks"] == a["digest"] for a in artifacts), "digest")
    model = state.model(q["model"])
    again = of_key(state, model, q)
    if again:
        return Outcome(version_record(model, again))
    chunks = [a["chunks"][i : i + 32] for a in artifacts for i in range(0, len(a["chunks"]), 32)]
    refuse_unless(all(map(state.stored, chunks)), "not there", "CONFLICT")
    v = Version(model.last + 1, what_was_made(q), q.get("tags", ""), q.get("description", ""))
    out = Outcome(version_record(model, v))
    out.model = dataclasses.replace(with_version(model, v), last=v.number)
    told = {**described_json(v), "check": "pending", "format": q["format"], "size": q["size_bytes"],
            "digest": q["digest"].hex()}  # fmt: skip
    out.change("register", None, told, "versions", out.answer)
    if q.get("deploy"):
        change_deployment(out, "deploy", ((v.number, WHOLE),), {})
    if q.get("key"):
        out.key = q["key"], (model.name, v.number, q["digest"])
    return out


def checked(state, q):
    """The first result of a check counts."""
    refuse_unless(q["check"] in (PASSED, FAILED), "passed or failed")
    model = state.model(q["model"])
    v = model.version(q["version"])
    if v.check != PENDING:
        return Outcome({})
    new = dataclasses.replace(v, check=q["check"], reason=q.get("reason", ""), revision=v.revision + 1)
    out = Outcome({}, with_version(model, new))
    result = {"version": str(v.number), "check": CHECKS[new.check], "reason": new.reason}
    before = {"version": str(v.number), "check": "pending"}
    out.change("check", before, result, "versions", version_record(model, new))
    return out


def describe(state, q):
    """Tags and description: all that may change."""
    refuse_unless(json_object(q.get("tags", "")), "tags")
    model = state.model(q["model"])
    v = model.version(q["version"])
    meant = {name: q.get(name, "") for bit, name in ((TAGS, "tags"), (DESCRIPTION, "description"))
             if q.get("changes", 0) & bit}  # fmt: skip
    new = dataclasses.replace(v, **meant)
    if new == v:
        return Outcome(version_record(model, v))
    new = dataclasses.replace(new, revision=v.revision + 1)
    out = Outcome(version_record(model, new), with_version(model, new))
    out.change("describe", described_json(v), described_json(new), "versions", out.answer)
    return out


# ---- aliases


def alias_put(state, q):
    """Compare and set: exactly one of those who expect the same gets it."""
    alias, number = q["alias"], q["version"]
    refuse_unless(NAME.fullmatch(alias) and not alias.isdigit(), "alias")
    model = state.model(q["model"]).known()
    now = model.aliases.get(alias, 0)
    if q.get("compare") and q.get("expected", 0) != now:
        raise Refused("CONFLICT", f"stands for version {now}" if now else "is not there")
    refuse_unless(number or now, f"no alias '{alias}'", "NOT_FOUND")
    if number:
        model.version(number, otherwise="INVALID")
    refuse_unless(now or len(model.aliases) < ALIASES_MAX, "limit")
    if number == now:
        return Outcome(aliases_record(model))
    others = {a: n for a, n in model.aliases.items() if a != alias}
    model = dataclasses.replace(model, aliases={**others, **({alias: number} if number else {})},
                                aliases_revision=model.aliases_revision + 1)  # fmt: skip
    out = Outcome(aliases_record(model), model)
    out.change("alias", alias_json(alias, now), alias_json(alias, number), "aliases", out.answer)
    return out


# ---- deployments


def may_be_deployed(model, traffic, shadow, what):
    """The first that is wrong is named.  Who goes back has named none."""
    missing = "CONFLICT" if what == "rollback" else "INVALID"
    shares = dict(traffic)
    for number, alone in [(n, True) for n in shares] + [(n, n not in shares) for n in shadow]:
        v = model.version(number, otherwise=missing)
        refuse_unless(v.check != FAILED, "cannot be deployed", "CONFLICT")
        refuse_unless(alone, "in shadow")


def serves_meanwhile(model, old, traffic):
    """Until the new versions are warm: what was served, as far as it was loaded once; else what stood
    in for that.  Nothing, where all of it goes on serving."""
    loaded = tuple(s for s in old.traffic if model.versions[s[0]].check == PASSED)
    loaded = loaded or old.previous_traffic
    return loaded if traffic and any(v not in dict(traffic) for v, _ in loaded) else ()


def change_deployment(out, what, traffic, settings):
    """Deploys in out.model; out.answer and nothing else when all of it is so already."""
    model = out.model
    old = model.deployed or Deployment(revision=model.revision)
    new = dataclasses.replace(old, **settings)
    if not traffic or "shadow" not in settings or what == "rollback":
        # Shadows that were there before stay as far as they can.
        stay = lambda n: n in model.versions and model.versions[n].check != FAILED
        kept = tuple(n for n in new.shadow if traffic and n not in dict(traffic) and stay(n))
        new = dataclasses.replace(new, shadow=kept)
    may_be_deployed(model, traffic, new.shadow, what)
    new = dataclasses.replace(new, traffic=traffic)
    if new == old:
        return deployment_record(model, old)
    if traffic != old.traffic:
        new = dataclasses.replace(new, previous_traffic=serves_meanwhile(model, old, traffic))
    new = dataclasses.replace(new, revision=old.revision + 1)
    out.model = dataclasses.replace(model, deployed=new, revision=new.revision,
                                    before=model.deployed or model.before)  # fmt: skip
    record = deployment_record(model, new)
    out.change(what, deployment_json(model.deployed), deployment_json(new), "deployments", record)
    return record


def well_formed(q):
    for name, most in MOST.items():
        refuse_unless(q.get(name, 0) <= most, name)
    sticky = q.get("sticky", "")
    refuse_unless(not sticky or (sticky[:7] == "header:" and NAME.fullmatch(sticky[7:])), "header")
    refuse_unless(not q.get("pool") or NAME.fullmatch(q["pool"]), "pool")
    shares, shadow = q.get("traffic", []), q.get("shadow", [])
    numbers = [s["version"] for s in shares]
    refuse_unless(all(s["version"] and s["weight"] for s in shares), "no version or weight")
    refuse_unless(len(set(numbers)) == len(numbers), "twice")
    refuse_unless(not shares or sum(s["weight"] for s in shares) == WHOLE, "sum to")
    refuse_unless(len(set(shadow)) == len(shadow), "twice")


def deploy(state, q):
    """All of it, or nothing; what is not meant stays."""
    well_formed(q)
    model = state.model(q["model"]).known()
    traffic = tuple((s["version"], s["weight"]) for s in q.get("traffic", []))
    if not traffic and q.get("version"):
        traffic = ((q["version"], WHOLE),)
    settings = {name: q.get(name, getattr(Deployment, name)) for i, name in enumerate(SETTINGS)
                if q.get("changes", 0) & 1 << i}  # fmt: skip
    if "shadow" in settings:
        settings["shadow"] = tuple(settings["shadow"])
    out = Outcome({}, model)
    out.answer = change_deployment(out, "deploy", traffic, settings)
    return out


def rollback(state, q):
    """One step, as a new revision: twice returns."""
    model = state.model(q["model"]).known()
    refuse_unless(model.before, "before the present", "CONFLICT")
    out = Outcome({}, model)
    settings = {name: getattr(model.before, name) for name in SETTINGS}
    out.answer = change_deployment(out, "rollback", model.before.traffic, settings)
    return out


# ---- deleting


def refuse_use(model, number):
    d = model.deployed or Deployment()
    refuse_unless(number not in dict(d.traffic), "it is deployed", "CONFLICT")
    refuse_unless(number not in dict(d.previous_traffic), "falls back on it", "CONFLICT")
    refuse_unless(number not in d.shadow, "shadow", "CONFLICT")
    refuse_unless(number not in model.aliases.values(), "the alias", "CONFLICT")


def remove(out, number):
    model = out.model
    gone = {"model": model.name, "number": number, "deleted": True}
    rest = {n: v for n, v in model.versions.items() if n != number}
    out.model = dataclasses.replace(model, versions=rest)
    if not rest:  # the numbers go on, should the name come back
        out.model = dataclasses.replace(out.model, deployed=None, before=None)
    out.change("delete", described_json(model.versions[number]), None, "versions", gone)
    out.answer["versions"].append(gone)


def version_delete(state, q):
    model = state.model(q["model"])
    model.version(q["version"])
    refuse_use(model, q["version"])
    out = Outcome({"versions": []}, model)
    remove(out, q["version"])
    return out


def model_delete(state, q):
    model = state.model(q["model"]).known()
    for number in sorted(model.versions):
        refuse_use(model, number)
    out = Outcome({"versions": []}, model)
    for number in sorted(model.versions):
        remove(out, number)
    return out


# ---- reading


def manifest(state, q):
    refuse_unless(state.holders(q["digest"]), "", "NOT_FOUND")
    return Outcome({"digest": q["digest"]})


def history_get(state, q):
    """Which entries, counted from the oldest; the newest comes first."""
    model = state.model(q["model"])
    refuse_unless(model.entries, f"no model '{model.name}'", "NOT_FOUND")
    end = state.entry(model.name, q["before"]) if q.get("before") else model.entries
    begin = max(0, end - q["limit"])
    return Outcome({"entries": range(end - 1, begin - 1, -1), "more": begin > 0})


RULES = {"VERSION_COMMIT": commit, "VERSION_CHECKED": checked, "VERSION_DESCRIBE": describe,
         "ALIAS_PUT": alias_put, "DEPLOY": deploy, "ROLLBACK": rollback, "VERSION_DELETE": version_delete,
         "MODEL_DELETE": model_delete, "MANIFEST_GET": manifest, "HISTORY_GET": history_get}  # fmt: skip


def predict(state, kind, request):
    """The outcome, or Refused."""
    return RULES[kind](state, request)
