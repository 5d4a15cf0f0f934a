"""The audit trail: one record for each thing that somebody may have to answer for.

Lifecycle changes, refusals, failures, secret accesses, configuration changes and administrative calls are recorded; an ordinary
successful call is counted, not audited. Every tenant's records are a chain of hashes in `audit.sqlite3` whose end is signed, so that
change, deletion, reordering and truncation are found (`verify`). Records also go to the log (`dotmac.audit`) and to every sink.
What reads, checks and archives loads at first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from ._options import AuditOptions
from ._record import AuditError, AuditRecord, AuditSink, acting
from ._trail import AuditTrail

if TYPE_CHECKING:
    from ._archive import Archived, archive
    from ._read import Entry, HeadFile, exported_heads, records
    from ._report import ComplianceReport, compliance_report, report_as_csv, report_as_html
    from ._verify import ChainState, Problem, Verification, verify

__all__ = [
    "Archived",
    "AuditError",
    "AuditOptions",
    "AuditRecord",
    "AuditSink",
    "AuditTrail",
    "ChainState",
    "ComplianceReport",
    "Entry",
    "HeadFile",
    "Problem",
    "Verification",
    "acting",
    "archive",
    "compliance_report",
    "exported_heads",
    "records",
    "report_as_csv",
    "report_as_html",
    "verify",
]

_HOMES: Final = {
    "Archived": "_archive",
    "archive": "_archive",
    "ChainState": "_verify",
    "Problem": "_verify",
    "Verification": "_verify",
    "verify": "_verify",
    "Entry": "_read",
    "HeadFile": "_read",
    "exported_heads": "_read",
    "records": "_read",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, '_report')}"), name)
    globals()[name] = value
    return value
