from __future__ import annotations

import asyncio
import uuid
from pathlib import Path  # noqa: TC003 - hypothesis reads the annotations
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dotmac_isp.plugins.core.storage import open_storage

SCOPES = [(None, "p"), ("a", "p"), ("a", "q"), ("b", "p")]
# Few and similar, so that keys meet: prefixes of each other, wildcards of SQL, NUL, the ends of the planes of Unicode.
SIGNS = "a%_\0\\/'ä\uffff\U0010ffff"
KEYS = st.text(SIGNS, min_size=1, max_size=4) | st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab\0ä"), inner, max_size=3),
    max_leaves=5,
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "put", "delete", "drop", "list"]), st.sampled_from(SCOPES), KEYS, VALUES),
    min_size=1,
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, size=st.integers(1, 3))
def test_every_scope_is_a_sorted_dictionary_of_its_own(url: str, tmp_path: Path, steps: list[Any], size: int) -> None:
    # Plugins of this example only: making a database for each would take too long.
    suffix = uuid.uuid4().hex

    async def run() -> None:
        engine = await open_storage(url, home=tmp_path)
        model: dict[Any, dict[str, Any]] = {scope: {} for scope in SCOPES}
        for what, scope, key, value in steps:
            tenant, plugin = scope[0], scope[1] + suffix
            storage = engine.scope(tenant, plugin)
            if what == "put":
                await storage.put(key, value)
                model[scope][key] = value
            elif what == "delete":
                assert await storage.delete(key) is (key in model[scope])
                model[scope].pop(key, None)
            elif what == "drop":
                assert await engine.drop(tenant, plugin) == len(model[scope])
                model[scope].clear()
            else:
                wanted = [(k, model[scope][k]) for k in sorted(model[scope]) if k.startswith(key[:1])]
                assert await paged(storage, key[:1], size) == wanted
        for scope, documents in model.items():
            storage = engine.scope(scope[0], scope[1] + suffix)
            assert [(one.key, one.value) for one in await storage.list()] == [
                (k, documents[k]) for k in sorted(documents)
            ]
        await engine.close()

    asyncio.run(run())


async def paged(storage: Any, prefix: str, size: int) -> list[Any]:
    found: list[Any] = []
    while page := await storage.list(prefix, limit=size, after=found[-1][0] if found else None):
        found += [(one.key, one.value) for one in page]
    return found
