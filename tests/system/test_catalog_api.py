"""Aliases, tags, search, pages and deletion over HTTP."""

import json
import urllib.parse

import pytest

import networks
from conftest import PATIENCE

TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}


def refused(api, status, method, path, body=None, headers=None):
    got, _, answer = api.request(method, path, body, headers)
    assert got == status, answer
    return answer["error"]


@pytest.fixture
def two(suite):
    for factor in (2, 3):
        suite.upload("m", networks.times(factor))
    return suite


def test_an_alias_is_good_wherever_a_version_is(two):
    call, get, alias = two.api.call, two.api.get, "/api/models/m/aliases/champion"
    assert call("PUT", alias, {"version": "1", "expected": None}) == {"aliases": {"champion": "1"}}
    assert get(alias) == {"alias": "champion", "version": "1"}
    assert get("/api/models/m")["aliases"] == {"champion": "1"}
    two.deploy("m", "champion", wait=False)
    two.eventually(lambda: two.serving("m") == "1", PATIENCE, "not serving")
    got = call("POST", "/v2/models/m/versions/champion/infer", {"inputs": [TENSOR]})
    assert got["model_version"] == "1" and got["outputs"][0]["data"] == [2, 4]
    got = call("POST", "/v1/models/m/versions/champion:predict", {"instances": [[1, 2]]})
    assert got["model_version"] == "1" and got["predictions"] == [[2, 4]]
    got = call("POST", "/predict?model=m&version=champion", {"inputs": [[1, 2]]})
    assert got["version"] == "1" and got["outputs"] == [[2, 4]]
    assert get("/v2/models/m/versions/champion/ready")["ready"] is True
    assert get("/v1/models/m/versions/champion")["model_version_status"][0]["version"] == "1"
    assert get("/api/models/m/versions/champion")["version"] == "1"
    assert "stands for version 1" in refused(two.api, 409, "PUT", alias, {"version": "2", "expected": "2"})
    assert call("PUT", alias, {"version": "2", "expected": "1"}) == {"aliases": {"champion": "2"}}
    error = refused(two.api, 409, "POST", "/v2/models/m/versions/champion/infer", {"inputs": [TENSOR]})
    assert "version 2" in error and "not deployed" in error
    assert call("DELETE", alias + "?expected=2") == {"aliases": {}}
    for method, path, body, status in (
        ("GET", alias, None, 404),
        ("DELETE", alias, None, 404),
        ("POST", "/v2/models/m/versions/champion/infer", {"inputs": [TENSOR]}, 404),
        ("POST", "/predict?version=no%20name", {"inputs": [[1, 2]]}, 400),
        ("POST", "/v2/models/x/versions/champion/infer", {"inputs": [TENSOR]}, 404),
        ("PUT", "/api/models/x/aliases/champion", {"version": "1"}, 404),
        ("PUT", alias, {"version": "9"}, 400),
        ("PUT", alias, {"version": None}, 400),
        ("PUT", alias, {"expected": "1"}, 400),
        ("PUT", alias, {"version": "1", "colour": "red"}, 400),
        ("PUT", "/api/models/m/aliases/17", {"version": "1"}, 400),
    ):
        refused(two.api, status, method, path, body)


def test_tags_change_and_the_rest_does_not(suite):
    api, path = suite.api, "/api/models/m/versions/1"
    words = urllib.parse.urlencode({"tags": '{"team":"blue"}', "description": "Größe 1", "format": "onnx"})
    api.call("POST", f"/api/models/m/versions?{words}", networks.times(2), {"X-User": "ada"})
    shown = api.get(path)  # at once, before any event
    assert (shown["tags"], shown["description"]) == ({"team": "blue"}, "Größe 1")
    got = api.call("PATCH", path, {"tags": {"team": "red", "n": 1}})
    assert (got["tags"], got["description"]) == ({"team": "red", "n": 1}, "Größe 1")
    assert api.call("PATCH", path, {"description": ""})["description"] == ""
    assert api.get(path)["tags"] == {"team": "red", "n": 1}
    for body, status in (
        ({"digest": "00"}, 409),
        ({"tags": {}, "format": "fake"}, 409),
        ({"tags": []}, 400),
        ({"description": None}, 400),
        ({"description": "x" * 5000}, 400),
        ({}, 400),
    ):
        refused(api, status, "PATCH", path, body)
    refused(api, 404, "PATCH", "/api/models/m/versions/7", {"tags": {}})
    refused(api, 404, "PATCH", "/api/models/x/versions/1", {"tags": {}})
    refused(api, 400, "POST", "/api/models/m/versions?tags=[1]", networks.times(2))
    assert api.get(path)["tags"] == {"team": "red", "n": 1}
    assert [e["who"] for e in api.get("/api/models/m/history")["history"]][-1] == "ada"


