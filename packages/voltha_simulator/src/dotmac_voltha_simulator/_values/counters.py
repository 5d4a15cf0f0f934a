"""Counters of the Extension service that BBSim and the adapters give (recording 09), as bodies of the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .._stack.records import OnuRecord

Body = dict[str, Any]

_FRAMES: Final = [
    "drop_events",
    "octets",
    "frames",
    "broadcast_frames",
    "multicast_frames",
    "crc_errored_frames",
    "undersize_frames",
    "oversize_frames",
    "frames_64_octets",
    "frames_65_to_127_octets",
    "frames_128_to_255_octets",
    "frames_256_to_511_octets",
    "frames_512_to_1023_octets",
    "frames_1024_to_1518_octets",
]
_PON: Final = [
    "positive_drift",
    "negative_drift",
    "delimiter_miss_detection",
    "bip_errors",
    "bip_units",
    "fec_corrected_symbols",
    "fec_codewords_corrected",
    "fec_codewords_uncorrectable",
    "fec_codewords",
    "fec_corrected_units",
    "xgem_key_errors",
    "xgem_loss",
    "rx_ploams_error",
    "rx_ploams_non_idle",
    "rx_omci",
    "rx_omci_packets_crc_error",
    "rx_bytes",
    "rx_packets",
    "tx_bytes",
    "tx_packets",
    "ber_reported",
    "lcdg_errors",
    "rdi_errors",
]
_FEC: Final = ["correctedBytes", "correctedCodeWords", "fecSeconds", "totalCodeWords", "uncorrectableCodeWords"]
_FEC_64: Final = [
    "fec_corrected_bytes_64",
    "fec_corrected_code_words_64",
    "total_code_words_64",
    "uncorrectable_code_words_64",
]
#: BBSim counts from here, one more for each counter; a reset leaves zeros.
_BBSIM_FIRST: Final = 100
_UNKNOWN_ALLOC: Final = 1024


def frames(*, reset: bool) -> Body:
    """``onuInfo``: what the extended PM of the UNI's frames counts, both ways."""
    counts = {name: 0 if reset else _BBSIM_FIRST + place for place, name in enumerate(_FRAMES)}
    return {
        "onuCounters": {
            "upstream": counts,
            "downstream": counts,
            "omci_ethernet_frame_extended_pm_format": "SIXTY_FOUR_BIT",
        }
    }


def pon() -> Body:
    """``onuPonInfo``: the ONU as its PON counts it; BBSim counts nothing, and answers with ids of 0."""
    return {"onuPonCounters": {"intf_id": 0, "onu_id": 0, **dict.fromkeys(_PON, 0), "timestamp": 0}}


def omci(onu: OnuRecord) -> Body:
    """``onuOmciStats``: counted in the adapter, so it answers also for an ONU that is off."""
    sent = 230 + 8 * (len(onu.flows) + 1)
    return {
        "onuOmciStats": {
            "base_tx_ar_frames": sent,
            "base_rx_ak_frames": sent - 2,
            "base_rx_no_ak_frames": 1,
            "tx_omci_counter_retries": 2,
            "tx_omci_counter_timeouts": 1,
            **dict.fromkeys(
                (
                    "base_tx_no_ar_frames",
                    "ext_tx_ar_frames",
                    "ext_rx_ak_frames",
                    "ext_tx_no_ar_frames",
                    "ext_rx_no_ak_frames",
                ),
                0,
            ),
        }
    }


def fec() -> Body:
    """``fecHistory`` of the last quarter of an hour."""
    return {"fecHistory": dict.fromkeys((*_FEC, *_FEC_64), 0)}


def alloc() -> Body:
    """``onuAllocGemStats``: one allocation that no service uses."""
    data = [{"onuAllocIdInfo": {"allocId": _UNKNOWN_ALLOC, "rxBytes": 0}, "gemPortInfo": []}]
    return {"onuAllocGemStatsResponse": {"onuAllocGemHistoryData": data}}
