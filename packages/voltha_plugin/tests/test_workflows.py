"""The flows of each workflow: as they were recorded on a real VOLTHA, and as the specification's section 4.4 gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from voltha_protos import openflow_13_pb2 as of

from dotmac_isp.plugins.network_automation.voltha_integration_plugin import (
    PRESETS,
    ServiceConfig,
    ServiceConfigError,
    ServiceConflictError,
)
from dotmac_isp.plugins.network_automation.voltha_integration_plugin._guard import admit
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._builder import (
    MeterIds,
    Place,
    cookie_base,
    service_flows,
)
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._flow import (
    FlowSpec,
    device_flows,
    uni_port_no,
)
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._index import ServiceIndex
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._messages import flow_update
from dotmac_isp.plugins.network_automation.voltha_integration_plugin.services._stored import ServiceKey, StoredService

NNI = 16777216
SPEED = {"bandwidth_down": 100000, "bandwidth_up": 50000}
RECORDED = json.loads((Path(__file__).parent / "data" / "flows.json").read_text())


def place(uni_port: int = 256, onu: str = "BBSM000a0001") -> Place:
    return Place(
        olt_serial="BBSIM_OLT_10",
        onu_serial=onu,
        olt_id="olt",
        onu_id="onu",
        logical_device_id="logical",
        uni_port=uni_port,
        nni_port=NNI,
    )


def flows_of(config: dict[str, Any], meters: tuple[int, int] = (1, 2), where: Place | None = None) -> list[FlowSpec]:
    up, down = meters
    made = ServiceConfig.parse({**SPEED, **config})
    return list(service_flows(made, where or place(), MeterIds(up, up, down, down), cookie_base("t", "a")))


def told(mod: Any) -> tuple[Any, ...]:
    """What a flow says, without the order in which it says its match."""
    match = sorted(str(field) for field in mod.match.oxm_fields)
    actions = [str(action) for step in mod.instructions for action in step.actions.actions]
    others = [str(step) for step in mod.instructions if step.type != of.OFPIT_APPLY_ACTIONS]
    return mod.table_id, mod.priority, match, others, actions


def recorded(workflow: str, beginning: str) -> list[tuple[Any, ...]]:
    """What was added under a name; "untagged" was recorded as VLAN 0, which means the same as 4096 (section 4.1)."""
    found = []
    for each in RECORDED[workflow]["added"]:
        if each["what"].startswith(beginning):
            mod = json_format.ParseDict(each["flow_mod"], of.ofp_flow_mod())
            for field in mod.match.oxm_fields:
                if field.ofb_field.type == of.OFPXMT_OFB_VLAN_VID and not field.ofb_field.vlan_vid:
                    field.ofb_field.vlan_vid = 4096
            found.append(told(mod))
    return found


def sent(flows: list[FlowSpec]) -> list[tuple[Any, ...]]:
    return [told(flow_update("logical", flow, "add").flow_mod) for flow in flows]


def test_an_att_service_is_what_was_recorded() -> None:
    flows = flows_of({"workflow": "att", "c_tag": 900, "s_tag": 900}, (2, 3))
    eapol, dhcp = recorded("att", "EAPOL with service"), recorded("att", "DHCP trap")
    assert sent(flows) == [*recorded("att", "Q-in-Q"), *eapol, *dhcp]


def test_the_three_tt_services_are_what_was_recorded() -> None:
    mac = {"mac_learning": False}
    hsia = flows_of({"workflow": "tt-hsia", "c_tag": 900}, (1, 2))
    voip = flows_of({"workflow": "tt-voip", **mac}, (3, 4))
    vod = flows_of({"workflow": "tt-vod", **mac}, (5, 6))
    assert sent(hsia) == recorded("tt", "HSIA")[:4]
    assert sent(voip) == [*recorded("tt", "VoIP flow"), *recorded("tt", "VoIP DHCP trap")]
    assert sent(vod) == [
        *recorded("tt", "VoD flow"),
        *recorded("tt", "VoD DHCP trap"),
        *recorded("tt", "VoD IGMP trap"),
    ]
    assert len(hsia) + len(voip) + len(vod) == 15


def test_a_translated_tag_is_what_was_recorded() -> None:
    config = {"tagging": "double", "uni_tag": 35, "c_tag": 901, "s_tag": 900}
    assert sent(flows_of(config, (2, 3), place(512))) == recorded("att", "translate")


def test_the_ids_of_flows_and_device_flows_are_those_that_voltha_listed() -> None:
    seen = {kind: {int(each) for each in ids} for kind, ids in RECORDED["tt"]["ids"].items()}
    configs = [{"workflow": "tt-hsia", "c_tag": 900}, {"workflow": "tt-voip"}, {"workflow": "tt-vod"}]
    for config in configs:
        for flow in flows_of({**config, "mac_learning": False}):
            assert flow.id in seen["logical"]
            for side, number in device_flows(flow):
                assert number in seen[side], (config, flow)
    traps = [flow for flow in flows_of({"workflow": "att", "c_tag": 900, "s_tag": 900}) if flow.is_trap]
    recorded_ids = {kind: {int(each) for each in ids} for kind, ids in RECORDED["att"]["ids"].items()}
    for flow in traps:
        assert [side for side, _ in device_flows(flow)] == ["onu", "olt"]
        assert all(number in recorded_ids[side] for side, number in device_flows(flow))


def actions(flow: FlowSpec) -> list[tuple[str, int]]:
    return [(action.kind, action.value) for action in flow.actions]


def test_tim_leaves_the_tag_as_the_onu_made_it() -> None:
    up0, up1, down0, down1, pppoe = flows_of({"workflow": "tim", "c_tag": 833})
    assert actions(up0) == [("push_vlan", 0x8100), ("set_vlan", 0x1000 | 833)]
    assert (up1.vlan, actions(up1)) == (0x1000 | 833, [("output", NNI)])
    assert (down0.vlan, down0.vlan_mask, down0.metadata_match, actions(down0)) == (4096, 4096, 833, [])
    assert (down1.vlan, actions(down1)) == (0x1000 | 833, [("pop_vlan", 0), ("output", 256)])
    assert (pppoe.eth_type, pppoe.priority, pppoe.is_trap) == (0x8863, 10000, True)


def test_fttb_management_swaps_the_tag_at_the_onu_and_knows_the_dpu() -> None:
    mac = "02:00:00:00:00:06"
    up0, up1, down0, down1, dhcp = flows_of({"workflow": "fttb-management", "mac_address": mac})
    assert (up0.vlan, up0.pcp, actions(up0)) == (0x1006, 3, [("set_vlan", 0x103C), ("set_pcp", 7)])
    assert (up1.vlan, up1.eth_src, actions(up1)) == (0x103C, mac, [("output", NNI)])
    assert (down0.vlan, down0.eth_dst, actions(down0)) == (0x103C, mac, [])
    assert (down1.vlan, actions(down1)) == (0x103C, [("set_vlan", 0x1006), ("output", 256)])
    assert (dhcp.vlan, dhcp.pcp, dhcp.udp_src) == (0x1006, 3, 68)


def test_fttb_subscribers_have_their_tag_swapped_at_the_olt() -> None:
    up0, up1, down0, down1 = flows_of({"workflow": "fttb-subscriber", "c_tag": 101, "s_tag": 3101})
    assert (up0.vlan, actions(up0), up0.write_metadata >> 48) == (0x1000 | 101, [], 4096)
    assert actions(up1) == [("set_vlan", 0x1000 | 3101), ("output", NNI)]
    assert (down0.vlan, actions(down0)) == (0x1000 | 3101, [("set_vlan", 0x1000 | 101)])
    assert (down1.vlan, actions(down1)) == (0x1000 | 101, [("output", 256)])


def test_a_service_that_waits_for_a_mac_has_only_its_traps_until_then() -> None:
    assert all(flow.is_trap for flow in flows_of({"workflow": "tt-voip"}))
    learnt = flows_of({"workflow": "tt-voip", "mac_address": "02-00-00-00-00-0A"})
    assert (len(learnt), learnt[2].eth_dst) == (5, "02:00:00:00:00:0a")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"workflow": "ott"}, "did you mean"),
        ({"workflow": "att", "s_tag": 900}, "c_tag is missing"),
        ({"workflow": "tim", "c_tag": 5, "s_tag": 900}, "leave it out"),
        ({"s_tag": 900, "dhcp": True}, "dhcp needs a c_tag"),
        ({"s_tag": 900, "uni_tag": 35}, "cannot be chosen"),
        ({"s_tag": 900, "us_c_priority": 1}, "inner tag"),
        ({"s_tag": 900, "us_s_priority": 8}, "us_s_priority is 8"),
        ({"workflow": "fttb-ancp", "mac_learning": False}, "mac_address is missing"),
        ({"workflow": "tt-voip", "mac_address": "01:00:5e:00:00:01"}, "no address of one device"),
        ({"workflow": "att", "c_tag": 1, "s_tag": 2, "upstream_olt": {"eir": 7}}, "upstream_olt"),
    ],
)
def test_what_no_device_can_carry_is_refused_with_what_would_be_right(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ServiceConfigError, match=words):
        ServiceConfig.parse({**SPEED, **config})


def test_a_service_comes_back_from_its_plain_form_the_same() -> None:
    for workflow in PRESETS:
        tags = {"c_tag": 101} | ({} if workflow == "tim" else {"s_tag": 900})
        if workflow == "dt":
            tags = {"s_tag": 900}
        made = ServiceConfig.parse({**SPEED, "workflow": workflow, **tags, "mac_address": "02:00:00:00:00:01"})
        assert ServiceConfig.parse(json.loads(json.dumps(made.plain()))) == made


vids = st.integers(1, 4094)
priorities = st.one_of(st.none(), st.integers(0, 7))
macs = st.one_of(st.none(), st.integers(1, 2**40 - 1).map(lambda n: "02:" + n.to_bytes(5, "big").hex(":")))
flags = st.booleans()
configs = st.fixed_dictionaries(
    {
        "tagging": st.sampled_from(["single", "double", "transparent", "onu_translate", "olt_translate"]),
        "technology_profile": st.integers(64, 255),
    },
    optional={
        "s_tag": vids,
        "c_tag": vids,
        "uni_tag": st.one_of(vids, st.just("untagged")),
        **{f"{way}_{tag}_priority": priorities for way in ("us", "ds") for tag in ("c", "s")},
        **dict.fromkeys(("dhcp", "dhcpv6", "pppoe", "igmp", "eapol", "mac_learning"), flags),
        "mac_address": macs,
        "name": st.sampled_from(["internet", "voip", "vod"]),
    },
)
ports = st.builds(uni_port_no, st.integers(0, 15), st.integers(1, 255), st.integers(0, 15))


def parsed(config: dict[str, Any]) -> ServiceConfig | None:
    try:
        return ServiceConfig.parse({**SPEED, **config})
    except ServiceConfigError:
        return None


def likely(config: dict[str, Any]) -> dict[str, Any]:
    """The same, with the tags that its kind of tagging needs and without those that it cannot have."""
    kind = config["tagging"]
    kept = dict(config)
    if kind in ("single", "onu_translate", "olt_translate"):
        kept.pop("uni_tag", None)
    if kind == "single":
        for name in ("c_tag", "us_c_priority", "ds_c_priority", "dhcp", "dhcpv6", "pppoe", "igmp", "eapol"):
            kept.pop(name, None)
    else:
        kept.setdefault("c_tag", 101)
    if kind == "transparent":
        kept.pop("s_tag", None)
    else:
        kept.setdefault("s_tag", 900)
    if kind == "onu_translate":
        kept["mac_learning"] = True
    return kept


@settings(max_examples=300)
@given(configs.map(likely), ports)
def test_whatever_a_service_says_nothing_forbidden_is_sent(config: dict[str, Any], port: int) -> None:
    made = parsed(config)
    assert made is not None, "the strategy makes only services that can be"
    flows = service_flows(made, place(port), MeterIds(1, 1, 2, 2), cookie_base("t", "s"))
    for flow in flows:
        admit("UpdateLogicalDeviceFlowTable", flow_update("logical", flow, "add"))
        admit("UpdateLogicalDeviceFlowTable", flow_update("logical", flow, "delete"))
        assert flow.meter
    assert len({flow.id for flow in flows}) == len({flow.cookie for flow in flows}) == len(flows)


@settings(max_examples=300)
@given(configs)
def test_whatever_is_given_is_refused_or_makes_sense(config: dict[str, Any]) -> None:
    made = parsed(config)
    if made is not None:
        assert ServiceConfig.parse(made.plain()) == made


small = st.sampled_from([100, 101, 102])
colliding = configs.map(likely).flatmap(
    lambda config: st.fixed_dictionaries(
        {name: (small if name in ("s_tag", "c_tag", "uni_tag") else st.just(value)) for name, value in config.items()}
    )
)


@settings(max_examples=300)
@given(st.lists(st.tuples(colliding, st.sampled_from([256, 512]), st.sampled_from(["a", "b"])), min_size=2, max_size=6))
def test_no_two_services_collide_in_a_flow_unnoticed(wishes: list[tuple[dict[str, Any], int, str]]) -> None:
    index, there = ServiceIndex(), {}
    for config, port, subscriber in wishes:
        made = parsed(config)
        assert made is not None
        where = place(port, onu=f"onu-{port}")
        flows = service_flows(made, where, MeterIds(1, 1, 2, 2), cookie_base("t", subscriber, str(port), made.name))
        key = ServiceKey(subscriber, where.onu_serial, 1, made.name)
        item = StoredService(key=key, service=made.plain(), place=where, flows=flows)
        others = {flow.id for each in there.values() if each.key != key for flow in each.flows}
        if others & {flow.id for flow in flows}:
            with pytest.raises(ServiceConflictError):
                index.require_free(item)
        else:
            index.require_free(item)
            index.put(item)
            there[key] = item
    taken = [flow.id for each in there.values() for flow in each.flows]
    assert len(taken) == len(set(taken))
