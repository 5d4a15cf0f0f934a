"""Discovery of 50 plugins among 200 distributions, against stevedore's ExtensionManager without its cache.

The same tree for both: 200 distributions, 50 of which have one entry point in our group, a package with a tiny class and a
manifest. Ours scans, finds, reads and checks the manifests and imports no plugin; stevedore scans and loads, as it always does. So
a third line gives ours with the 50 classes loaded as well.

Every "first" is the first call in a fresh process that has imported the library and nothing else; "warm" is the median of the
later ones in the same process. stevedore's cache file is off by its `.disable` file, and for "warm" what it remembers within the process is dropped.
"""

from __future__ import annotations

import json
import os
import site
import sysconfig
import tempfile
from importlib.util import find_spec
from pathlib import Path

from ._measure import Figure, Sides, median_of, run_python
from ._site import compiled, put_distribution, put_plugin

__all__ = ["figures"]

ROUNDS = 31
DISTRIBUTIONS = 200
PLUGINS = 50
GOAL = 0.8
#: stevedore loads any class; ours must be a plugin's, and importing its base is not charged to stevedore.
_TINY = "class Plugin:\n    pass\n"
_CLASS = "from dotmac_isp.plugins.core.base import BasePlugin\n\n\nclass Plugin(BasePlugin):\n    pass\n"
_WARM = 15
_CHILD = """\
import json, sys, time
sys.path[:] = json.loads(sys.argv[1])
began = time.perf_counter()
{imports}
imported = time.perf_counter()
{work}
ended = time.perf_counter()
assert len(found) == {plugins}, len(found)
later = []
for _ in range({warm}):
    {forget}
    started = time.perf_counter()
    {work}
    later.append((time.perf_counter() - started) * 1e3)
print(json.dumps({{
    "import": (imported - began) * 1e3, "first": (ended - imported) * 1e3, "warm": sorted(later)[{warm} // 2],
}}))
"""
_STEVEDORE = {
    "imports": "from stevedore import ExtensionManager, _cache\nassert _cache._c._disable_caching",
    "work": "found = ExtensionManager('dotmac_isp.plugins', on_load_failure_callback=lambda *_: None).names()",
    "forget": "_cache._c._internal.clear(); ExtensionManager.ENTRY_POINT_CACHE.clear()",
}
_OURS = {
    "imports": "from dotmac_isp.plugins.core.discovery import discover, load_class",
    "work": "found = discover().plugins",
    "forget": "pass",
}
_OURS_LOADED = {
    **_OURS,
    "work": "found = discover().plugins; [load_class(one) for one in found.values()]",
}


def figures() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        common = [*_standard_library(), *_libraries(Path(folder, "libraries"))]
        tiny, classes = _plant(Path(folder, "site"), _TINY), _plant(Path(folder, "classes"), _CLASS)
        cache = Path(folder, "cache", "python-entrypoints")
        cache.mkdir(parents=True)
        (cache / ".disable").touch()
        env = {**os.environ, "XDG_CACHE_HOME": str(cache.parent)}
        children = {
            "ours": _child(_OURS, [tiny, *common]),
            "theirs": _child(_STEVEDORE, [tiny, *common]),
            "loaded": _child(_OURS_LOADED, [classes, *common]),
        }
        taken = _take(children, env)
    against = "stevedore's ExtensionManager, no cache"
    found = f"discover(): {PLUGINS} plugins among {DISTRIBUTIONS} distributions"
    return [
        _figure("discovery, first", f"{found}, first call", against, taken, "ours", "first", GOAL),
        _figure("discovery, warm", f"{found}, warm", against, taken, "ours", "warm", GOAL),
        _figure(
            "discovery, loaded", "discover() and load_class() of all, first call", against, taken, "loaded", "first"
        ),
        _figure("discovery, with import", "import of the library and discover()", against, taken, "ours", "both"),
    ]


def _plant(tree: Path, code: str) -> str:
    for number in range(DISTRIBUTIONS):
        # Plugins lie between the others, as names fall.
        if number % (DISTRIBUTIONS // PLUGINS) == 0:
            put_plugin(tree, f"made_{number}", code)
        else:
            # Of the packages on PyPI about a quarter have entry points, nearly all of them commands.
            commands = f"[console_scripts]\nmade-{number} = made_{number}:main\n" if number % 4 == 1 else ""
            put_distribution(tree, f"made-{number}", commands)
    compiled(tree)
    return str(tree)


def _standard_library() -> list[str]:
    paths = sysconfig.get_paths()
    return list(dict.fromkeys([paths["stdlib"], paths["platstdlib"], sysconfig.get_config_var("DESTSHARED")]))


def _libraries(folder: Path) -> list[str]:
    """What both sides import, without its metadata: so there are 200 distributions on the path and no more."""
    spec = find_spec("dotmac_isp.plugins.core")
    if spec is None or spec.origin is None:
        raise RuntimeError("dotmac-plugins-core is not installed")
    core = folder / "dotmac_isp" / "plugins" / "core"
    core.parent.mkdir(parents=True)
    core.symlink_to(Path(spec.origin).parent, target_is_directory=True)
    for packages in site.getsitepackages():
        for one in Path(packages).iterdir():
            if one.suffix not in {".dist-info", ".egg-info", ".pth"} and one.name not in {"dotmac_isp", "__pycache__"}:
                (folder / one.name).symlink_to(one)
    return [str(folder)]


def _child(parts: dict[str, str], path: list[str]) -> list[str]:
    code = _CHILD.format(**parts, plugins=PLUGINS, warm=_WARM)
    return ["-I", "-S", "-c", code, json.dumps(path)]


def _take(children: dict[str, list[str]], env: dict[str, str]) -> dict[str, list[dict[str, float]]]:
    """Run the children in turn, `ROUNDS` times after one that compiles what is not compiled yet."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in children}
    for _ in range(ROUNDS + 1):
        for name, arguments in children.items():
            taken[name].append(json.loads(run_python(*arguments, env=env)))
    for rounds in taken.values():
        del rounds[0]
        for one in rounds:
            one["both"] = one["import"] + one["first"]
    return taken


def _figure(
    name: str,
    what: str,
    against: str,
    taken: dict[str, list[dict[str, float]]],
    side: str,
    key: str,
    goal: float | None = None,
) -> Figure:
    ours, theirs = (tuple(one[key] for one in taken[which]) for which in (side, "theirs"))
    notes = {
        "imports, ms": [round(median_of([one["import"] for one in taken[which]]), 1) for which in (side, "theirs")]
    }
    return Figure(name=name, what=what, against=against, unit="ms", sides=Sides(ours, theirs), goal=goal, notes=notes)
