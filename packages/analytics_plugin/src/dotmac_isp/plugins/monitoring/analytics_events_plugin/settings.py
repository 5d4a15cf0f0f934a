"""The plugin's settings (specification, "Analytics Events Plugin", Configuration)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dotmac_isp.plugins.core.settings import PluginSettings

__all__ = ["AnalyticsSettings"]


class AnalyticsSettings(PluginSettings):
    """Where the collector is, and how events are sent to it."""

    analytics_host: str = Field(
        "localhost", min_length=1, description="Host of the collector; with a loopback name the host starts one itself."
    )
    analytics_port: int = Field(8080, ge=1, le=65535, description="Port of the collector.")
    batch_size: int = Field(100, ge=1, le=10_000, description="Events that make a batch go at once.")
    flush_interval: float = Field(30.0, gt=0, le=3600, description="Seconds after which a smaller batch goes.")
    use_tls: bool = Field(False, description="Speak HTTPS to the collector.")
    request_timeout: float = Field(30.0, gt=0, le=600, description="Seconds for one request to the collector.")
    max_buffer_mb: int = Field(
        512, ge=1, le=1_000_000, description="Megabytes of waiting events on disk; beyond that new ones are refused."
    )
    when_full: Literal["refuse", "wait"] = Field(
        "refuse", description="Then: refuse new events at once, or let callers wait up to request_timeout."
    )
    audit_events: Literal["system", "tenants", "off"] = Field(
        "system",
        description="Where the host's audit trail becomes events (categories compliance and security): all in the system "
        "tenant, each in the tenant it is about, or nowhere.",
    )
    notify_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts on this machine or link (a mail relay) that alerts and reports may go to, for the collector that the "
        "host starts; of the host's own settings, not a tenant's.",
    )
    drop_properties: tuple[str, ...] = Field(
        (), description="Properties (paths such as address.street) that are taken away before anything is stored."
    )
    max_event_age_days: float = Field(30.0, gt=0, le=3650, description="Older events are refused.")
