"""The order of loading, and who is held back for what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dotmac_isp.plugins.core.dependencies import dependants, plan
from dotmac_isp.plugins.core.discovery import Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping


def plugin(
    plugin_id: str, requires: Mapping[str, str] | None = None, after: tuple[str, ...] = (), version: str = "1.0"
) -> Manifest:
    return Manifest(id=plugin_id, name=plugin_id, version=version, requires=dict(requires or {}), after=after)


def these(*plugins: Manifest) -> dict[str, Manifest]:
    return {one.id: one for one in plugins}


def test_without_requirements_the_given_order_stays() -> None:
    assert plan(these(plugin("c"), plugin("a"), plugin("b"))).order == ("c", "a", "b")


def test_what_is_required_comes_first_and_after_counts_only_when_it_is_there() -> None:
    made = plan(these(plugin("a", {"b": ">=1"}), plugin("b", after=("c", "absent")), plugin("c"), plugin("d")))
    assert made.order == ("c", "b", "a", "d")
    assert made.held_back == {}


def test_a_missing_requirement_names_what_pip_would_install() -> None:
    made = plan(these(plugin("a", {"voltha_integration": ">=0.1"}), plugin("b", {"nobody_knows": ""}), plugin("c")))
    assert made.order == ("c",)
    assert made.held_back["a"].reason == "requires voltha_integration >=0.1, which is not installed"
    assert made.held_back["a"].remedy == "Bring it: python -m pip install dotmac-plugin-voltha"
    assert made.held_back["b"].remedy == "Bring it: install a package that provides it"


def test_the_operators_knowledge_of_distributions_comes_first() -> None:
    made = plan(these(plugin("a", {"radius": ""})), known={"radius": "acme-radius"})
    assert made.held_back["a"].remedy == "Bring it: python -m pip install acme-radius"


def test_an_unsuitable_version_is_told_with_both_versions() -> None:
    made = plan(these(plugin("a", {"voltha_integration": ">=2,<3"}), plugin("voltha_integration", version="1.4")))
    assert made.order == ("voltha_integration",)
    assert made.held_back["a"].reason == "requires voltha_integration >=2,<3; installed is 1.4"
    assert "--upgrade dotmac-plugin-voltha" in (made.held_back["a"].remedy or "")


def test_an_installed_but_unusable_requirement_is_told_with_its_own_reason() -> None:
    made = plan(these(plugin("a", {"b": ""})), unusable={"b": "disabled by the tenant"})
    assert made.held_back["a"].reason == "requires b, which cannot be used: disabled by the tenant"


def test_a_cycle_is_shown_as_its_path_and_holds_back_only_what_it_concerns() -> None:
    made = plan(
        these(
            plugin("z"), plugin("a", {"b": ""}), plugin("b", {"c": ""}), plugin("c", {"a": ""}), plugin("d", {"a": ""})
        )
    )
    assert made.order == ("z",)
    for member in "abc":
        assert made.held_back[member].cycle == ("a", "b", "c", "a")
        assert made.held_back[member].reason == "circular requirement: a → b → c → a"
    assert made.held_back["d"].reason == "requires a, which is held back: circular requirement: a → b → c → a"


def test_two_cycles_and_a_plugin_that_requires_itself_are_all_told() -> None:
    made = plan(
        these(
            plugin("a", {"b": ""}),
            plugin("b", after=("a",)),
            plugin("c", {"c": ""}),
            plugin("d", {"e": ""}),
            plugin("e", {"d": ""}),
            plugin("f"),
        )
    )
    assert made.order == ("f",)
    assert made.held_back["a"].cycle == ("a", "b", "a")
    assert made.held_back["c"].cycle == ("c", "c")
    assert made.held_back["d"].cycle == ("d", "e", "d")


def test_dependants_stop_before_what_they_need() -> None:
    plugins = these(
        plugin("a"), plugin("b", {"a": ""}), plugin("c", {"b": ""}), plugin("d", after=("a",)), plugin("e", {"a": ""})
    )
    assert dependants(plugins, "a") == ("e", "c", "b")
    assert dependants(plugins, "c") == ()


def test_dependants_of_a_cycle_end() -> None:
    plugins = these(plugin("a", {"b": ""}), plugin("b", {"a": ""}), plugin("c", {"b": ""}))
    assert set(dependants(plugins, "a")) == {"b", "c"}


IDS = "abcdef"
graphs = st.fixed_dictionaries(
    {
        one: st.tuples(st.sets(st.sampled_from(IDS + "x"), max_size=2), st.sets(st.sampled_from(IDS), max_size=1))
        for one in IDS
    }
)


@given(graphs)
def test_everything_is_ordered_or_held_back_and_the_order_keeps_every_promise(
    graph: dict[str, tuple[set[str], set[str]]],
) -> None:
    plugins = these(*(plugin(one, dict.fromkeys(needs, ""), tuple(after)) for one, (needs, after) in graph.items()))
    made = plan(plugins)
    assert sorted((*made.order, *made.held_back)) == sorted(plugins)
    for position, one in enumerate(made.order):
        assert set(plugins[one].requires) <= set(made.order[:position])
        assert set(plugins[one].after).intersection(made.order) <= set(made.order[:position])
    for held in made.held_back.values():
        assert held.reason
    assert plan(plugins) == made, "the same input gives the same plan"


@pytest.mark.parametrize("shuffled", ["abc", "cba", "bca"])
def test_a_chain_is_ordered_whatever_the_given_order_is(shuffled: str) -> None:
    chain = these(plugin("a"), plugin("b", {"a": ""}), plugin("c", {"b": ""}))
    assert plan({one: chain[one] for one in shuffled}).order == ("a", "b", "c")
