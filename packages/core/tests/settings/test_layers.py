"""The laws of merging: the highest layer wins key by key, and nothing that was said is forgotten."""

from __future__ import annotations

from functools import reduce
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dotmac_isp.plugins.core.settings import Layer, merge

keys = st.sampled_from("abc")
tables = st.recursive(
    st.dictionaries(keys, st.one_of(st.integers(0, 5), st.none(), st.lists(st.integers(0, 2), max_size=2)), max_size=3),
    lambda inner: st.dictionaries(keys, st.one_of(st.integers(0, 5), inner), max_size=3),
    max_leaves=6,
)
stacks = st.lists(tables, max_size=4)


def layers(values: list[dict[str, Any]]) -> list[Layer]:
    return [Layer(name=str(index), source=f"source {index}", values=one) for index, one in enumerate(values)]


def plainly(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    """The merge as one would write it without provenance."""
    merged = dict(low)
    for key, value in high.items():
        there = merged.get(key)
        merged[key] = plainly(there, value) if isinstance(value, dict) and isinstance(there, dict) else value
    return merged


def count_leaves(values: dict[str, Any]) -> int:
    return sum(count_leaves(one) if isinstance(one, dict) and one else 1 for one in values.values())


@given(stacks)
def test_merging_with_provenance_gives_what_merging_without_gives(stack: list[dict[str, Any]]) -> None:
    assert merge(layers(stack)).values == reduce(plainly, stack, {})


@given(stacks)
def test_each_value_is_the_one_its_layer_said_and_what_it_overrode_is_from_lower_layers(
    stack: list[dict[str, Any]],
) -> None:
    for path, leaf in merge(layers(stack)).leaves.items():
        said: Any = stack[int(leaf.origin.layer.name)]
        for key in path:
            said = said[key]
        assert said == leaf.origin.value
        assert all(int(one.layer.name) < int(leaf.origin.layer.name) for one in leaf.overrode)


@given(st.lists(st.dictionaries(keys, st.integers(0, 5), max_size=3), max_size=4))
def test_nothing_that_a_layer_said_is_forgotten(stack: list[dict[str, Any]]) -> None:
    merged = merge(layers(stack))
    told = sum(1 + len(leaf.overrode) for leaf in merged.leaves.values())
    assert told == sum(count_leaves(one) for one in stack)


@given(tables, tables, tables)
def test_merging_in_two_steps_gives_the_same(a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]) -> None:
    together = merge(layers([a, b, c])).values
    assert merge(layers([merge(layers([a, b])).values, c])).values == together


@given(tables)
def test_a_layer_over_itself_changes_nothing(values: dict[str, Any]) -> None:
    assert merge(layers([values, values])).values == merge(layers([values])).values == values


def test_the_layers_themselves_stay_as_they_were() -> None:
    low: dict[str, Any] = {"limits": {"cpu": 1, "memory": 2}}
    merge(layers([low, {"limits": {"cpu": 5}}])).values["limits"]["memory"] = 9
    assert low == {"limits": {"cpu": 1, "memory": 2}}
