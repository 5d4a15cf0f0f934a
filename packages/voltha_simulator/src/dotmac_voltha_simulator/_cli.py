"""The command ``dotmac-voltha-simulator``."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

from ._control import DEEDS, ask, serve

if TYPE_CHECKING:
    from ._simulator import Simulator

PASSWORD_VARIABLE = "DOTMAC_VOLTHA_SIMULATOR_PASSWORD"  # noqa: S105 - the name of the variable, not its value

_USAGE_ERROR = 2


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(
        prog="dotmac-voltha-simulator",
        description="A VOLTHA that fits in one process. OLT n answers at 127.0.0.1:(9191+n), type openolt.",
    )
    add = made.add_argument
    add("--listen", default="127.0.0.1:50057", metavar="HOST:PORT", help="gRPC address; port 0 picks a free one")
    add("--olts", type=int, default=1, help="OLTs (default 1)")
    add("--pons", type=int, default=1, help="PONs per OLT (default 1)")
    add("--onus", type=int, default=1, help="ONUs per PON (default 1)")
    add("--unis", type=int, default=1, help="UNIs per ONU (default 1)")
    add("--first-olt", default="127.0.0.1:9191", metavar="HOST:PORT", help="address of OLT 0, next ones follow")
    add("--time-factor", type=float, default=1.0, help="scales all timers: 0.1 is ten times faster (default 1)")
    add("--onu-metrics", action="store_true", help="ONUs measure from the start, as with the ONU adapter's flag")
    add("--pace", type=float, default=0.0, help="services that the adapters configure in a second; a real stack: 110")
    add("--control", metavar="SOCKET", help="a Unix socket for 'dotmac-voltha-simulator control SOCKET …'")
    add("--username", default="", help="ask every call for this user")
    add("--password", default="", help=f"and this password; better from {PASSWORD_VARIABLE}, which ps does not show")
    add("--tls-certificate", default="", metavar="FILE", help="speak TLS, with this certificate (PEM)")
    add("--tls-key", default="", metavar="FILE", help="and its key")
    add("--tls-client-ca", default="", metavar="FILE", help="ask each client for a certificate of these authorities")
    add(
        "--kafka",
        nargs="?",
        const="",
        default=None,
        metavar="BROKERS",
        help="send events to these brokers; without a value a broker runs in the process",
    )
    add("--json", action="store_true", help="print the addresses as one JSON line")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run until stopped by SIGINT or SIGTERM; 0 then, 1 when the port is taken, 2 for wrong arguments."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["control"]:
        return _control(given[1:])
    options = parser().parse_args(given)
    # gRPC's own complaint about a taken port would come before ours and say less. It looks when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        return asyncio.run(_serve(options))
    except ValueError as wrong:
        return _complain(str(wrong), _USAGE_ERROR)
    except RuntimeError as failed:
        return _complain(str(failed), 1)
    except KeyboardInterrupt:
        return 0


def _control(given: list[str]) -> int:
    """Tell a running simulator to misbehave."""
    listed = "\n".join(f"  {name.replace('_', '-')} {' '.join(words)}".rstrip() for name, words in DEEDS.items())
    made = argparse.ArgumentParser(
        prog="dotmac-voltha-simulator control",
        description="Tells a simulator that was started with --control SOCKET to misbehave.",
        epilog=f"what can be done:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("socket", metavar="SOCKET")
    made.add_argument("deed", metavar="WHAT")
    made.add_argument("words", metavar="WITH", nargs="*")
    options = made.parse_args(given)
    try:
        wrong = ask(options.socket, options.deed.replace("-", "_"), options.words)
    except OSError as failed:
        return _complain(f"no simulator listens at {options.socket}: {failed.strerror or failed}", 1)
    return _complain(wrong, 1) if wrong else 0


def _complain(words: str, code: int) -> int:
    sys.stderr.write(f"dotmac-voltha-simulator: {words}\n")
    return code


async def _serve(options: argparse.Namespace) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with _simulator(options) as simulator:
        sys.stdout.write(_announcement(simulator, as_json=options.json))
        sys.stdout.flush()
        if options.control is None:
            await stopped.wait()
            return 0
        control = await serve(simulator, options.control)
        await stopped.wait()
        control.close()
    return 0


def _simulator(options: argparse.Namespace) -> Simulator:
    from ._simulator import Simulator  # noqa: PLC0415 - after the environment is set, see main

    given = os.environ.get(PASSWORD_VARIABLE, "") if options.username else ""
    return Simulator(
        listen=options.listen,
        olts=options.olts,
        pons=options.pons,
        onus=options.onus,
        unis=options.unis,
        time_factor=options.time_factor,
        pace=options.pace,
        onu_metrics=options.onu_metrics,
        username=options.username,
        password=options.password or given,
        tls_certificate=options.tls_certificate,
        tls_key=options.tls_key,
        tls_client_ca=options.tls_client_ca,
        first_olt=options.first_olt,
        kafka=options.kafka,
    )


def _announcement(simulator: Simulator, *, as_json: bool) -> str:
    onus = len(simulator.serial_numbers)
    if as_json:
        found = {"grpc": simulator.target, "olts": simulator.olt_addresses, "onus": onus}
        return json.dumps({**found, "kafka": simulator.kafka_bootstrap or None}) + "\n"
    lines = [f"VOLTHA simulator: gRPC at {simulator.target}, {onus} ONUs"]
    lines += [f"  OLT {n}: {address} (type openolt)" for n, address in enumerate(simulator.olt_addresses)]
    if simulator.kafka_bootstrap:
        lines.append(f"  Kafka: {simulator.kafka_bootstrap}, topic voltha.events")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
