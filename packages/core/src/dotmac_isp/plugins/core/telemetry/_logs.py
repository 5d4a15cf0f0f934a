"""Logs of the reference host: one line for each record, with its origin, without secrets, and within bounds.

A host that has its own logging needs none of this: it puts `ScopeFilter` on its handlers.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError
from ._rate import RateLimit
from ._scope_fields import scope_fields

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from typing import TextIO

__all__ = ["configure_logging"]

_LEFT_OUT = "[left out: this record could not be redacted]"


def configure_logging(
    *,
    json: bool = True,
    level: int | str = logging.INFO,
    stream: TextIO | None = None,
    redact: Callable[[str], str] | None = None,
    rate: float = 50.0,
    burst: float = 500.0,
) -> logging.Handler:
    """Send all logs of the process to `stream` (default: stderr), as JSON objects or for people to read.

    `redact` gets every text that would be written (message, exception, extra fields) and returns it without secrets.
    Where Python itself has put a value in quotes (`KeyError('…')`), the text has the secret with Python's escapes, so
    for secrets with quotes, backslashes or line ends it must know that form too.
    An instance may log `rate` records a second, after a first `burst`, and as many warnings and errors beside them;
    what is dropped is counted and said. A second call replaces the first one's handler. Returns the handler.

    Raises `ConfigurationError` when structlog is not installed.
    """
    handler = _HostHandler(stream or sys.stderr, RateLimit(rate, burst), redact or str)
    handler.setFormatter(_formatter(handler.stream, redact or str, json=json))
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, _HostHandler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level)
    return handler


class _HostHandler(logging.StreamHandler["TextIO"]):
    def __init__(self, stream: TextIO, limit: RateLimit, redact: Callable[[str], str]) -> None:
        super().__init__(stream)
        self._limit = limit
        self._redact = redact

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, if its instance has not written too many. `logging` holds the handler's lock."""
        now = time.monotonic()
        self._say_dropped(now)
        found = scope_fields(record)
        if "plugin" in found:
            urgent = "warnings and errors" if record.levelno >= logging.WARNING else "records"
            if not self._limit.allow((found["plugin"], found["tenant"], urgent), now):
                return
        super().emit(record)

    def close(self) -> None:
        """Say what was dropped and not yet said."""
        self.acquire()
        try:
            if not self.stream.closed:
                self._say_dropped(time.monotonic(), everything=True)
        finally:
            self.release()
        super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say that a record could not be written, without its arguments: they may hold secrets."""
        if logging.raiseExceptions and sys.stderr is not None:
            kind = sys.exc_info()[0]
            why = kind.__name__ if kind is not None else "unknown"
            sys.stderr.write(f"a log record of {record.name} could not be written: {why}\n")

    def _say_dropped(self, now: float, *, everything: bool = False) -> None:
        for (plugin, tenant, what), count in self._limit.take_dropped(now, everything=everything):
            text = f"{count} {what} of {plugin}@{tenant} were left out: more than {self._limit.rate:g} a second"
            notice = logging.LogRecord(f"dotmac.plugin.{plugin}", logging.WARNING, __file__, 0, text, (), None)
            notice.__dict__.update(plugin=plugin, tenant=tenant, dropped=count)
            super().emit(notice)


def _formatter(stream: TextIO, redact: Callable[[str], str], *, json: bool) -> logging.Formatter:
    try:
        import structlog  # noqa: PLC0415 - optional, and only the reference host needs it
    except ImportError as error:
        raise ConfigurationError(
            "logs cannot be set up: the package structlog is not installed",
            remedy="Install it: pip install 'dotmac-plugins-core[logs]'",
        ) from error
    renderer: Any
    if json:
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )

    class Formatter(structlog.stdlib.ProcessorFormatter):
        """As structlog's, but a message whose arguments do not fit is shown too, and redacted too."""

        def format(self, record: logging.LogRecord) -> str:
            return super().format(_with_message(record))

    return Formatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
        processors=[
            _origin,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.UnicodeDecoder(),
            _Redacted(redact),
            renderer,
        ],
    )


def _with_message(record: logging.LogRecord) -> logging.LogRecord:
    if not record.args:
        return record
    try:
        record.getMessage()
    except Exception as error:  # noqa: BLE001 - whatever a plugin's __str__ raises must not cost the record
        copy = logging.makeLogRecord(record.__dict__)
        copy.msg = f"{record.msg} (its arguments do not fit: {type(error).__name__}: {error})"
        copy.args = ()
        return copy
    return record


def _origin(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Put time, level, logger and whose it is first, in this order."""
    record: logging.LogRecord = event["_record"]
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    own = {name: value for name, value in event.items() if value != "" or name not in ("operation", "request_id")}
    facts = {
        "timestamp": f"{seconds}.{int(record.created % 1 * 1_000_000):06d}Z",
        "level": record.levelname.lower(),
        "logger": record.name,
    }
    # Twice: once for the place, once so that no extra field of a record pretends to be one of them.
    fields = {**facts, **own, **facts, **scope_fields(record)}
    if isinstance(record.msg, dict | list | tuple) and event["event"] == str(record.msg):
        # Kept as it is, and redacted text by text: as one text its secrets would stand there with escapes.
        fields["event"] = record.msg
    return fields


class _Redacted:
    """Makes plain texts of everything, and takes the secrets out of each."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
        try:
            return {self._redact(name): self._plain(value) for name, value in event.items()}
        except Exception:  # noqa: BLE001 - better no text than one with a secret in it
            known = ("timestamp", "level", "logger")
            return {**{name: event[name] for name in known}, "event": _LEFT_OUT}

    def _plain(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self._redact(value)
        if isinstance(value, dict):
            return {self._redact(str(name)): self._plain(one) for name, one in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._plain(one) for one in value]
        return self._redact(repr(value))
