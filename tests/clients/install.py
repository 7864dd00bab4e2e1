#!/usr/bin/env python3
"""install.py FOLDER - a virtual environment in FOLDER/venv with every client that can be had.

One client is one file of requirements beside this one.  A client that cannot be installed is
left out, with the reason in FOLDER/CLIENT.failed, which its tests show when they are skipped.
"""

import glob
import os
import subprocess
import sys

SECONDS = 600  # for one client
HERE = os.path.dirname(os.path.abspath(__file__))


def install(python, requirements):
    """The reason why it is not there; None: it is."""
    command = [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--retries", "2",
               "--timeout", "30", "-r", requirements]  # fmt: skip
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"pip took longer than {SECONDS} s"
    if result.returncode == 0:
        return None
    errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
    return (errors or result.stderr.splitlines() or [f"pip ended with {result.returncode}"])[0]


def main():
    folder = sys.argv[1]
    venv = os.path.join(folder, "venv")
    python = os.path.join(venv, "bin", "python")
    if not os.path.exists(python):
        # The system's packages are seen too: pytest, numpy, onnx.
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--system-site-packages", venv], check=True)
    for requirements in sorted(glob.glob(os.path.join(HERE, "*.txt"))):
        client = os.path.splitext(os.path.basename(requirements))[0]
        failed = os.path.join(folder, client + ".failed")
        reason = install(python, requirements)
        if reason:
            print(f"{client} cannot be installed: {reason}", flush=True)
            with open(failed, "w", encoding="utf-8") as file:
                file.write(reason)
        elif os.path.exists(failed):
            os.remove(failed)


if __name__ == "__main__":
    main()
