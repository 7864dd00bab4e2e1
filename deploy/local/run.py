#!/usr/bin/env python3
"""`make run`: the whole suite on this machine, and the quickstart when there is no data yet."""

import argparse
import os
import signal
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import quickstart  # noqa: E402
from api import Api  # noqa: E402
from suite import Suite, SuiteError  # noqa: E402

READY_SECONDS = 60


class Interrupted(Exception):
    """Ctrl-C or SIGTERM."""


def parse():
    parser = argparse.ArgumentParser(description="Runs the MaaS suite on this machine.")
    parser.add_argument("--bin", default="build/gcc/bin", help="folder of the programs")
    parser.add_argument("--data", default="data", help="where everything durable is kept")
    parser.add_argument("--port", type=int, default=8080, help="HTTP port on 127.0.0.1")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument(
        "--no-quickstart", action="store_true", help="leave an empty data directory empty"
    )
    return parser.parse_args()


def wait_ready(suite):
    def ready():
        try:
            api = Api("127.0.0.1", suite.port, timeout=5)
            status, _, _ = api.request("GET", "/healthz")
            status_catalog, _, _ = api.request("GET", "/api/models")
            api.close()
            return status == 200 and status_catalog == 200
        except OSError:
            return False

    suite.eventually(ready, READY_SECONDS, f"the suite is not ready; see {suite.data}/log")


def report_restart(process):
    status = process.popen.returncode
    how = f"signal {-status}" if status < 0 else f"status {status}"
    print(f"{process.name} ended ({how}) and is started again; see {process.log_path}", flush=True)


def show_models(suite):
    api = Api("127.0.0.1", suite.port)
    models = api.get("/api/models").get("models", [])
    api.close()
    for model in models:
        deployment = model.get("deployment") or {}
        print(f"  {model['name']:24} serves version {deployment.get('version', '-')}")


def serve(args, stop):
    suite = Suite(args.bin, args.data, port=args.port, workers=args.workers)
    wants_quickstart = not args.no_quickstart and (
        suite.fresh()
        or (os.path.exists(os.path.join(suite.data, "quickstart")) and not quickstart.finished(suite.data))
    )
    suite.on_restart = report_restart
    try:
        suite.start()
        suite.supervise()
        wait_ready(suite)
        print(f"MaaS serves on {suite.url}   (data and logs: {suite.data}; Ctrl-C ends it)\n", flush=True)
        if wants_quickstart:
            os.makedirs(os.path.join(suite.data, "quickstart"), exist_ok=True)
            quickstart.run("127.0.0.1", suite.port, suite.data)
        else:
            show_models(suite)
        stop.wait()
    finally:
        # A second Ctrl-C must not cut the drain short.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("\nDraining ...", flush=True)
        suite.stop()
        print("All processes have ended.", flush=True)


def main():
    args = parse()
    stop = threading.Event()

    def interrupt(_number, _frame):
        stop.set()
        raise Interrupted

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        serve(args, stop)
    except Interrupted:
        pass
    except (SuiteError, quickstart.QuickstartError, OSError) as error:
        print(f"make run: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
