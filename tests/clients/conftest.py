"""Tests with clients that others have written, unmodified.

They run in the virtual environment of install.py, with the fixtures of the system tests.
"""

import importlib.util
import os

HERE = os.path.dirname(os.path.abspath(__file__))

_spec = importlib.util.spec_from_file_location(
    "system_conftest", os.path.join(HERE, "..", "system", "conftest.py")
)
_system = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_system)

make_suite = _system.make_suite
suite = _system.suite
fake_suite = _system.fake_suite
