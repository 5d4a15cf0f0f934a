"""The settings of the plugin, one model per tenant and VOLTHA stack."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads it
from typing import Literal

from pydantic import Field, model_validator

from dotmac_isp.plugins.core.settings import PluginSettings

from .events._severity import Severity  # noqa: TC001 - pydantic reads it
from .stacks._settings import StackSettings  # noqa: TC001 - pydantic reads it

__all__ = ["VolthaSettings"]


class VolthaSettings(PluginSettings):
    """Where VOLTHA is, how it is spoken to, and how long its commands may take. Times are in seconds."""

    voltha_host: str = Field(default="localhost", min_length=1, description="Host of VOLTHA's northbound interface")
    voltha_port: int = Field(default=50057, ge=1, le=65535, description="Its gRPC port")
    voltha_rest_port: int = Field(
        default=8881, ge=1, le=65535, description="REST port of the controller that flow_owner names"
    )
    voltha_tls: bool = Field(default=False, description="Speak TLS")
    voltha_tls_ca: Path | None = Field(
        default=None, description="PEM file of the authorities to trust; without it those of the system"
    )
    voltha_tls_certificate: Path | None = Field(
        default=None, description="PEM file of the certificate by which VOLTHA knows this client"
    )
    voltha_tls_key: Path | None = Field(
        default=None, description="PEM file of its key; without it the secret voltha-client-key is the key"
    )
    voltha_stack: str = Field(
        default="default", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="The name of this stack"
    )
    voltha_stacks: dict[str, StackSettings] = Field(
        default_factory=dict,
        description="Further VOLTHA stacks of the same tenant, by name, with what is different there",
    )
    onu_admission: Literal["automatic", "allow-list"] = Field(
        default="automatic",
        description="Which ONUs may work: all, or those that were allowed; others are disabled when they are seen",
    )
    read_change_events: bool = Field(
        default=True,
        description="Read VOLTHA's change events, without which deleting an OLT hangs; where a controller programs the flows they are left to it",
    )
    stuck_after: float = Field(
        default=180.0, gt=0, description="A device that is on its way for so long is told to be stuck"
    )
    device_monitoring_interval: float = Field(
        default=30.0, ge=0.05, description="Seconds between two looks at all devices"
    )
    required_adapters: tuple[str, ...] = Field(
        default=("openolt", "brcm_openomci_onu"), description="Adapter types without which health is degraded"
    )
    connect_timeout: float = Field(default=5.0, gt=0, description="How long activation waits for VOLTHA's first answer")
    call_timeout: float = Field(default=15.0, gt=0, description="Limit of one call to VOLTHA")
    retry_time: float = Field(
        default=5.0,
        ge=0,
        description="How long a call is repeated while VOLTHA is not ready or the connection is back soon",
    )
    # Below the 30 s after which a host ends calls that come without a deadline, so that our own error says what hangs.
    olt_timeout: float = Field(default=25.0, gt=0, description="How long an OLT may take to become active")
    onu_timeout: float = Field(default=25.0, gt=0, description="How long an ONU may take to become ready")
    flow_timeout: float = Field(
        default=15.0, gt=0, description="How long a service may take until it is seen on the devices"
    )
    flow_settle_time: float = Field(
        default=0.2,
        ge=0,
        description="Flows seen everywhere must still be there after this time (VOLTHA takes refused ones back)",
    )
    flow_owner: Literal["direct", "vgc", "onos"] = Field(
        default="direct",
        description="Who programs flows: this plugin over gRPC, or a controller beside VOLTHA over its REST interface",
    )
    flow_owners: dict[str, Literal["direct", "vgc", "onos"]] = Field(
        default_factory=dict, description="OLTs on which that is somebody else, by serial number"
    )
    controller_address: str = Field(
        default="",
        pattern=r"^$|^\S+:\d+$",
        description="Where that controller is, host:port; empty: voltha_host and voltha_rest_port",
    )
    controller_tls: bool = Field(default=False, description="Speak HTTPS with the controller")
    reconcile: Literal["repair", "report", "off"] = Field(
        default="repair",
        description="Whether services that are not in VOLTHA as they should be are repaired, only reported, or not looked at",
    )
    reconcile_interval: float = Field(
        default=60.0,
        gt=0,
        description="Seconds between two comparisons of services with VOLTHA; news make it look sooner",
    )
    learn_mac_addresses: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether the MAC address that a service waits for is read from its subscriber's DHCP request. VOLTHA gives"
        " packets to one reader at a time: auto leaves them to a controller where flow_owner, flow_owners or foreign_flows tell"
        " of one",
    )
    bulk_concurrency: int = Field(
        default=64, ge=1, le=512, description="How many services are installed, changed or repaired at once"
    )
    foreign_flows: Literal["refuse", "allow"] = Field(
        default="refuse",
        description="Whether services are added to an OLT that has flows of somebody else, a controller for one",
    )
    kafka_bootstrap: str = Field(
        default="",
        pattern=r"^$|^[^\s:,]+:\d+(,[^\s:,]+:\d+)*$",
        description="Kafka brokers of VOLTHA's events, host:port[,host:port]; without them devices are only polled",
    )
    kafka_fetch_wait: float = Field(
        default=0.5,
        gt=0,
        le=30,
        description="How long a question for events waits at a Kafka broker that has none; brokers answer at once when some come",
    )
    metric_values: tuple[str, ...] = Field(
        default=(), description="Further values that collect_metrics asks named devices for, by voltctl's names"
    )
    metric_history_days: float = Field(
        default=7.0, ge=0, description="How many days measured values are kept; 0 keeps none"
    )
    alarm_severities: dict[str, Severity] = Field(
        default_factory=dict, description="Severities that differ from the packaged table, by name of the alarm"
    )
    alarm_history_limit: int = Field(default=5000, ge=0, description="How many alarms that are over are kept")
    alarm_flap_count: int = Field(
        default=4, ge=2, description="An alarm raised so many times within the window flaps: it is told once"
    )
    alarm_flap_window: float = Field(
        default=60.0, gt=0, description="That window; after it without another raise flapping is over"
    )

    @model_validator(mode="after")
    def _distinct(self) -> VolthaSettings:
        if self.voltha_stack in self.voltha_stacks:
            raise ValueError(
                f"voltha_stacks has {self.voltha_stack!r}, which is the name of the first stack (voltha_stack)"
            )
        return self

    def of_stack(self, name: str) -> VolthaSettings:
        """The settings with those of a further stack in their place."""
        differences = {"voltha_stack": name, "voltha_stacks": {}, **self.voltha_stacks[name].differences()}
        return self.model_copy(update=differences)
