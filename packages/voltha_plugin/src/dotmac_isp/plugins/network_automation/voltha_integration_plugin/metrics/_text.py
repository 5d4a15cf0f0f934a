"""What `collect_metrics` gave, as the text that Prometheus reads (exposition format 0.0.4). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["render_prometheus"]


def render_prometheus(collected: Mapping[str, Any]) -> str:
    """The values of all resources, grouped by name; labels `serial_number` and `type` say whose they are."""
    by_name: dict[str, list[str]] = {}
    for name, value in collected.items():
        if isinstance(value, int | float):
            by_name[name] = [f"{name} {value:g}"]
    for resource, entry in collected["resources"].items():
        own = {"serial_number": entry.get("serial_number") or resource, "type": entry.get("type", "")}
        if "up" in entry:
            by_name.setdefault("voltha_device_up", []).append(_line("voltha_device_up", own, entry["up"]))
        for sample in entry["samples"]:
            line = _line(sample["name"], {**own, **sample["labels"]}, sample["value"])
            by_name.setdefault(sample["name"], []).append(line)
    lines: list[str] = []
    for name in sorted(by_name):
        lines.append(f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}")
        lines += by_name[name]
    return "\n".join(lines) + "\n"


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    shown = ",".join(f'{key}="{_escaped(str(text))}"' for key, text in labels.items() if text != "")
    return f"{name}{{{shown}}} {value:.17g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
