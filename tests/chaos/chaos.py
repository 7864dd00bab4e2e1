#!/usr/bin/env python3
"""`make chaos`: a whole suite under constant load while everything around it breaks.

    links.py     TCP links between the processes that can be slow, cut or a black hole
    cluster.py   the suite: Redis, registry, two gateways, three hosts; the memory of each
    models.py    the models, and the thread that deploys new versions the whole time
    load.py      the clients, and the judge of every answer
    faults.py    what goes wrong
    chaos.py     this file: the order of it all, and the verdict

The main thread takes one fault after the other out of a bag that a seed has shuffled; one in four
comes with a second one.  After each it waits until every model that was concerned has answered
again through every gateway that was (`answer`: counted from the begin of the fault, so it holds the
fault's own length where nobody could take over) and until nothing is missing any more (`whole`:
counted from its end).  A fault is printed with both numbers.

At the end everything heals, what the API has acknowledged must be there, no engine of an old
version may be left, and every process must end with status 0 when it is told to.  The last line is
`N passed, N failed` over the checks; build/chaos.json has the numbers.  The same SEED gives the same
faults in the same order; the moments depend on the machine.
"""

import argparse
import json
import os
import random
import re
import shutil
import statistics
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "deploy", "local"))

import cluster as clusters  # noqa: E402
import faults  # noqa: E402
from links import Background  # noqa: E402
from load import Gateway, Load, Watch  # noqa: E402
from models import NAMES, Rollouts  # noqa: E402

START_SECONDS = 60
ANSWER_SECONDS = 30  # a fault whose models do not answer for longer is not overcome
WHOLE_SECONDS = 60
LEAVE_SECONDS = 45  # for engines of versions that are not deployed any more
LOOK_SECONDS = 1.0
SECOND_FAULT = 0.25
BAR = 30
CHECKS = (
    "every request that a surviving gateway accepted got one right answer",
    "every fault was overcome",
    "new versions were deployed the whole time",
    "what was acknowledged is there",
    "engines of old versions have left",
    "no engine's memory grew",
    "no gateway's, host's or registry's memory grew",
    "the API gave no answer that it should not",
    "nothing ended by itself",
    "a poisonous request is named",
    "told to end, everything ends well",
)
ANSWERED, OVERCOME, ROLLED, KEPT, LEFT, ENGINES, OTHERS, API, CRASHES, POISON, DRAINS = CHECKS
SERVICE_GROWTH_MAX = 24 << 20  # versions, lanes and their measurements stay for good


