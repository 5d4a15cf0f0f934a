"""Default performance-monitoring configuration of OLT and ONU, as recorded (file 02)."""

from __future__ import annotations

from typing import Any

from voltha_protos import device_pb2

_HISTORY_SECONDS = 900
_TYPE = device_pb2.PmConfig.PmType

OLT_METRICS = (
    "rx_bytes",
    "rx_packets",
    "rx_ucast_packets",
    "rx_mcast_packets",
    "rx_bcast_packets",
    "rx_error_packets",
    "rx_crc_errors",
    "rx_packets_dropped",
    "tx_bytes",
    "tx_packets",
    "tx_ucast_packets",
    "tx_mcast_packets",
    "tx_bcast_packets",
    "tx_error_packets",
    "tx_dropped_total",
)

_BRIDGE = (
    "upstream:c drop_events octets packets broadcast_packets multicast_packets crc_errored_packets undersize_packets"
    " oversize_packets 64_octets 65_to_127_octets 128_to_255_octets 256_to_511_octets 512_to_1023_octets"
    " 1024_to_1518_octets class_id:c entity_id:c interval_end_time:c parent_class_id:c parent_entity_id:c"
)
_UNI = (
    "alignment_error_counter buffer_overflows_on_rx buffer_overflows_on_tx carrier_sense_error_counter"
    " deferred_tx_counter excessive_collision_counter fcs_errors frames_too_long internal_mac_rx_error_counter"
    " internal_mac_tx_error_counter late_collision_counter multiple_collisions_frame_counter"
    " single_collision_frame_counter sqe_counter class_id:c entity_id:c interval_end_time:c"
)
_FEC = (
    "corrected_bytes corrected_code_words fec_seconds total_code_words uncorrectable_code_words class_id:c"
    " entity_id:c interval_end_time:c"
)
_GEM = (
    "encryption_key_errors received_gem_frames received_payload_bytes transmitted_gem_frames"
    " transmitted_payload_bytes class_id:c entity_id:c interval_end_time:c"
)

#: group -> (seconds, metrics; ``:c`` context, ``:g`` gauge, else counter)
_ONU_GROUPS = {
    "PON_Optical": (300, "ani_g_instance_id:c transmit_power_dBm:g receive_power_dBm:g"),
    "UNI_Status": (
        300,
        "uni_port_no:c me_class_id:c entity_id:c configuration_ind:g oper_status:g uni_admin_state:g",
    ),
    "Ethernet_Bridge_Port_History": (900, _BRIDGE),
    "Ethernet_UNI_History": (900, _UNI),
    "FEC_History": (900, _FEC),
    "GEM_Port_History": (900, _GEM),
}
HISTORY_GROUPS = frozenset(name for name, (seconds, _) in _ONU_GROUPS.items() if seconds == _HISTORY_SECONDS)
#: Every period is a multiple of so many seconds.
_STEP = 5
_KINDS = {"c": _TYPE.CONTEXT, "g": _TYPE.GAUGE, "": _TYPE.COUNTER}


def olt_pm_configs(device_id: str) -> Any:
    """What an OLT brings: 15 counters every 150 s, not grouped."""
    metrics = [device_pb2.PmConfig(name=name, type=_TYPE.COUNTER, enabled=True) for name in OLT_METRICS]
    return device_pb2.PmConfigs(id=device_id, default_freq=150, metrics=metrics)


def onu_pm_configs(device_id: str, *, measures: bool) -> Any:
    """What an ONU brings: six groups, switched on where the ONU adapter was started to measure (recording 08)."""
    configs = device_pb2.PmConfigs(id=device_id, default_freq=900, grouped=True, freq_override=True)
    for name, (seconds, metrics) in _ONU_GROUPS.items():
        configs.groups.append(_group(name, seconds, metrics, enabled=measures))
    return configs


def _group(name: str, seconds: int, metrics: str, *, enabled: bool) -> Any:
    group = device_pb2.PmGroupConfig(group_name=name, group_freq=seconds, enabled=enabled)
    for metric in metrics.split():
        title, _, kind = metric.partition(":")
        group.metrics.append(device_pb2.PmConfig(name=title, type=_KINDS[kind], sample_freq=seconds, enabled=enabled))
    return group


def olt_update_refusal(configs: Any) -> str:
    """The unknown metric that would end the OLT adapter (surprise 3), empty when there is none."""
    return next((str(metric.name) for metric in configs.metrics if metric.name not in OLT_METRICS), "")


def onu_update_errors(configs: Any) -> list[str]:
    """What the ONU adapter says about a changed configuration (surprise 32); empty when it takes it."""
    own = [group.group_freq for group in configs.groups if group.group_name not in HISTORY_GROUPS]
    found = [
        f"frequency-{seconds}-should-be-a-multiple-of-5"
        for seconds in (configs.default_freq, *own)
        if seconds % _STEP or not seconds
    ]
    fixed = (group for group in configs.groups if group.group_name in HISTORY_GROUPS)
    found += [
        f"internal-error-during-group-freq-update--groupname-{group.group_name}-freq-{group.group_freq}"
        for group in fixed
        if group.group_freq != _HISTORY_SECONDS
    ]
    return found
