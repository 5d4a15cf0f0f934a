"""The packaged configuration; an operator's own `vendor_integrations.json` in `DOTMAC_HOME` stands over it, key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["PATH"]

#: The packaged `vendor_integrations.json`.
PATH: Final = Path(__file__).with_name("vendor_integrations.json")
