"""The network as a tree, and as text for other programs."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from dotmac_isp.plugins.network_automation.voltha_integration_plugin import TOPOLOGY_FORMATS, render_topology
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.topology._terminal import tree

if TYPE_CHECKING:
    from dotmac_isp.plugins.network_automation.voltha_integration_plugin import VolthaIntegrationPlugin

SERVICE = {"s_tag": 900, "bandwidth_down": 100000, "bandwidth_up": 50000}
GRAPHML = "{http://graphml.graphdrawing.org/xmlns}"
#: Names that would break a format that does not quote.
ODD: dict[str, Any] = {
    "stack": "VOLTHA <1>",
    "olts": [
        {
            "name": 'o"lt\\',
            "device_id": "1",
            "status": "active",
            "alarms": 0,
            "pons": [
                {
                    "label": "pon-0",
                    "status": "active",
                    "alarms": 2,
                    "onus": [
                        {
                            "name": "[red]",
                            "device_id": "2",
                            "status": "unreachable",
                            "serial_number": "[red]",
                            "alarms": 1,
                            "unis": [
                                {
                                    "uni": 1,
                                    "subscribers": [
                                        {
                                            "subscriber_id": "a&b",
                                            "technology_profile": 64,
                                            "s_tag": 1,
                                            "status": "active",
                                        }
                                    ],
                                }
                            ],
                        }
                    ],
                }
            ],
        }
    ],
    "unplaced": [{"subscriber_id": "lost", "onu": "GONE"}],
}


async def test_the_tree_goes_from_the_stack_to_the_subscriber(plugin: VolthaIntegrationPlugin, active_olt: Any) -> None:
    simulator, _ = active_olt
    serial = simulator.serial_numbers[0]
    await plugin.add_subscriber_flow(serial, "sub-1", SERVICE)
    await plugin.configure_device(simulator.serial_numbers[3], {"enabled": False})
    found = await plugin.topology()
    assert simulator.target in found["stack"]
    (olt,) = found["olts"]
    assert (olt["name"], olt["status"]) == ("BBSIM_OLT_10", "active")
    assert [each["status"] for each in olt["uplinks"]] == ["active"]
    assert [(pon["label"], pon["status"], len(pon["onus"])) for pon in olt["pons"]] == [
        ("pon-0", "active", 2),
        ("pon-1", "active", 2),
    ]
    onus = {onu["name"]: onu for pon in olt["pons"] for onu in pon["onus"]}
    assert sorted(onus) == sorted(simulator.serial_numbers[:4])
    assert onus[serial]["unis"] == [
        {
            "uni": 1,
            "subscribers": [
                {
                    "subscriber_id": "sub-1",
                    "name": "internet",
                    "technology_profile": 64,
                    "s_tag": 900,
                    "status": "active",
                },
            ],
        }
    ]
    assert onus[simulator.serial_numbers[1]]["unis"] == [{"uni": 1, "subscribers": []}]
    assert onus[simulator.serial_numbers[3]]["status"] == "disabled"
    assert found["unplaced"] == []
    for name in TOPOLOGY_FORMATS:
        assert serial in render_topology(found, name)


def test_graphml_is_xml_with_every_node_and_edge() -> None:
    graph = ET.fromstring(render_topology(ODD, "graphml")).find(f"{GRAPHML}graph")
    assert graph is not None
    nodes = graph.findall(f"{GRAPHML}node")
    labels = [data.text for node in nodes for data in node if data.get("key") == "label"]
    assert labels == ["VOLTHA <1>", 'o"lt\\', "pon-0", "[red]", "UNI 1", "a&b"]
    ids = {node.get("id") for node in nodes}
    edges = graph.findall(f"{GRAPHML}edge")
    assert len(edges) == len(nodes) - 1
    assert {edge.get("source") for edge in edges} | {edge.get("target") for edge in edges} == ids


def test_dot_quotes_what_would_break_it() -> None:
    dot = render_topology(ODD, "dot")
    assert '[label="o\\"lt\\\\\\nactive", fillcolor="palegreen"]' in dot
    assert '"olt/1/pon-0" -> "onu/2";' in dot
    assert dot.count("{") == dot.count("}") == 1


def test_json_is_the_tree_itself() -> None:
    assert json.loads(render_topology(ODD, "json")) == ODD


def test_a_format_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="json, graphml, dot"):
        render_topology(ODD, "png")


def test_the_terminal_shows_names_as_they_are_and_alarms_in_numbers() -> None:
    screen = Console(file=io.StringIO(), width=100)
    screen.print(tree(ODD))
    assert isinstance(screen.file, io.StringIO)
    text = screen.file.getvalue()
    assert "ONU [red] unreachable, 1 alarm\n" in text
    assert "PON pon-0 active, 2 alarms" in text
    assert "lost on GONE" in text
