"""`dotmac-plugins voltha …`: what an operator does with OLTs, ONUs and subscribers. Mounted by the console package.

Loaded only there, so typer and rich come with it; each command goes to the running host, else to a short-lived one.
"""

from __future__ import annotations

import typer

from ._devices import add_device_commands
from ._metrics import add_metric_commands
from ._network import add_network_commands
from ._services import add_service_commands
from ._software import add_software_commands
from ._subscribers import add_subscriber_commands

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Fibre access over VOLTHA: OLTs, ONUs, subscriber services.")
add_device_commands(app)
add_subscriber_commands(app)
add_service_commands(app)
add_network_commands(app)
add_metric_commands(app)
add_software_commands(app)
