"""Tenant, plugin, operation and request id on log records, without touching the global record factory."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .._scope import current_scope
from ..model import tenant_label

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["SCOPE_FIELDS", "ScopeFilter", "instance_logger", "scope_fields"]

SCOPE_FIELDS = ("plugin", "tenant", "operation", "request_id")


def scope_fields(record: logging.LogRecord | None = None) -> dict[str, str]:
    """What is known of the origin: from the record where an instance's logger made it, else from the running call."""
    if record is not None and "plugin" in record.__dict__ and "tenant" in record.__dict__:
        return {name: record.__dict__[name] for name in SCOPE_FIELDS if record.__dict__.get(name)}
    scope = current_scope.get()
    if scope is None:
        return {}
    found = {"plugin": scope.plugin_id, "tenant": tenant_label(scope.tenant_id), "operation": scope.operation}
    if scope.request_id:
        found["request_id"] = scope.request_id
    return found


class ScopeFilter(logging.Filter):
    """Put on a *handler*, gives every record `plugin`, `tenant`, `operation` and `request_id`.

    That includes the records of libraries that plugin code calls. Outside of calls they are `-`, so that a format
    string may always name them. A host with handlers of its own adds it to each; `configure_logging` has it built in.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        found = scope_fields(record)
        for name in SCOPE_FIELDS:
            record.__dict__[name] = found.get(name, "-")
        return True


class _InstanceLogger(logging.LoggerAdapter[logging.Logger]):
    """Its records carry the instance also where no call is running, as in a thread of the plugin's own."""

    def __init__(self, plugin_id: str, tenant_id: str | None) -> None:
        super().__init__(logging.getLogger(f"dotmac.plugin.{plugin_id}"), {})
        self._tenant_id = tenant_id
        self._plugin_id = plugin_id

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        scope = current_scope.get()
        operation = request_id = ""
        if scope is not None and scope.plugin_id == self._plugin_id and scope.tenant_id == self._tenant_id:
            operation, request_id = scope.operation, scope.request_id
        kwargs["extra"] = {
            **(kwargs.get("extra") or {}),
            "plugin": self._plugin_id,
            "tenant": tenant_label(self._tenant_id),
            "operation": operation,
            "request_id": request_id,
        }
        return msg, kwargs


def instance_logger(plugin_id: str, tenant_id: str | None) -> logging.LoggerAdapter[logging.Logger]:
    """What a plugin gets as `api.logger`: `dotmac.plugin.<id>`, with tenant, plugin, operation and request id."""
    return _InstanceLogger(plugin_id, tenant_id)
