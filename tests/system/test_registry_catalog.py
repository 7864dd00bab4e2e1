"""maas-registry: aliases, tags, deployments of several versions, history, deletion, pages, old data."""

import json

import pytest

from peer import Peer
from registry_rig import FAILED, check, commit, put, refused, store

INSTANCES, MAX_BATCH, MAX_BATCH_DELAY, QUEUE_MAX, POOL, STICKY, SHADOW = (1 << i for i in range(7))
TAGS, DESCRIPTION = 1, 2


def versions(peer, count, model="m", checked=True):
    for n in range(1, count + 1):
        commit(peer, model=model)
        if checked:
            check(peer, model, n)


def shares(*pairs):
    return [{"version": v, "weight": w} for v, w in pairs]


def snapshot(peer):
    """All pages: the records by model (and number)."""
    page = peer.call("SNAPSHOT")
    out = {"seq": page["seq"], "pages": 0, "versions": {}, "deployments": {}, "aliases": {}}
    while True:
        out["pages"] += 1
        out["versions"].update({(v["model"], v["number"]): v for v in page["versions"]})
        out["deployments"].update({d["model"]: d for d in page["deployments"]})
        out["aliases"].update({a["model"]: a for a in page["aliases"]})
        if not page["more"]:
            return out
        page = peer.call("SNAPSHOT", after=page["after"], after_version=page["after_version"])


def refs(store):
    """How many hold the only artifact."""
    script = "return redis.call('HGET', redis.call('KEYS', 'maas:manifest:*')[1], 'refs')"
    return int(store.cli("EVAL", script, "0"))


def history(peer, model="m", limit=100):
    """All pages, the oldest first."""
    out, before = [], ""
    while True:
        page = peer.call("HISTORY_GET", model=model, limit=limit, before=before)
        out += page["entries"]
        if not page["more"]:
            return list(reversed(out))
        before = page["entries"][-1]["id"]


# ---- aliases


def alias(peer, name, version, **more):
    answer = peer.call("ALIAS_PUT", model="m", alias=name, version=version, **more)
    return {a["name"]: a["version"] for a in answer["aliases"]}


def test_alias_is_compared_and_set(store):
    peer, events = store.peer(), store.subscriber()
    versions(peer, 2, checked=False)
    assert alias(peer, "champion", 1, compare=True) == {"champion": 1}  # expected 0: is not there
    assert alias(peer, "next", 2) == {"champion": 1, "next": 2}
    text = refused("CONFLICT", alias, peer, "champion", 2, compare=True, expected=2)
    assert "version 1" in text
    assert "is not there" in refused("CONFLICT", alias, peer, "x", 2, compare=True, expected=2)
    assert alias(peer, "champion", 2, compare=True, expected=1) == {"champion": 2, "next": 2}
    assert alias(peer, "champion", 2, compare=True, expected=2) == {"champion": 2, "next": 2}
    assert alias(peer, "next", 0) == {"champion": 2}
    seen = [c["aliases"][0] for c in (events.next_change() for _ in range(6)) if c["aliases"]]
    assert [a["revision"] for a in seen] == [1, 2, 3, 4]  # what changes nothing tells nothing
    assert snapshot(peer)["aliases"]["m"] == seen[-1]


def test_alias_is_checked(store):
    peer = store.peer()
    versions(peer, 1, checked=False)
    assert "version 7" in refused("INVALID", alias, peer, "champion", 7)
    assert "number" in refused("INVALID", alias, peer, "12", 1)
    refused("INVALID", alias, peer, "a:b", 1)
    refused("INVALID", alias, peer, "", 1)
    refused("NOT_FOUND", alias, peer, "champion", 0)
    refused("NOT_FOUND", peer.call, "ALIAS_PUT", model="x", alias="a", version=1)
    for n in range(64):
        alias(peer, f"a{n}", 1)
    assert "64" in refused("INVALID", alias, peer, "one-more", 1)
    alias(peer, "a3", 0)
    alias(peer, "one-more", 1)


# ---- tags


