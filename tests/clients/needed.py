"""The client that a file of tests is about, or the reason why there is none."""

import importlib
import os

import pytest


def needs(client, module=None):
    """The client's module; without it the tests of the file are skipped, and say why."""
    failed = os.path.join(os.environ["MAAS_CLIENTS"], client + ".failed")
    if os.path.exists(failed):
        with open(failed, encoding="utf-8") as file:
            pytest.skip(f"{client} is not installed: {file.read()}", allow_module_level=True)
    return importlib.import_module(module) if module else None