class World:
    """What the faults and the checks share."""

    def __init__(self, args, data):
        self.args = args
        self.background = Background()
        links = clusters.make_links(data, args.seed)
        for link in links.values():
            self.background.call(link.listen())
        self.cluster = clusters.Cluster(args.bin, data, links)
        self.memory = clusters.Memory(self.cluster)
        self.gateways = {n: Gateway(n, p) for n, p in self.cluster.http.items()}
        self.bag = faults.Bag(args.seed)
        self.random = random.Random(f"{args.seed} order")
        self.busy = set()  # processes that a fault has ended or stopped
        self.failures = {check: [] for check in CHECKS}
        ports = list(self.cluster.http.values())
        self.rollouts = Rollouts(ports, args.seed, lambda text: self.failed(API, text))
        self.load = None
        self.records = []
        self.begin = time.monotonic()
        self.looked = 0.0

    def failed(self, check, sentence):
        check = {"drains": DRAINS, "poison": POISON}.get(check, check)
        self.failures[check].append(sentence)
        self.say(f"FAILED {check}: {sentence}")

    # ---- the screen

    def say(self, line):
        clear = "\r\x1b[K" if sys.stdout.isatty() else ""
        print(f"{clear}{self.age():6.1f} s  {line}", flush=True)

    def age(self):
        return time.monotonic() - self.begin

    def bar(self):
        if sys.stdout.isatty():
            done = min(1.0, self.age() / self.args.seconds)
            full = "#" * int(BAR * done)
            print(f"\r\x1b[K[{full:{BAR}}] {self.age():.0f} of {self.args.seconds} s, "
                  f"{self.load.answered} answers", end="", flush=True)  # fmt: skip

    # ---- looking around, between everything else

    def tick(self):
        now = time.monotonic()
        for name, process in self.cluster.processes.items():
            if name not in self.busy and not process.alive():
                self.failed(CRASHES, f"{name} ended with {process.popen.returncode}:\n"
                                     f"{process.last_words()}")  # fmt: skip
                process.start()
        if now - self.looked >= LOOK_SECONDS:
            self.looked = now
            self.memory.look()
            self.bar()

    def wait(self, seconds, condition=lambda: False):
        """Until the condition holds; False when it does not in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.tick()
            self.cluster.stopping.wait(0.02)
        return True


# ---- one fault, or two at once


def run_faults(world):
    kinds = [world.bag.next()]
    if world.random.random() < SECOND_FAULT:
        second = world.bag.next_beside(kinds[0])
        kinds += [second] if second else []
    now = [faults.make(kind, world) for kind in kinds]
    world.load.forget_worst()
    watch = Watch({pair for fault in now for pair in fault.pairs})
    world.load.watches.append(watch)
    for fault in now:
        fault.begin()
    for fault in sorted(now, key=lambda f: f.seconds):
        world.wait(watch.begin + fault.seconds - time.monotonic())
        fault.end()
    ended = time.monotonic()
    answered = world.wait(ANSWER_SECONDS, lambda: not watch.waiting)
    world.load.watches.remove(watch)
    missing = wait_until_whole(world, WHOLE_SECONDS)
    note(world, now, watch if answered else None, time.monotonic() - ended, missing)


def wait_until_whole(world, seconds):
    deadline = time.monotonic() + seconds
    while True:
        world.tick()
        missing = world.cluster.why_not_whole()
        if not missing or time.monotonic() > deadline:
            return missing
        world.cluster.stopping.wait(0.05)


def note(world, now, watch, whole, missing):
    name = " + ".join(fault.name() for fault in now)
    where = ", ".join(f"{fault.target} ({fault.seconds} s)" for fault in now)
    record = {
        "at": round(world.age(), 1),
        "fault": name,
        "where": where,
        "answer_seconds": round(watch.last, 3) if watch else None,
        "whole_seconds": round(whole, 3) if not missing else None,
        "slowest_answer_seconds": round(world.load.worst, 3),
    }
    world.records.append(record)
    answer = f"{watch.last:6.2f} s" if watch else "   never"
    world.say(f"{name:32} answer {answer}  whole {whole:5.1f} s  "
              f"slowest {world.load.worst:5.2f} s  {where}")  # fmt: skip
    if not watch:
        world.failed(OVERCOME, f"no correct answer within {ANSWER_SECONDS} s after {name} ({where})")
    if missing:
        world.failed(OVERCOME, f"{whole:.0f} s after {name} ({where}): {missing}")


# ---- the end


def check_kept(world):
    """Versions and deployments that were acknowledged, and that they serve."""
    for model in world.rollouts.models.values():
        wanted = model.asked[max(0, model.acked_deployment - 1) :]
        good = [v for v in wanted if v in model.functions]
        for name in world.gateways:
            path = f"/api/models/{model.name}"

            def served(name=name, path=path, wanted=wanted, good=good):
                shown = world.cluster.ask(name, path)
                if not shown or int(shown["deployment"]["version"]) not in wanted:
                    return False
                return not good or int(shown["deployment"]["serving"]) in good

            if not world.wait(LEAVE_SECONDS, served):
                world.failed(KEPT, f"{name} shows another deployment of {model.name} than {wanted}")
            shown = world.cluster.ask(name, path) or {"versions": []}
            missing = model.acked - {int(v["version"]) for v in shown["versions"]}
            if missing:
                world.failed(KEPT, f"{name} knows nothing of {model.name} {sorted(missing)}")


def extra_engines(world):
    """Engines that are not the one of each model on each host."""
    return len(
        [pid for pid in world.cluster.everybody() if "engine" in clusters.command_line(pid)[1:2]]
    ) - len(clusters.HOSTS) * len(NAMES)


def check_end(world):
    if not world.wait(LEAVE_SECONDS, lambda: extra_engines(world) == 0):
        world.failed(LEFT, f"{extra_engines(world)} engines too many")
    check_memory(world)
    if len(world.rollouts.seconds) < world.args.seconds / 30:
        world.failed(ROLLED, f"only {len(world.rollouts.seconds)} rollouts were finished")
    for _, sentence in world.load.sentences:
        world.failures[ANSWERED].append(sentence)
    if world.load.answered < world.args.seconds * 10:
        world.failures[ANSWERED].append(f"there were only {world.load.answered} answers")


def check_memory(world):
    if re.search("address|thread", world.args.bin):
        return  # a sanitizer's own memory grows
    for name, grown in world.memory.growth().items():
        engine = name.startswith("engine")
        limit = clusters.GROWTH_MAX if engine else SERVICE_GROWTH_MAX
        if max(grown) > limit and name != "redis":
            world.failed(ENGINES if engine else OTHERS, f"{name} grew by {max(grown) >> 10} KiB")


def stop_all(world):
    for name, status in world.cluster.stop().items():
        if status != 0:
            world.failed(DRAINS, f"{name} ended with status {status} at the end")
    left = world.cluster.everybody()
    if left:
        words = [" ".join(clusters.command_line(pid)[:7]) for pid in left]
        world.failed(DRAINS, f"still there: {words}")
        clusters.end_all(world.cluster)


# ---- what is told


def table(world):
    """Recovery by kind of fault; overlapping ones are counted under each."""
    rows = {}
    for record in world.records:
        for kind in record["fault"].split(" + "):
            rows.setdefault(kind, []).append(record)
    print(f"\n{'fault':20} {'times':>5} {'answer: median':>15} {'worst':>8} "
          f"{'whole: median':>15} {'worst':>8}   (seconds)")  # fmt: skip
    for kind in sorted(rows):
        numbers = []
        for key in ("answer_seconds", "whole_seconds"):
            values = [r[key] for r in rows[kind] if r[key] is not None] or [float("nan")]
            numbers += [statistics.median(values), max(values)]
        print(f"{kind:20} {len(rows[kind]):5} {numbers[0]:15.2f} {numbers[1]:8.2f} "
              f"{numbers[2]:15.2f} {numbers[3]:8.2f}")  # fmt: skip


def summary(world):
    load, rollouts = world.load, world.rollouts
    seconds = sorted(load.seconds) or [0.0]
    growth = {name: max(grown) for name, grown in sorted(world.memory.growth().items())}
    return {
        "seed": world.args.seed,
        "seconds": world.args.seconds,
        "requests": {"sent": load.sent, "answered": load.answered, "excused": load.excused,
                     "troubles": load.troubles},
        "latency_seconds": {"median": round(seconds[len(seconds) // 2], 4),
                            "p99": round(seconds[len(seconds) * 99 // 100], 3),
                            "max": round(seconds[-1], 3)},
        "rollouts": {"finished": len(rollouts.seconds),
                     "median_seconds": round(statistics.median(rollouts.seconds or [0]), 2),
                     "versions": sum(m.made for m in rollouts.models.values()),
                     "api_troubles_that_passed": rollouts.refused},
        "memory_growth_bytes": growth,
        "faults": world.records,
        "checks": {check: found for check, found in world.failures.items()},
    }  # fmt: skip


def verdict(world):
    table(world)
    facts = summary(world)
    requests, latency, rolled = facts["requests"], facts["latency_seconds"], facts["rollouts"]
    print(f"\n{requests['answered']} of {requests['sent']} requests were answered, "
          f"{requests['excused']} were with a gateway that was killed; "
          f"median {latency['median'] * 1000:.0f} ms, 99% within {latency['p99']:.2f} s, "
          f"all within {latency['max']:.1f} s")  # fmt: skip
    print(f"{len(world.records)} faults; {rolled['finished']} rollouts, each in "
          f"{rolled['median_seconds']} s (median), {rolled['versions']} versions")  # fmt: skip
    grown = {n: f"{b / 1048576:+.1f}" for n, b in facts["memory_growth_bytes"].items()}
    print(f"memory, MiB of the one that grew most: {grown}\n")
    for check, found in world.failures.items():
        print(f"{'FAILED' if found else 'ok':7} {check}")
        for sentence in found[:20]:
            print(f"          {sentence}")
    os.makedirs(os.path.dirname(os.path.abspath(world.args.out)), exist_ok=True)
    with open(world.args.out, "w", encoding="utf-8") as out:
        json.dump(facts, out, indent=1)
    bad = sum(bool(found) for found in world.failures.values())
    print(f"{len(CHECKS) - bad} passed, {bad} failed", flush=True)
    return bad


def run(world):
    world.cluster.start()
    for name in world.gateways:
        if not world.wait(START_SECONDS, lambda n=name: world.cluster.ask(n, "/api/models")):
            raise SystemExit(f"{name} does not answer:\n{world.cluster.processes[name].last_words()}")
    world.rollouts.first()
    missing = wait_until_whole(world, START_SECONDS)
    if missing:
        raise SystemExit(f"the suite does not come up: {missing}")
    world.load = Load(list(world.gateways.values()), list(world.rollouts.models.values()))
    world.background.call(world.load.start())
    world.rollouts.start()
    world.begin = time.monotonic()
    world.wait(1.0)
    while world.age() < world.args.seconds:
        run_faults(world)
    world.say("everything heals")
    world.rollouts.stop()
    wait_until_whole(world, WHOLE_SECONDS)
    check_kept(world)
    world.background.call(world.load.stop(), 120)
    check_end(world)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--bin", default="build/gcc/bin")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", default="")
    parser.add_argument("--out", default="build/chaos.json")
    args = parser.parse_args()
    args.seed = args.seed or str(random.SystemRandom().randrange(10**6))
    data = os.path.realpath(tempfile.mkdtemp(prefix="maas-chaos-"))
    print(f"chaos for {args.seconds} s, SEED={args.seed}", flush=True)
    world = World(args, data)
    bad = 1
    try:
        run(world)
        stop_all(world)
        bad = verdict(world)
    finally:
        clusters.end_all(world.cluster)
        if bad:
            print(f"the logs are in {data}/log", flush=True)
        else:
            shutil.rmtree(data, ignore_errors=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