def test_tags_and_description_change_and_nothing_else(store):
    peer, events = store.peer(), store.subscriber()
    first = commit(peer, tags='{"team":"blue"}', description="as uploaded")
    assert (first["tags"], first["description"]) == ('{"team":"blue"}', "as uploaded")
    say = lambda **more: peer.call("VERSION_DESCRIBE", model="m", version=1, process="ada", **more)
    second = say(changes=TAGS, tags='{"team":"red"}', description="not meant")
    assert (second["tags"], second["description"]) == ('{"team":"red"}', "as uploaded")
    third = say(changes=DESCRIPTION, description='Grüße "quoted"')
    assert third == say(changes=DESCRIPTION, description='Grüße "quoted"')
    assert third["revision"] == second["revision"] + 1
    cleared = say(changes=TAGS | DESCRIPTION, tags="{}", description="")
    assert (cleared["tags"], cleared["description"]) == ("{}", "")
    assert {k: v for k, v in cleared.items() if k not in ("tags", "description", "revision")} == {
        k: v for k, v in first.items() if k not in ("tags", "description", "revision")
    }
    assert [events.next_change()["versions"][0] for _ in range(4)] == [first, second, third, cleared]
    refused("INVALID", say, changes=TAGS, tags="[1]")
    refused("INVALID", say, changes=DESCRIPTION, description="x" * 5000)
    refused("NOT_FOUND", peer.call, "VERSION_DESCRIBE", model="m", version=2, changes=TAGS, tags="{}")
    refused("NOT_FOUND", peer.call, "VERSION_DESCRIBE", model="x", version=1, changes=TAGS, tags="{}")
    told = [e for e in history(peer) if e["what"] == "describe"]
    assert [e["who"] for e in told] == ["ada"] * 3
    assert json.loads(told[1]["to"])["description"] == 'Grüße "quoted"'


# ---- deployments


def test_traffic_is_split_and_checked(store):
    peer = store.peer()
    versions(peer, 4)
    commit(peer)
    check(peer, "m", 5, FAILED, reason="unknown operator " + "x" * 100)
    deploy = lambda **more: peer.call("DEPLOY", model="m", **more)
    first = deploy(version=1)
    assert first["traffic"] == shares((1, 10000)) and first["previous_traffic"] == []
    canary = deploy(traffic=shares((1, 9500), (2, 500)), shadow=[3], sticky="header:x-user-id",
                    queue_max=9, pool="gold", changes=SHADOW | STICKY | QUEUE_MAX | POOL)  # fmt: skip
    assert (canary["version"], canary["previous"], canary["shadow"]) == (1, 0, [3])
    assert (canary["sticky"], canary["queue_max"], canary["pool"]) == ("header:x-user-id", 9, "gold")
    for bad, word in (
        ({"traffic": shares((1, 9500), (2, 400))}, "99"),
        ({"traffic": shares((1, 9500), (1, 500))}, "twice"),
        ({"traffic": shares((1, 10000), (2, 0))}, "weight"),
        ({"traffic": shares((1, 9500), (9, 500))}, "version 9"),
        ({"version": 1, "shadow": [9], "changes": SHADOW}, "version 9"),
        ({"version": 1, "shadow": [1], "changes": SHADOW}, "shadow"),
        ({"version": 1, "shadow": [3, 3], "changes": SHADOW}, "twice"),
        ({"version": 1, "sticky": "cookie:a", "changes": STICKY}, "sticky"),
        ({"version": 1, "sticky": "header:", "changes": STICKY}, "header"),
        ({"version": 1, "pool": "a b", "changes": POOL}, "pool"),
        ({"version": 1, "queue_max": 1000001, "changes": QUEUE_MAX}, "queue_max"),
    ):
        assert word in refused("INVALID", deploy, **bad), bad
    assert "operator x" in refused("CONFLICT", deploy, traffic=shares((1, 9500), (5, 500)))
    assert snapshot(peer)["deployments"]["m"] == canary
    promoted = deploy(version=3)  # who was a shadow takes requests, and is none any more
    assert not promoted["shadow"] and promoted["sticky"] == "header:x-user-id"
    assert promoted["previous_traffic"] == shares((1, 9500), (2, 500)) and promoted["previous"] == 1
    assert deploy()["traffic"] == []  # nothing is served


