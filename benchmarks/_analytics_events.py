"""Events of about 440 bytes with JSON properties, each with an identifier of its own, for the analytics benchmarks."""

from __future__ import annotations

import msgspec

from dotmac_isp.plugins.monitoring.analytics_events_plugin.events import Event, new_event_id, parse_event

__all__ = ["batches", "rows"]


def _event(number: int) -> Event:
    return parse_event(
        {
            "event_type": "page_view",
            "user_id": f"user-{number % 5000}",
            "customer_id": f"customer-{number % 2000}",
            "session_id": f"session-{number % 900}",
            "device_id": f"onu-{number % 300}",
            "source": "portal",
            "tags": ["web", "eu"],
            "properties": {
                "page": f"/plans/{number % 40}",
                "referrer": "https://example.net/search?q=fibre",
                "duration_ms": number % 1500,
                "plan": "gold",
                "mobile": number % 2 == 0,
                "score": 0.5,
            },
        }
    )


_KINDS = [_event(number) for number in range(2000)]


def _fresh(count: int) -> list[Event]:
    return [msgspec.structs.replace(_KINDS[n % len(_KINDS)], event_id=new_event_id()) for n in range(count)]


def batches(count: int, size: int) -> list[bytes]:
    """Bodies of requests with `size` new events each, `count` events in all."""
    return [msgspec.json.encode(_fresh(size)) for _ in range(count // size)]


def rows(count: int) -> bytes:
    """Lines as the engine gets them."""
    from dotmac_isp.plugins.monitoring.analytics_events_plugin.collector.intake._intake import rows as lines

    return lines(_fresh(count), "bench", "2026-11-25T00:00:00.000+00:00")
