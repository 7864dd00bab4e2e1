"""GET /metrics: the exposition format holds, whatever the other processes report."""

import re
import threading

import networks
from conftest import PATIENCE
from peer import ROLES, Peer

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = NAME + r'="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)?\}})? (-?[0-9.e+-]+|NaN|[+-]Inf)")


def parse(text):
    """{(name, labels): value}; fails on whatever Prometheus would refuse."""
    samples, types, family = {}, {}, None
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            family, kind = line.split()[2:]
            assert family not in types, f"{family} has two places"
            types[family] = kind
            continue
        if line.startswith("#"):
            continue
        found = SAMPLE.fullmatch(line)
        assert found, line
        name = found.group(1)
        plain = re.sub("_(bucket|sum|count)$", "", name)
        assert family == (plain if types[family] == "histogram" else name), line
        key = (name, found.group(2) or "")
        assert key not in samples, line
        samples[key] = float(found.group(3))
    return samples


def series_of(suite, version):
    text = suite.api.get("/metrics").decode()
    return [line for line in text.splitlines() if f'model="m",version="{version}"' in line]


def test_what_was_counted_of_a_deleted_version_goes(make_suite):
    """But not while somebody waits for its answer; and what comes after it begins at nothing."""
    suite = make_suite(options={"worker": ["--allow-fake"], "gateway": ["--forget-ms", "300"]})
    ask = lambda client, row: client.request("POST", "/predict", {"model": "m", "inputs": [row]})
    for version in (1, 2, 3):
        suite.upload("m", b"fake\n", "fake")
        suite.deploy("m", version)
        if version == 3:
            suite.api.call("PUT", "/api/models/m/deployment", {"version": "3", "shadow": ["1"]})
        assert ask(suite.api, [0, 1])[0] == 200
        answers, slow = [], suite.client()
        last = threading.Thread(target=lambda a=answers, s=slow: a.append(ask(s, [1, 1000])))
        last.start()
        running = f'maas_gateway_batches_total{{model="m",version="{version}",reason="drained"}} 2'
        suite.eventually(lambda v=version, r=running: r in series_of(suite, v), PATIENCE, "it does not run")
        suite.api.call("POST", "/v2/repository/models/m/unload")
        if version > 1:
            suite.api.call("DELETE", f"/api/models/m/versions/{version}")
        assert series_of(suite, version)
        last.join()
        assert answers[0][0] == 200 and answers[0][2]["version"] == str(version), answers
        if version > 1:
            suite.eventually(lambda v=version: not series_of(suite, v), PATIENCE, "its series stay")
    assert series_of(suite, 1)
    suite.deploy("m", 1)
    assert ask(suite.api, [0, 1])[2]["version"] == "1"


def report(suite, counters):
    process = {"role": ROLES["trainer"], "id": "t-test", "host": "here", "pid": 1, "counters": counters}
    with Peer(f"ipc://{suite.data}/run/rpc.sock") as peer:
        peer.call("REPORT", processes=[process], want=0)


def metrics(suite):
    return parse(suite.api.request("GET", "/metrics")[2].decode())


def test_counters_of_others_keep_their_names(suite):
    suite.upload("two", networks.times(2))
    suite.deploy("two", 1)
    suite.api.call("POST", "/predict", {"inputs": [[1, 2]]})
    report(
        suite,
        [
            {"name": "maas_test_total", "labels": 'kind="a\\"b"', "value": 7},
            {"name": "maas_test_total", "labels": "", "value": 8},
            {"name": "maas_net_bad_messages_total", "labels": "", "value": 9},
            {"name": "maas_gateway_request_seconds", "labels": "", "value": 1},  # a histogram here
            {"name": "bad name", "labels": "", "value": 1},
            {"name": "maas_bad_total", "labels": 'x="1"} 5\nevil_total{y="2"', "value": 1},
            {"name": "maas_bad_total", "labels": 'x="1" y="2"', "value": 1},
            {"name": "maas_bad_total", "labels": 'x="open', "value": 1},
        ],
    )
    who = 'role="trainer",process="t-test"'
    samples = suite.eventually(
        lambda: (got := metrics(suite)).get(("maas_test_total", who)) == 8 and got, 20, "no counter"
    )
    assert samples[("maas_test_total", who + ',kind="a\\"b"')] == 7
    assert samples[("maas_net_bad_messages_total", who)] == 9
    assert not any("bad_total" in name or "evil" in name for name, _ in samples)
    assert samples[("maas_gateway_batch_rows_count", 'model="two",version="1"')] == 1