def test_what_serves_meanwhile_is_what_was_loaded(store):
    peer = store.peer()
    versions(peer, 3)
    commit(peer)
    deploy = lambda **more: peer.call("DEPLOY", model="m", **more)
    deploy(traffic=shares((1, 5000), (2, 5000)))
    assert deploy(version=4)["previous_traffic"] == shares((1, 5000), (2, 5000))
    assert deploy(version=3)["previous_traffic"] == shares((1, 5000), (2, 5000))  # 4 never served
    assert deploy(traffic=shares((3, 9000), (1, 1000)))["previous_traffic"] == []  # all are in it


def test_rollback_is_one_step_and_twice_returns(store):
    peer = store.peer()
    versions(peer, 2)
    refused("NOT_FOUND", peer.call, "ROLLBACK", model="x")
    assert "before" in refused("CONFLICT", peer.call, "ROLLBACK", model="m")
    one = peer.call("DEPLOY", model="m", version=1, instances=3, changes=INSTANCES)
    refused("CONFLICT", peer.call, "ROLLBACK", model="m")
    two = peer.call("DEPLOY", model="m", traffic=shares((1, 100), (2, 9900)), instances=1, changes=INSTANCES)
    same = lambda a, b: all(a[k] == b[k] for k in ("traffic", "instances", "shadow", "pool", "version"))
    back = peer.call("ROLLBACK", model="m", process="ada")
    assert same(back, one) and back["revision"] == two["revision"] + 1
    assert back["previous_traffic"] == shares((1, 100), (2, 9900))
    assert same(peer.call("ROLLBACK", model="m"), two)
    told = [(e["what"], e["who"]) for e in history(peer) if e["what"] == "rollback"]
    assert told == [("rollback", "ada"), ("rollback", "")]


def test_a_rollback_to_what_was_deleted_says_so(store):
    peer = store.peer()
    versions(peer, 1)
    commit(peer)  # no engine has loaded it, so nothing falls back to it
    peer.call("DEPLOY", model="m", version=1)
    peer.call("DEPLOY", model="m", version=2)
    now = peer.call("DEPLOY", model="m", version=1)
    peer.call("VERSION_DELETE", model="m", version=2)
    assert "no version 2 any more" in refused("CONFLICT", peer.call, "ROLLBACK", model="m")
    assert snapshot(peer)["deployments"]["m"] == now


# ---- history


def replay(entries):
    """The state that the history leads to."""
    state = {"versions": {}, "aliases": {}, "deployment": None, "rollout": None}
    for e in entries:
        before, after = (json.loads(e[side]) if e[side] else None for side in ("from", "to"))
        if e["what"] in ("register", "check", "describe"):
            state["versions"].setdefault(after["version"], {}).update(after)
        elif e["what"] == "alias":
            state["aliases"].pop((before or after)["alias"], None)
            if after:
                state["aliases"][after["alias"]] = after["version"]
        elif e["what"] in ("deploy", "rollback") or e["what"].startswith("rollout "):
            assert before == state["deployment"]
            rollout = after.pop("rollout", {"state": "none"})
            state["rollout"] = rollout["version"] if rollout["state"] == "running" else None
            state["deployment"] = after
        else:
            assert e["what"] == "delete" and before["version"] in state["versions"]
            del state["versions"][before["version"]]
            state["deployment"] = state["deployment"] if state["versions"] else None
    return state


