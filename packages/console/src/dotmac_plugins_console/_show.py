"""`dotmac-plugins show`: everything about one plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ._text import age
from ._views import paragraph, rows, show_isolation, show_problems, show_settings, tenant_name

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["show_plugin"]

#: With more instances than this, only their states are shown.
_MOST: Final = 5


def show_plugin(answer: Mapping[str, Any]) -> None:
    """Print it, from what it is to how each instance is."""
    plugin = answer["plugin"]
    if plugin is not None:
        _show_facts(plugin, answer["policy"])
        _show_features(plugin["manifest"]["features"], answer["instances"])
    show_problems(answer["problems"])
    instances = answer["instances"]
    for one in instances[:_MOST]:
        _show_instance(one)
    if len(instances) > _MOST:
        _show_states(instances)
        paragraph("--tenant ID shows one of them with its settings and history.")


def _show_facts(plugin: Mapping[str, Any], policy: str) -> None:
    manifest = plugin["manifest"]
    editable = " (editable)" if plugin["editable"] else ""
    facts = {
        "name": plugin["name"],
        "version": plugin["version"],
        "category": plugin["category"],
        "description": plugin["description"],
        "distribution": f"{plugin['distribution']}{editable}",
        "class": f"{plugin['module']}:{plugin['class_name']}",
        "manifest": plugin["manifest_path"],
        "core": manifest["core"],
        "python": manifest["python"],
        "requires": ", ".join(f"{name} {versions}".strip() for name, versions in manifest["requires"].items()),
        "after": ", ".join(manifest["after"]),
        "security level": plugin["security_level"],
        "wants to run": (manifest.get("hosting") or {}).get("mode") or "",
        "permissions": ", ".join(plugin["permissions"]),
        "secrets": ", ".join(manifest["secrets"]["required"]),
        "optional secrets": ", ".join(manifest["secrets"]["optional"]),
        "policy": policy,
    }
    paragraph(plugin["id"], "bold")
    rows(("", ""), ((key, value) for key, value in facts.items() if value))


def _show_features(features: Mapping[str, Any], instances: list[Mapping[str, Any]]) -> None:
    rows(
        ("FEATURE", "PERMISSION", "METHODS", "OFF"),
        (
            (name, one["permission"] or "", ", ".join(one["methods"]), _off(name, instances))
            for name, one in features.items()
        ),
    )


def _off(feature: str, instances: list[Mapping[str, Any]]) -> str:
    """For which tenants the feature is off, for want of which secrets."""
    told = []
    for one in instances:
        wanting = (one["status"] or {}).get("switched_off", {}).get(feature)
        if wanting:
            told.append(f"{tenant_name(one['tenant_id'])}: no {', '.join(wanting)}")
    return "; ".join(told)


def _show_instance(one: Mapping[str, Any]) -> None:
    status = one["status"]
    paragraph(f"tenant {tenant_name(one['tenant_id'])}", "bold")
    if status is None:
        paragraph(f"not loaded: {one['reason']}")
    else:
        health = status["health"]
        paragraph(f"{status['state']} since {age(status['since'])}: {status['reason']}")
        paragraph(f"health: {health['status']}, {health['message']} (checked {age(health['checked_at'])} ago)")
        for name, part in status["parts"].items():
            paragraph(f"  {name}: {part['status']}, {part['message']}")
        for note in status["notes"]:
            paragraph(f"note: {note}", "yellow")
        paragraph(f"breaker: {status['breaker']}, tasks: {status['tasks']}, failed tries: {status['attempts']}")
        show_isolation(status.get("isolation") or {})
        if status["retry_at"]:
            paragraph(f"next try {age(status['retry_at'])}")
        rows(
            ("STATE", "REASON", "AGE"),
            ((record["state"], record["reason"], age(record["since"])) for record in status["history"]),
        )
    if one["settings_error"]:
        paragraph(f"settings: {one['settings_error']['message']}", "red")
        if one["settings_error"]["remedy"]:
            paragraph(f"  fix: {one['settings_error']['remedy']}")
    else:
        show_settings(one["settings"])


def _show_states(instances: list[Mapping[str, Any]]) -> None:
    states: dict[str, int] = {}
    for one in instances:
        state = one["status"]["state"] if one["status"] else "not loaded"
        states[state] = states.get(state, 0) + 1
    rows(("STATE", "INSTANCES"), states.items())
