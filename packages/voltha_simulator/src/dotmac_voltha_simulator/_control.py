"""Faults from outside: a Unix socket on which a running simulator is told to misbehave, and the command that speaks to it.

A request is a line of JSON, `{"do": "power_off", "with": ["BBSM000a0001"]}`; the answer is one, too: `{"done": true}` or
`{"error": "…"}`.
"""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._simulator import Simulator

__all__ = ["DEEDS", "ask", "serve"]

_PATIENCE: Final = 60.0
#: What can be asked for, and with what.
DEEDS: Final[dict[str, tuple[str, ...]]] = {
    "raise_alarm": ("ALARM", "SERIAL"),
    "clear_alarm": ("ALARM", "SERIAL"),
    "power_off": ("SERIAL",),
    "power_on": ("SERIAL",),
    "flap": ("SERIAL",),
    "cut_olt_link": ("OLT",),
    "restore_olt_link": ("OLT",),
    "stop_adapter": ("ADAPTER",),
    "start_adapter": ("ADAPTER",),
    "restart_core": (),
    "packet_in": ("SERIAL", "HEX"),
    "delay_replies": ("SECONDS",),
    "lose_answers": ("RPC", "TIMES"),
    "refuse": ("RPC", "STATUS", "TEXT", "TIMES"),
    "fail_reconciling": ("YES|NO",),
}


async def serve(simulator: Simulator, path: str) -> asyncio.Server:
    """Listen at `path`, for the user of this process only. A socket that a killed simulator left there is replaced."""
    place = Path(path)
    await asyncio.to_thread(_clear, place)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await _answer(simulator, line)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass  # it went away, or sent a line without end
        finally:
            writer.close()

    server = await asyncio.start_unix_server(talk, path)
    await asyncio.to_thread(place.chmod, 0o600)
    return server


def _clear(place: Path) -> None:
    if place.is_socket():
        place.unlink()


async def _answer(simulator: Simulator, line: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(line)
        deed, words = str(asked["do"]), [str(one) for one in asked.get("with", [])]
        if len(words) != len(DEEDS[deed]):
            raise ValueError(f"{deed} takes {len(DEEDS[deed])} words ({' '.join(DEEDS[deed])}), not {len(words)}")
        await _deeds(simulator)[deed](*words)
    except KeyError as missing:
        return {"error": f"{missing} is not known; there are {', '.join(DEEDS)}"}
    except (LookupError, ValueError, TypeError, AttributeError) as wrong:
        return {"error": str(wrong)}
    return {"done": True}


def _deeds(simulator: Simulator) -> dict[str, Callable[..., Awaitable[None]]]:
    async def delay_replies(seconds: str) -> None:
        simulator.faults.reply_delay = float(seconds)

    async def lose_answers(rpc: str, times: str) -> None:
        simulator.faults.lose_answers(rpc, int(times))

    async def refuse(rpc: str, status: str, text: str, times: str) -> None:
        simulator.faults.refuse(rpc, status, text, int(times))

    async def fail_reconciling(answer: str) -> None:
        simulator.faults.reconciling_fails = answer.lower() in {"yes", "true", "1"}

    async def packet_in(serial_number: str, data: str) -> None:
        simulator.packet_in(serial_number, bytes.fromhex(data))

    async def cut_olt_link(index: str) -> None:
        await simulator.cut_olt_link(int(index))

    async def restore_olt_link(index: str) -> None:
        await simulator.restore_olt_link(int(index))

    own = (delay_replies, lose_answers, refuse, fail_reconciling, packet_in, cut_olt_link, restore_olt_link)
    named: dict[str, Callable[..., Awaitable[None]]] = {deed.__name__: deed for deed in own}
    return {name: named.get(name) or getattr(simulator, name) for name in DEEDS}


def ask(path: str, deed: str, words: list[str]) -> str:
    """Ask a running simulator; the error that it gave, empty when it is done. Raises `OSError` when none listens."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PATIENCE)
        connection.connect(path)
        connection.sendall(json.dumps({"do": deed, "with": words}).encode() + b"\n")
        with connection.makefile("rb") as answers:
            answer = json.loads(answers.readline() or b'{"error": "the simulator went away"}')
    return str(answer.get("error", ""))