def told(seen, model="m"):
    """What a snapshot says of the model, in the words of the history."""
    names = {0: "pending", 1: "passed", 2: "failed"}
    out = {"versions": {}, "aliases": {}, "deployment": None, "rollout": None}
    for v in (v for (name, _), v in seen["versions"].items() if name == model):
        out["versions"][str(v["number"])] = {
            "version": str(v["number"]), "check": names[v["check"]], "format": v["format"], "digest": v["digest"].hex(),
            "size": v["size_bytes"], "tags": json.loads(v["tags"] or "{}"), "description": v["description"],
            **({"reason": v["reason"]} if v["check"] else {}),
        }  # fmt: skip
    for a in seen["aliases"].get(model, {}).get("aliases", []):
        out["aliases"][a["name"]] = str(a["version"])
    d = seen["deployments"].get(model)
    if d:
        part = lambda list_: [{"version": str(s["version"]), "weight": s["weight"] / 100} for s in list_]
        keys = ("sticky", "instances", "max_batch", "max_batch_delay_ms", "queue_max", "pool", "revision")
        out["rollout"] = str(d["rollout"]) if d["rollout"] else None
        out["deployment"] = {
            "version": str(d["version"]), "traffic": part(d["traffic"]), "shadow": [str(n) for n in d["shadow"]],
            "previous_traffic": part(d["previous_traffic"]), **{k: d[k] for k in keys},
        }  # fmt: skip
    return out


def test_history_replays_to_the_same_state(store):
    peer = store.peer()
    versions(peer, 3)
    commit(peer, tags='{"a":1}', description="fourth", process="ada", data=b"other")
    check(peer, "m", 4, FAILED, reason='no "graph"', process="worker-1")
    peer.call("VERSION_DESCRIBE", model="m", version=2, changes=TAGS, tags='{"team":"blue"}')
    alias(peer, "champion", 1)
    alias(peer, "gone", 2)
    alias(peer, "champion", 3, process="ada")
    alias(peer, "gone", 0)
    peer.call("DEPLOY", model="m", version=1, process="ada")
    peer.call("DEPLOY", model="m", traffic=shares((1, 3333), (3, 6667)), shadow=[2],
              sticky="header:x-user-id", pool="gold", queue_max=5, changes=SHADOW | STICKY | POOL | QUEUE_MAX)  # fmt: skip
    assert replay(history(peer)) == told(snapshot(peer))
    peer.call("ROLLBACK", model="m")
    peer.call("VERSION_DELETE", model="m", version=4, process="ada")
    assert replay(history(peer)) == told(snapshot(peer))
    entries = history(peer, limit=3)  # in pages it is the same
    assert entries == history(peer)
    assert [e["who"] for e in entries if e["what"] == "check"][-1] == "worker-1"
    ids = [tuple(int(part) for part in e["id"].split("-")) for e in entries]
    assert ids == sorted(ids) and len(set(ids)) == len(ids)
    refused("NOT_FOUND", history, peer, "x")
    refused("INVALID", peer.call, "HISTORY_GET", model="m", before="+")


# ---- deleting


def test_a_version_in_use_stays(store):
    peer, events = store.peer(), store.subscriber()
    versions(peer, 6)
    delete = lambda n: peer.call("VERSION_DELETE", model="m", version=n, process="ada")
    peer.call("DEPLOY", model="m", version=1)
    peer.call("DEPLOY", model="m", traffic=shares((2, 9000), (3, 1000)), shadow=[4], changes=SHADOW)
    alias(peer, "champion", 5)
    for n, word in ((1, "falls back"), (2, "deployed"), (3, "deployed"), (4, "shadow"), (5, "'champion'")):
        assert word in refused("CONFLICT", delete, n)
    assert "version 1" in refused("CONFLICT", peer.call, "MODEL_DELETE", model="m")
    gone = delete(6)["versions"]
    assert [(v["number"], v["deleted"]) for v in gone] == [(6, True)]
    refused("NOT_FOUND", delete, 6)
    refused("NOT_FOUND", delete, 7)
    seen = [events.next_change() for _ in range(16)]
    assert [v for v in seen[-1]["versions"]] == [{**gone[0]}]
    assert ("m", 6) not in snapshot(peer)["versions"]
    assert commit(peer)["number"] == 7  # a number is never given again


def test_a_deleted_version_leaves_nothing_to_do(store):
    peer = store.peer()
    data = b"only here"
    commit(peer, data=data, key="k")
    assert refs(store) == 1
    commit(peer, data=data)
    assert refs(store) == 2
    before = store.cli("HGETALL", "maas:catalog")
    commit(peer, data=data)
    peer.call("VERSION_DESCRIBE", model="m", version=3, changes=DESCRIPTION, description="words")
    check(peer, "m", 3)
    peer.call("VERSION_DELETE", model="m", version=3)
    assert store.cli("HGETALL", "maas:catalog") == before and refs(store) == 2
    peer.call("VERSION_DELETE", model="m", version=1)
    refused("NOT_FOUND", check, peer, "m", 1)
    assert peer.call("CHECK_CLAIM", name="w")["number"] == 2
    assert "deleted" in refused("CONFLICT", commit, peer, data=data, key="k")


