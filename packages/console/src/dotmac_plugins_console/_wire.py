"""The control interface's lines: one JSON object each, from client to host and back.

A request is `{"id", "method", "params"}`; it is answered by any number of `{"id", "progress"}` and then by one
`{"id", "result"}` or `{"id", "error": {"type", "message", "remedy"}}`. Answers may come in another order than requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ._errors import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LONGEST_ANSWER", "LONGEST_REQUEST", "Request", "answer_line", "parse_request", "plain", "request_line"]

#: Bytes of a request's line; a longer one is refused and skipped.
LONGEST_REQUEST: Final = 1 << 20
#: Bytes of an answer's line that a client reads; an inventory of thousands of instances is some megabytes.
LONGEST_ANSWER: Final = 1 << 28


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that a client asks for."""

    id: int | str | None
    method: str
    params: dict[str, Any] = {}


def parse_request(line: bytes) -> Request:
    """Read one line. Raises `BadRequestError` for whatever is no request."""
    try:
        return msgspec.json.decode(line, type=Request)
    except msgspec.ValidationError as error:
        what = str(error)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        what = f"it is no JSON ({error})"
    raise BadRequestError(
        f"a line cannot be understood: {what}", remedy='Send {"id": 1, "method": "list", "params": {}} and a line end'
    )


def request_line(number: int, method: str, params: Mapping[str, Any]) -> bytes:
    """A request as its line. Raises `TypeError` for what is no plain value."""
    return msgspec.json.encode({"id": number, "method": method, "params": plain(params)}) + b"\n"


def answer_line(number: int | str | None, kind: str, value: Any) -> bytes:
    """`kind` is result, error or progress; `value` is plain already."""
    return msgspec.json.encode({"id": number, kind: value}) + b"\n"


def plain(value: Any) -> Any:
    """The value as what JSON has. Raises `TypeError` that names the type for anything else, secrets included."""
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_plain)


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    if hasattr(value, "__iter__") and hasattr(value, "__len__") and not hasattr(value, "reveal"):
        return list(value)
    raise TypeError(f"a value of type {type(value).__name__} cannot be sent as JSON")
