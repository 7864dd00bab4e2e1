"""GET /metrics: the exposition format holds, whatever the other processes report."""

import re

import networks
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