def test_a_model_is_deleted_with_its_versions(store):
    peer = store.peer()
    versions(peer, 3)
    commit(peer, model="other")
    refused("NOT_FOUND", peer.call, "MODEL_DELETE", model="x")
    peer.call("DEPLOY", model="m", version=2, pool="gold", changes=POOL)
    peer.call("DEPLOY", model="m")
    alias(peer, "champion", 1)
    assert "'champion'" in refused("CONFLICT", peer.call, "MODEL_DELETE", model="m")
    alias(peer, "champion", 0)
    assert [v["number"] for v in peer.call("MODEL_DELETE", model="m")["versions"]] == [1, 2, 3]
    seen = snapshot(peer)
    assert set(seen["versions"]) == {("other", 1)} and not seen["deployments"]
    refused("NOT_FOUND", peer.call, "DEPLOY", model="m", version=1)
    state = replay(history(peer))
    assert not state["versions"] and not state["aliases"]
    assert commit(peer)["number"] == 4  # the name comes back, its numbers do not
    fresh = peer.call("DEPLOY", model="m", version=4)
    assert fresh["pool"] == "" and fresh["revision"] > 2
    refused("CONFLICT", peer.call, "ROLLBACK", model="m")


# ---- snapshots in pages


def test_snapshot_comes_in_pages(store):
    peer = store.peer()
    fields = put(peer, b"weights")
    for i in range(30):
        big = json.dumps({"x": "y" * 30000})
        for _ in range(2):
            peer.call("VERSION_COMMIT", model=f"m{i:02}", format="fake", metrics=big, **fields)
    peer.call("DEPLOY", model="m07", version=2)
    peer.call("ALIAS_PUT", model="m29", alias="champion", version=1)
    seen = snapshot(peer)
    assert seen["pages"] >= 3 and seen["seq"] == 62
    assert sorted(seen["versions"]) == [(f"m{i:02}", n) for i in range(30) for n in (1, 2)]
    assert set(seen["deployments"]) == {"m07"} and set(seen["aliases"]) == {"m29"}
    page = peer.call("SNAPSHOT", after="m10", after_version=1)  # in the middle of a model
    assert [(v["model"], v["number"]) for v in page["versions"][:2]] == [("m10", 2), ("m11", 1)]
    assert peer.call("SNAPSHOT", after="zzz")["versions"] == []


# ---- keys


def test_keys_of_a_model_share_its_slot(store):
    peer = store.peer()
    versions(peer, 1)
    alias(peer, "champion", 1)
    peer.call("DEPLOY", model="m", version=1)
    keys = store.cli("--raw", "KEYS", "maas:*{*").split(b"\n")
    assert sorted(keys) == [b"maas:{m}:" + what for what in (b"aliases", b"history", b"model", b"version:1", b"versions")]


LAYOUT_1 = """
local record = redis.call('HGET', 'maas:{x}:version:1', 'record')
local checked = redis.call('HGET', 'maas:{x}:version:1', 'checked')
local file = redis.call('HGET', 'maas:dataset:y', 'a.csv')
redis.call('HDEL', redis.call('KEYS', 'maas:manifest:*')[1], 'refs')
redis.call('DEL', 'maas:models', 'maas:{x}:model', 'maas:datasets', 'maas:dataset:y')
for _, model in ipairs({'m', 'other'}) do
    redis.call('SADD', 'maas:models', model)
    redis.call('HSET', 'maas:model:' .. model, 'next', '3')
    for _, n in ipairs({'1', '3'}) do
        redis.call('HSET', 'maas:version:' .. model .. ':' .. n, 'record', record, 'check', '1', 'checked', checked)
    end
    redis.call('XADD', 'maas:history:' .. model, '*', 'who', 'upload', 'what', 'register', 'from', '', 'to', '1')
end
redis.call('HSET', 'maas:model:m', 'version', '3', 'previous', '1', 'revision', '7', 'max_batch', '16')
redis.call('SADD', 'maas:datasets', 'd')
redis.call('HSET', 'maas:dataset:d', 'a.csv', file)
redis.call('HSET', 'maas:catalog', 'versions', '4', 'bytes', '4000')
redis.call('SET', 'maas:seq', '9')
redis.call('DEL', 'maas:layout')
"""