def test_models_are_searched_and_come_in_pages(fake_suite):
    api = fake_suite.api
    for i in range(12):
        words = {"format": "fake", "tags": json.dumps({"team": "blue" if i % 2 else "red", "n": i, "odd\"key": "x"})}
        if i == 5:
            words["description"] = "Reads Handwriting"
        api.call("POST", f"/api/models/m{i:02}/versions?{urllib.parse.urlencode(words)}", b"fake\n")
    ask = lambda **q: api.get("/api/models?" + urllib.parse.urlencode(q))
    names = lambda **q: [m["name"] for m in ask(**q)["models"]]
    everything = [f"m{i:02}" for i in range(12)]
    assert names() == everything and ask()["next"] is None
    pages, after = [], ""
    while after is not None:
        page = ask(limit=5, after=after)
        pages.append([m["name"] for m in page["models"]])
        after = page["next"]
    assert pages == [everything[:5], everything[5:10], everything[10:]]
    assert ask(limit=12)["next"] is None and ask(limit=11)["next"] == "m10"
    assert names(query="M1") == ["m10", "m11"] and names(query="handWRITING") == ["m05"]
    assert names(tag="team=blue") == everything[1::2] and names(tag="team") == everything
    assert names(tag="n=7") == ["m07"] and names(tag="n=70") == [] and names(tag="tea") == []
    assert names(tag='odd"key=x', query="m03") == ["m03"] and names(tag="team=red", query="handwriting") == []
    assert names(tag="team=red", limit=2, after="m02") == ["m04", "m06"]
    for bad in ({"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"query": "x" * 600}):
        refused(api, 400, "GET", "/api/models?" + urllib.parse.urlencode(bad))


def test_what_is_in_use_is_not_deleted(two):
    api = two.api
    two.upload("m", networks.times(4))
    two.deploy("m", 1)
    two.deploy("m", 2)
    api.call("PUT", "/api/models/m/aliases/next", {"version": "3"})
    for path, word in (
        ("m/versions/1", "falls back"),
        ("m/versions/2", "deployed"),
        ("m/versions/3", "alias 'next'"),
        ("m", "version 1"),
    ):
        assert word in refused(api, 409, "DELETE", f"/api/models/{path}")
    refused(api, 404, "DELETE", "/api/models/m/versions/9")
    refused(api, 400, "DELETE", "/api/models/m/versions/next")
    refused(api, 404, "DELETE", "/api/models/x")
    api.call("DELETE", "/api/models/m/aliases/next")
    assert api.call("DELETE", "/api/models/m/versions/3", headers={"X-User": "ada"}) == {"deleted": True}
    refused(api, 404, "GET", "/api/models/m/versions/3")
    assert [v["version"] for v in api.get("/api/models/m")["versions"]] == ["1", "2"]
    api.call("POST", "/v2/repository/models/m/unload")
    api.call("DELETE", "/api/models/m")
    refused(api, 404, "GET", "/api/models/m")
    assert api.get("/api/models")["models"] == []
    entry = api.get("/api/models/m/history")["history"][2]
    assert (entry["what"], entry["who"]) == ("deploy", "api")
    two.eventually(lambda: not two.engine_pids(), PATIENCE, "engines of a model that is gone")
    assert two.upload("m", networks.times(5))["version"] == "4"
