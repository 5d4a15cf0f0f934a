"""The short way for plain version ranges gives what packaging gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from dotmac_isp.plugins.core.discovery._manifest import _in_simple_range, in_range

versions = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
clauses = st.tuples(st.sampled_from([">=", "<=", "==", "!=", "<", ">"]), versions).map(" ".join)


@given(versions, st.lists(clauses, min_size=1, max_size=3))
def test_plain_ranges_are_judged_as_packaging_judges_them(version: str, parts: list[str]) -> None:
    text = ",".join(parts)
    assert _in_simple_range(version, text) is SpecifierSet(text).contains(version)


def test_other_ranges_are_left_to_packaging() -> None:
    assert _in_simple_range("1.0rc1", ">=1") is None
    assert in_range("1.0rc1", ">=0.9")
    assert not in_range("1.0rc1", ">=1")
    assert in_range("1.4.2", "~=1.4")
    assert in_range("1.4.2", "==1.4.*")
    assert in_range("7", "")
