"""`dotmac-plugins`, and `python -m dotmac_plugins_console`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name, and end the process: 0 done, 1 it failed, 2 wrong usage."""
    from typer.main import get_command  # noqa: PLC0415 - the whole command line, when it is called

    from ._app import app  # noqa: PLC0415
    from ._output import guarded  # noqa: PLC0415

    command = get_command(app)
    code = 0

    def work() -> None:
        command.main(prog_name="dotmac-plugins")

    try:
        # Our own commands tell their errors themselves; this is for those of plugins' packages.
        guarded(work)
    except SystemExit:
        raise
    except Exception as error:  # noqa: BLE001 - typer.Exit of `guarded`
        code = int(getattr(error, "exit_code", 1))
    sys.exit(code)


if __name__ == "__main__":
    main()
