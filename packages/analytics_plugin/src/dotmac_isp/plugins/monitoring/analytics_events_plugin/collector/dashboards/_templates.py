"""Dashboards that are ready-made: for network operations, sales and support."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["TEMPLATES"]

_DEVICES: Final = {"event_type": ["device_event"]}
_ALARMS: Final = {**_DEVICES, "severity": ["minor", "major", "critical", "error"]}
_DOWN: Final = {**_DEVICES, "event_name": {"matches": "(?i)(down|unreachable|los|dying|alarm_raised|offline|disabled)"}}
_MONEY: Final = {"event_name": ["payment", "refund", "credit"]}

TEMPLATES: Final[dict[str, dict[str, Any]]] = {
    "network_operations": {
        "title": "Network operations",
        "description": "What devices report: alarms, outages and who reports most.",
        "time_range": "24h",
        "refresh": "10s",
        "panels": [
            {"title": "Alarms", "chart": "number", "where": _ALARMS, "unit": "alarms"},
            {"title": "Critical", "chart": "number", "where": {**_DEVICES, "severity": ["critical"]}, "unit": "alarms"},
            {
                "title": "Devices with alarms",
                "chart": "number",
                "metric": "unique_devices",
                "where": _ALARMS,
                "unit": "devices",
            },
            {"title": "Device events by severity", "chart": "area", "where": _DEVICES, "group_by": ["severity"]},
            {"title": "Outages over time", "chart": "line", "where": _DOWN, "group_by": ["event_name"]},
            {
                "title": "Devices with most alarms",
                "chart": "bar",
                "where": _ALARMS,
                "group_by": ["device_id"],
                "limit": 10,
            },
            {"title": "What is reported", "chart": "bar", "where": _DEVICES, "group_by": ["event_name"], "limit": 10},
            {"title": "By severity", "chart": "pie", "where": _DEVICES, "group_by": ["severity"]},
            {"title": "By source", "chart": "pie", "where": _DEVICES, "group_by": ["source"]},
            {"title": "Latest alarms", "kind": "timeline", "where": _ALARMS, "limit": 15},
        ],
    },
    "sales": {
        "title": "Sales",
        "description": "Money, conversions, and the way to them.",
        "time_range": "30d",
        "refresh": "1m",
        "queries": {"money": {"metric": "sum", "field": "amount", "where": _MONEY}},
        "panels": [
            {"title": "Payments", "chart": "number", "metric": "payment", "unit": "payments"},
            {
                "title": "Paying customers",
                "chart": "number",
                "metric": "unique_customers",
                "where": _MONEY,
                "unit": "customers",
            },
            {"title": "Conversions", "chart": "number", "metric": "conversion", "unit": "conversions"},
            {
                "title": "Revenue",
                "query": "money",
                "chart": "line",
                "group_by": ["currency"],
                "interval": "1d",
                "unit": "amount",
            },
            {
                "title": "Revenue by plan",
                "query": "money",
                "chart": "bar",
                "group_by": ["plan", "currency"],
                "unit": "amount",
            },
            {"title": "Conversions by goal", "chart": "pie", "metric": "conversion", "group_by": ["goal"]},
            {
                "title": "From view to payment",
                "kind": "funnel",
                "steps": ["page_view", "conversion", "payment"],
                "window": "7d",
            },
            {"title": "Refunds", "chart": "bar", "metric": "refund", "interval": "1d", "unit": "refunds"},
            {
                "title": "Customers who come back",
                "kind": "retention",
                "event": "payment",
                "period": "week",
                "periods": [1, 2, 3],
            },
        ],
    },
    "support": {
        "title": "Support",
        "description": "What goes wrong for customers, and how quick the answers are.",
        "time_range": "7d",
        "refresh": "30s",
        "panels": [
            {
                "title": "Errors",
                "chart": "number",
                "where": {"severity": ["error", "major", "critical"]},
                "unit": "events",
            },
            {
                "title": "Customers concerned",
                "chart": "number",
                "metric": "unique_customers",
                "where": {"severity": ["error", "major", "critical"]},
                "unit": "customers",
            },
            {"title": "Tickets", "chart": "number", "where": {"event_name": ["ticket_opened"]}, "unit": "opened"},
            {
                "title": "Errors over time",
                "chart": "area",
                "where": {"severity": ["error", "major", "critical"]},
                "group_by": ["event_name"],
            },
            {
                "title": "Response time, 95th percentile",
                "chart": "line",
                "metric": "p95",
                "field": "duration_ms",
                "unit": "ms",
            },
            {
                "title": "Failed logins by user",
                "chart": "bar",
                "metric": "login_failed",
                "group_by": ["user_id"],
                "limit": 10,
            },
            {
                "title": "Customers with most errors",
                "chart": "bar",
                "where": {"severity": ["error", "major", "critical"], "customer_id": {"exists": True}},
                "group_by": ["customer_id"],
                "limit": 10,
            },
            {"title": "Sessions", "kind": "sessions", "interval": "1d"},
            {
                "title": "Latest errors",
                "kind": "timeline",
                "where": {"severity": ["error", "major", "critical"]},
                "limit": 15,
            },
        ],
    },
}