def test_what_an_older_release_has_left_is_moved_once(store):
    peer = store.peer()
    commit(peer, model="x", data=b"weights")
    check(peer, "x", 1, reason="none")
    peer.call("FILE_COMMIT", dataset="y", file="a.csv", **put(peer, b"weights"))
    store.registry.kill()
    store.cli("FUNCTION", "FLUSH")
    store.cli("DEL", "maas:library")
    store.cli("EVAL", LAYOUT_1, "0")
    for _ in range(2):
        store.registry.start()
        store.ready()
        seen = snapshot(peer)
        assert sorted(seen["versions"]) == [(m, n) for m in ("m", "other") for n in (1, 3)]
        assert set(seen["deployments"]) == {"m"}
        d = seen["deployments"]["m"]
        assert (d["version"], d["previous"], d["revision"], d["max_batch"]) == (3, 1, 7, 16)
        assert d["traffic"] == shares((3, 10000)) and d["previous_traffic"] == shares((1, 10000))
        assert history(peer)[0]["to"] == "1"
        assert refs(store) == 5  # four versions and a file
        store.registry.kill()
    store.registry.start()
    store.ready()
    assert store.cli("KEYS", "maas:version:*") == b"" and store.cli("KEYS", "maas:model:*") == b""
    assert peer.call("DEPLOY", model="m", version=1)["previous"] == 3
    assert commit(peer)["number"] == 4


# ---- what has gone wrong meanwhile


def test_a_shadow_that_failed_hinders_nobody(store):
    peer = store.peer()
    versions(peer, 1)
    commit(peer)
    peer.call("DEPLOY", model="m", version=1, shadow=[2], changes=SHADOW)
    check(peer, "m", 2, FAILED, reason="it does not load")
    done = peer.call("DEPLOY", model="m", version=1, instances=2, changes=1 << 0)
    assert done["instances"] == 2 and not done["shadow"]
    versions_now = commit(peer, deploy=True)["number"]
    assert snapshot(peer)["deployments"]["m"]["version"] == versions_now
    for _ in range(3):  # back to where the shadow was, too
        assert not peer.call("ROLLBACK", model="m")["shadow"]


def test_a_reason_that_is_no_text_is_shown_all_the_same(store):
    peer = store.peer()
    commit(peer)
    check(peer, "m", 1, FAILED, reason="caf\udce9 \u00e9")  # the first is a byte alone
    assert json.loads(history(peer)[-1]["to"])["reason"] == "caf? \u00e9"


def test_ids_of_entries_are_ids(store):
    peer = store.peer()
    commit(peer)
    for bad in ("1--", "1-2-3", "-1", "1-", "99999999999999999999", "x"):
        refused("INVALID", peer.call, "HISTORY_GET", model="m", limit=1, before=bad)
    assert not peer.call("HISTORY_GET", model="m", limit=1, before="1-0")["entries"]


# ---- two registries


def test_changes_through_one_registry_are_seen_through_the_other(store):
    store.add_registry()
    store.ready(1)
    one, two = store.peer(0), store.peer(1)
    events = store.subscriber(1)
    versions(one, 2, checked=False)
    alias(one, "champion", 1)
    assert [bool(events.next_change()["aliases"]) for _ in range(3)] == [False, False, True]
    refused("CONFLICT", alias, two, "champion", 2, compare=True, expected=2)
    alias(two, "champion", 2, compare=True, expected=1)
    with Peer(store.rpc(0)) as other:
        refused("CONFLICT", alias, other, "champion", 1, compare=True, expected=1)
