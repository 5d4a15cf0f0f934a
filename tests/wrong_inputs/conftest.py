"""Tiny plugins and hosts, as core's own tests have them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_FILE = Path(__file__).parents[2] / "packages" / "core" / "tests" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("core_tests_conftest", _FILE)
assert _SPEC is not None
assert _SPEC.loader is not None
_CORE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_CORE)

Vendor = _CORE.Vendor
vendor = _CORE.vendor
home = _CORE.home
make_host = _CORE.make_host
host = _CORE.host
until = _CORE.until
