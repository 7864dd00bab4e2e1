"""At the limits: overload, idle connections, many models, the queue's own cost."""

import asyncio
import json
import os
import resource
import socket
import struct
import subprocess
import time

import networks
from cases import record
from tools import ROW, SECONDS, Bench, json_request, median, wrk

SERVICE_MS = 5  # of one row of the fake model: it sleeps
DEADLINE_MS = 100
OVERLOAD = 3
IDLE = 10000


# ---- 7: overload


async def moment(at):
    """Until the clock shows it."""
    loop = asyncio.get_running_loop()
    reached = loop.create_future()
    loop.call_later(max(0, at - time.monotonic()), reached.set_result, None)
    await reached


async def connection(port, body, times, deadline):
    """Sends the request at each of the times, one after the other; (status, seconds, end) each."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
            f"X-Request-Timeout-Ms: {deadline}\r\n\r\n").encode()  # fmt: skip
    results = []
    for at in times:
        await moment(at)
        begin = time.monotonic()
        writer.write(head + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        now = time.monotonic()
        results.append((int(answer[9:12]), now - begin, now))
    writer.close()
    return results


async def offer(port, rate, seconds, connections=256):
    """An open load of so many requests a second."""
    body = json.dumps({"inputs": [[1, SERVICE_MS]]}).encode()
    start = time.monotonic() + 0.2
    count = int(rate * seconds)
    plans = [[start + i / rate for i in range(c, count, connections)] for c in range(connections)]
    done = await asyncio.gather(*(connection(port, body, plan, DEADLINE_MS) for plan in plans))
    return [r for results in done for r in results]


def overload(bin_dir):
    """7: three times more than can be done: what is done, and when."""
    with Bench(bin_dir, options={"worker": ["--allow-fake", "--max-batch", "1"]}) as b:
        b.serve("slow", b"fake\n", "fake")
        script = json_request(b.directory, "slow", {"inputs": [[1, SERVICE_MS]]})
        capacity = median(wrk(b.port, "/predict", 4, script)["rps"] for _ in range(3))
        seconds = 2 * SECONDS
        results = asyncio.run(offer(b.port, OVERLOAD * capacity, seconds))
        good = sorted(t for status, t, _ in results if status == 200)
        p99 = good[int(len(good) * 0.99)] * 1000
        statuses = {s: sum(r[0] == s for r in results) for s in sorted({r[0] for r in results})}
        yield record(7, f"overload x{OVERLOAD}, goodput over capacity", round(len(good) / seconds / capacity, 3),
                     "", 0.95, note=f"capacity {capacity:.0f}/s, answers {statuses}")  # fmt: skip
        yield record(7, "overload, p99 of what was accepted", round(p99, 1), "ms", DEADLINE_MS, "<=")


# ---- 8: idle connections


def open_idle(port, count):
    request = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    sockets = []
    for _ in range(count):
        s = socket.create_connection(("127.0.0.1", port))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no TIME_WAIT
        s.sendall(request)
        s.recv(4096)
        sockets.append(s)
    return sockets


def idle(bin_dir):
    """8: connections that say nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(IDLE, hard - 1000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 1000), hard))
    with Bench(bin_dir, options={"gateway": ["--idle-timeout-ms", "600000"]}) as b:
        data, _ = networks.perceptron([10, 50, 10])
        b.serve("net", data)
        script = json_request(b.directory, "predict", {"inputs": [ROW]})
        without, busy, added = [], [], []
        for _ in range(5):
            without.append(wrk(b.port, "/predict", 32, script)["p99_us"])
            before = b.rss_kib("gateway")
            sockets = open_idle(b.port, count)
            added.append(b.rss_kib("gateway") - before)
            busy.append(wrk(b.port, "/predict", 32, script)["p99_us"])
            for s in sockets:
                s.close()
        without, busy, added = median(without), median(busy), max(added)
        yield record(8, f"{count} idle connections, memory of each", round(added / count, 2), "KiB", 8, "<=")
        yield record(8, "the same, p99 of 32 active ones over without", round(busy / without, 2), "", 1.5, "<=",
                     note=f"{without:.0f} us, then {busy:.0f} us")  # fmt: skip
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ---- 10: the queue


def queue(bin_dir):
    """10: what a request costs in the queue, by lanes and by engines."""
    tool = os.path.join(os.path.dirname(bin_dir), "bench", "bench_queue")
    lines = subprocess.run([tool], check=True, capture_output=True, text=True).stdout.splitlines()
    costs = [json.loads(line) for line in lines]
    for axis in ("lanes", "engines"):
        rows = [c for c in costs if c["axis"] == axis]
        spread = max(c["ns"] for c in rows) / min(c["ns"] for c in rows)
        note = ", ".join(f"{c['count']}: {c['ns']:.0f} ns" for c in rows)
        yield record(10, f"queue, cost of a request, most over least by {axis}", round(spread, 2), "", 1.2, "<=",
                     note=note)  # fmt: skip


CASES = {"overload": overload, "idle": idle, "queue": queue}
