"""The network as a tree, and as text for other programs."""

from __future__ import annotations

import io
import itertools
import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (
    TOPOLOGY_FORMATS,
    ServiceConfigError,
    render_topology,
)
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.topology._table import rows
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
    with pytest.raises(ValueError, match="json, graphml, dot, svg"):
        render_topology(ODD, "png")


def test_the_terminal_shows_names_as_they_are_and_alarms_in_numbers() -> None:
    screen = Console(file=io.StringIO(), width=100)
    screen.print(tree(ODD))
    assert isinstance(screen.file, io.StringIO)
    text = screen.file.getvalue()
    assert "ONU [red] unreachable, 1 alarm\n" in text
    assert "PON pon-0 active, 2 alarms" in text
    assert "lost on GONE" in text


SVG = "{http://www.w3.org/2000/svg}"


async def test_what_the_operator_knows_is_part_of_the_tree_and_of_every_format(
    plugin: VolthaIntegrationPlugin, active_olt: Any
) -> None:
    simulator, _ = active_olt
    near, far = simulator.serial_numbers[:2]
    await plugin.set_splitter("SP-1", "BBSIM_OLT_10", 0, ports=4, location="Cabinet 7", cable="K12")
    await plugin.set_splitter("SP-2", "BBSIM_OLT_10", 0, ports=8, parent="SP-1")
    spot = {"text": "House 3", "latitude": 48.2, "longitude": 16.4}
    await plugin.set_place(far, location=spot, splitter="SP-2", cable="drop 9")
    await plugin.set_place("BBSIM_OLT_10", location="Central office")
    found = await plugin.topology()
    (olt,) = found["olts"]
    pon = olt["pons"][0]
    assert olt["location"] == {"text": "Central office"}
    assert [(each["id"], each["parent"]) for each in pon["splitters"]] == [("SP-1", ""), ("SP-2", "SP-1")]
    onus = {onu["name"]: onu for onu in pon["onus"]}
    assert (onus[far]["splitter"], onus[far]["location"]) == ("SP-2", spot)
    assert "splitter" not in onus[near]
    graph = ET.fromstring(render_topology(found, "graphml"))
    edges = {edge.get("target", ""): edge for edge in graph.iter(f"{GRAPHML}edge")}
    edge = edges[f"onu/{onus[far]['device_id']}"]
    assert (edge.get("source") or "").endswith("splitter/SP-2")
    assert [data.text for data in edge] == ["drop 9"]
    assert 'label="SP-2 1:8"' in render_topology(found, "dot")
    screen = Console(file=io.StringIO(), width=120)
    screen.print(tree(found))
    assert isinstance(screen.file, io.StringIO)
    assert "splitter SP-1 1:4 (Cabinet 7)" in screen.file.getvalue()
    listed = await plugin.list_plant()
    assert (len(listed["splitters"]), len(listed["places"])) == (2, 2)

    with pytest.raises(ServiceConfigError, match="SP-1 has 1 behind it"):
        await plugin.remove_splitter("SP-1")
    with pytest.raises(ServiceConfigError, match="SP-2 is behind SP-1 itself"):
        await plugin.set_splitter("SP-1", "BBSIM_OLT_10", 0, parent="SP-2")
    with pytest.raises(ServiceConfigError, match="on OLT BBSIM_OLT_10, PON 0, not on this one"):
        await plugin.set_splitter("SP-3", "BBSIM_OLT_10", 1, parent="SP-2")
    with pytest.raises(ServiceConfigError, match="there are SP-1, SP-2"):
        await plugin.set_place(near, splitter="SP-9")
    with pytest.raises(ServiceConfigError, match="location is"):
        await plugin.set_place(near, location={"latitude": 91, "longitude": 0})
    await plugin.set_place(far)
    assert (await plugin.remove_splitter("SP-2"))["removed"] is True
    assert (await plugin.remove_splitter("SP-2"))["removed"] is False


def test_the_picture_has_a_box_for_every_node_that_overlaps_no_other() -> None:
    root = ET.fromstring(render_topology(ODD, "svg"))
    boxes = [(float(box.get("x", "")), float(box.get("y", ""))) for box in root.iter(f"{SVG}rect")]
    assert len(boxes) == len(set(boxes)) == 6
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts == ["VOLTHA <1>", 'o"lt\\', "pon-0", "[red]", "UNI 1", "a&b"]
    assert len(list(root.iter(f"{SVG}path"))) == 5
    assert len(list(root.iter(f"{SVG}circle"))) == 2  # the PON and the ONU have alarms


def test_rows_of_a_column_of_the_picture_do_not_touch() -> None:
    onus = [{"name": f"O{n}", "device_id": str(n), "status": "active", "alarms": 0, "unis": []} for n in range(64)]
    pon = {"label": "pon-0", "status": "active", "alarms": 0, "onus": onus}
    olt = {"name": "OLT", "device_id": "0", "status": "active", "alarms": 0, "pons": [pon]}
    root = ET.fromstring(render_topology({"stack": "S", "olts": [olt], "unplaced": []}, "svg"))
    heights = sorted(float(box.get("y", "")) for box in root.iter(f"{SVG}rect") if float(box.get("x", "")) > 600)
    assert len(heights) == 64
    assert min(after - before for before, after in itertools.pairwise(heights)) >= 30


def test_the_table_has_a_row_for_each_service_and_for_what_has_none() -> None:
    found = list(rows(ODD))
    assert [(row["onu"], row.get("subscriber")) for row in found] == [("[red]", "a&b"), ("GONE", "lost")]
    assert found[0]["pon"] == "pon-0"
