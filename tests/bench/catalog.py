"""A large catalog: what a page of it costs, and what gateway and registry have in memory with it."""

import json
import os
import subprocess
import time
import urllib.parse

from cases import record
from tools import WAIT_SECONDS, Bench

MODELS, VERSIONS = 10_000, 10
PAGE_MS = 50
ROUNDS = 20

# Copies a version that was uploaded and checked to model after model, as the registry would keep them.
FILL = """
local record, checked = unpack(redis.call('HMGET', 'maas:{seed}:version:1', 'record', 'checked'))
local digests = redis.call('HGET', 'maas:{seed}:version:1', 'digests')
for m = tonumber(ARGV[1]), tonumber(ARGV[2]) do
    local name = string.format('model-%05d', m)
    redis.call('ZADD', 'maas:models', 0, name)
    redis.call('HSET', 'maas:{' .. name .. '}:model', 'next', ARGV[3])
    for n = 1, tonumber(ARGV[3]) do
        redis.call('ZADD', 'maas:{' .. name .. '}:versions', n, n)
        redis.call('HSET', 'maas:{' .. name .. '}:version:' .. n, 'record', record, 'digests', digests, 'check',
            '1', 'checked', checked, 'tags', '{"team":"team-' .. m % 100 .. '","n":' .. n .. '}', 'description',
            'Predicts the price of house ' .. m .. ' from ten numbers', 'revision', '2')
    end
end
redis.call('INCR', 'maas:seq')
"""


def fill(bench):
    socket = os.path.join(bench.suite.data, "run", "redis.sock")
    for first in range(0, MODELS, 500):
        argv = ["redis-cli", "-s", socket, "EVAL", FILL, "0", str(first), str(first + 499), str(VERSIONS)]
        said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
        assert not said, said


def page_ms(bench, **query):
    """The slowest and the usual time of a page, and how many models it had."""
    path = "/api/models?" + urllib.parse.urlencode(query)
    times = []
    for _ in range(ROUNDS):
        begin = time.monotonic()
        bench.api.connection.request("GET", path)
        text = bench.api.connection.getresponse().read()
        times.append(1000 * (time.monotonic() - begin))
    times.sort()
    return times[-1], times[len(times) // 2], len(json.loads(text)["models"])


def catalog(bin_dir):
    """10: lists and searches of 10,000 models with 10 versions each."""
    with Bench(bin_dir) as b:
        b.api.call("POST", "/api/models/seed/versions?format=fake", b"fake\n")
        b.suite.eventually(
            lambda: b.api.get("/api/models/seed/versions/1")["check"] != "pending", WAIT_SECONDS, "no check"
        )
        small = {name: b.rss_kib(name) for name in ("gateway", "registry")}
        fill(b)
        begin = time.monotonic()
        b.suite.processes["gateway"].kill()
        b.suite.processes["gateway"].start()
        b.api.close()
        last = f"/api/models/model-{MODELS - 1:05}"

        def whole():
            try:
                return b.api.request("GET", last)[0] == 200
            except OSError:
                return False

        b.suite.eventually(whole, WAIT_SECONDS, "the catalog does not come")
        took = time.monotonic() - begin
        memory = ", ".join(f"{n} {(b.rss_kib(n) - kib) / 1024:.0f} MiB" for n, kib in small.items())
        for what, query in (
            ("the first page", {}),
            ("a page in the middle", {"after": f"model-{MODELS // 2:05}"}),
            ("search by name, one of all", {"query": f"model-{MODELS - 1:05}"}),
            ("search by a word that nobody has", {"query": "weather"}),
            ("search by a tag of one in a hundred", {"tag": "team=team-99"}),
            ("search by a tag that nobody has", {"tag": "stage"}),
        ):
            worst, usual, count = page_ms(b, **query)
            yield record(10, f"{MODELS} x {VERSIONS} versions, {what}, slowest of {ROUNDS}", round(worst, 1), "ms",
                         PAGE_MS, "<=", note=f"usually {usual:.1f} ms; {count} models")  # fmt: skip
        yield record(10, "the same, until a gateway that starts has it all", round(took, 2), "s",
                     note=f"more memory than with one model: {memory}")  # fmt: skip


CASES = {"catalog": catalog}
